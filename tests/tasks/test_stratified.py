import numpy as np
import pytest

from tinybert.tasks.stratified import stratified_sample


def test_every_stratum_keeps_its_share() -> None:
    strata = np.array([0] * 60 + [1] * 30 + [2] * 10)
    chosen = strata[stratified_sample(strata, 10, seed=1)]
    # Shares of 10 rows: 60 %, 30 % and 10 %.
    assert np.bincount(chosen).tolist() == [6, 3, 1]


def test_a_rare_stratum_is_not_lost() -> None:
    strata = np.array([0] * 99 + [1])
    chosen = strata[stratified_sample(strata, 10, seed=1)]
    assert np.bincount(chosen).tolist() == [9, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 99, 100])
def test_exactly_the_asked_rows_come_in_order_and_once(size: int) -> None:
    strata = np.random.default_rng(0).integers(0, 4, 100)
    chosen = stratified_sample(strata, size, seed=5)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()


def test_the_seed_decides() -> None:
    strata = np.zeros(1000, dtype=np.int64)
    first, again, other = (stratified_sample(strata, 100, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
