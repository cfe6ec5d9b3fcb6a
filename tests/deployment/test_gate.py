"""What an export may lose, on logits written by hand."""

import numpy as np
import pytest

from tests.fixtures.measured import task_info
from tests.fixtures.splits import split_with
from tinybert.deployment.gate import Comparison, choose, compare, require_same
from tinybert.evaluation.decision import Decision
from tinybert.runtime.errors import InputError

INFO = task_info("mine", ["bad", "good"], ["accuracy", "f1"], pair=False)
SPLIT = split_with(INFO, [0, 1, 0, 1])
RIGHT = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], dtype=np.float32)


def answers(name: str, drop: float, agreement: float = 1.0, difference: float = 0.1) -> Comparison:
    return Comparison(name, 0.9 - drop, drop, drop, drop, agreement, difference, 1.0)


def test_one_wrong_row_of_four_costs_a_quarter_of_accuracy():
    wrong = RIGHT.copy()
    wrong[3] = [2, 1]
    found = compare("int8", RIGHT, wrong, SPLIT, Decision(), 7.5, seed=0)
    assert (found.score, found.drop, found.agreement) == (0.75, 0.25, 0.75)
    assert found.largest_difference == 2.0
    assert found.size_mb == 7.5
    assert found.drop_low == 0.0 and found.drop_high > 0.25


def test_like_answers_lose_nothing_in_any_rows_drawn_again():
    found = compare("int8", RIGHT, RIGHT, SPLIT, Decision(), 1.0, seed=0)
    assert (found.drop, found.drop_low, found.drop_high, found.agreement) == (0, 0, 0, 1)


def test_values_have_no_share_of_like_answers():
    info = INFO.model_copy(update={"kind": "regression", "labels": [], "metrics": ["spearman"]})
    values = np.array([[0.1], [0.5], [0.2], [0.9]], dtype=np.float32)
    split = split_with(info, [1.0, 3.0, 2.0, 4.0])
    found = compare("int8", values, -values, split, Decision(), 1.0, seed=0)
    assert found.agreement is None
    assert found.drop == 2.0  # from 1 to -1


@pytest.mark.parametrize(
    ("tried", "best"),
    [
        ([answers("a", 0.004), answers("b", 0.001)], "b"),
        ([answers("a", -0.01), answers("b", 0.0)], "a"),
        ([answers("a", 0.0, 0.98), answers("b", 0.0, 0.99)], "b"),
        ([answers("a", 0.0, 0.99, 0.3), answers("b", 0.0, 0.99, 0.2)], "b"),
    ],
)
def test_the_model_that_loses_least_is_chosen(tried, best):
    assert choose("export", tried, 0.01).name == best


def test_when_all_lose_too_much_the_line_names_each():
    with pytest.raises(InputError, match=r"dynamic 3\.0, static_minmax 2\.0; at most 1 may be"):
        choose("export", [answers("dynamic", 0.03), answers("static_minmax", 0.02)], 0.01)


def test_a_drop_that_is_no_number_is_refused():
    with pytest.raises(InputError):
        choose("export", [answers("dynamic", float("nan"))], 0.01)


@pytest.mark.parametrize("difference", [0.002, float("nan"), float("inf")])
def test_onnx_that_answers_otherwise_is_refused(difference):
    with pytest.raises(InputError, match="ONNX answers otherwise than PyTorch"):
        require_same("export", RIGHT, RIGHT + np.float32(difference))


def test_a_difference_of_rounding_is_returned():
    assert require_same("export", RIGHT, RIGHT + np.float32(1e-4)) == pytest.approx(1e-4, rel=1e-2)
