"""A step's seed: one that torch takes, of every step and process another."""

from itertools import product

import pytest
import torch

from tinybert.runtime.seeds import seed_step, step_seed

SEEDS = (0, 1, 42, 2**22 - 1, 2**22, 2**22 + 42, 20261128, 2**32 - 1)


def test_every_step_of_every_process_and_seed_has_a_seed_of_its_own():
    found = [step_seed(*each) for each in product(SEEDS, (0, 1, 2**32 - 1), (0, 1, 1023))]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_torch_takes_each_seed_that_params_may_name(seed):
    drawn = set()
    for step in range(3):
        seed_step(step_seed(seed, step, 0))
        drawn.add(float(torch.rand(1)))
    assert len(drawn) == 3


def test_a_seed_of_few_bits_is_the_numbers_side_by_side():
    assert step_seed(3, 5, 7) == (3 << 42) + (5 << 10) + 7
