"""Thresholds: the best are chosen, saved with the model, and refused where they are strange."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.measured import task_info
from tests.fixtures.refused import refused
from tests.fixtures.splits import split_with
from tinybert.evaluation.decision import (
    Decision,
    best_threshold,
    choose_thresholds,
    saved_decision,
)
from tinybert.evaluation.prediction import pooled
from tinybert.evaluation.probabilities import objects
from tinybert.tasks.task import Encoding
from tinybert.text.encoded import EncodedRows

SEVERAL = task_info("m", ["a", "b"], ["f1_micro", "f1_macro"], pair=False).model_copy(
    update={"kind": "multilabel"}
)


def f1(named, gold) -> float:
    right = (named & gold).sum()
    return 2 * right / max(1, named.sum() + gold.sum())


@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=30))
def test_no_threshold_has_a_better_f1(pairs):
    values, gold = (np.array(each) for each in zip(*pairs, strict=True))
    probabilities = (values + 1) / 10  # a sigmoid gives no 0
    found = best_threshold(probabilities, gold)
    assert 0 <= found <= 1
    best = max(f1(probabilities > each, gold) for each in [*np.unique(probabilities), -1])
    if gold.any():
        assert f1(probabilities > found, gold) == pytest.approx(best)


def test_a_threshold_stands_midway_between_what_is_named_and_what_is_not():
    # Naming two of the three gives 2 * 2 / (2 + 2) = 1.
    found = best_threshold(np.array([0.9, 0.6, 0.2]), np.array([True, True, False]))
    assert found == pytest.approx(0.4)


def test_labels_have_their_own_thresholds_for_macro_f1_if_they_have_rows_enough():
    probabilities = np.zeros((40, 2))
    probabilities[:12, 0], probabilities[:3, 1] = 0.2, 0.9
    gold = np.zeros((40, 2), dtype=bool)
    gold[:12, 0], gold[:3, 1] = True, True
    own = choose_thresholds(probabilities, gold, per_label=True)
    common = choose_thresholds(probabilities, gold, per_label=False)
    assert own[0] == pytest.approx(0.1) and own[1] == common[1]  # 3 rows are too few
    assert common[0] == common[1] == pytest.approx(0.1)


def config(**values) -> SimpleNamespace:
    return SimpleNamespace(**values)


def test_thresholds_are_saved_by_label_and_read_again():
    place = config()
    Decision(thresholds=(0.25, 0.5)).put_into(place, SEVERAL)
    assert place.thresholds == {"a": 0.25, "b": 0.5}
    place.thresholds = {"b": 0.5, "a": 0.25}  # their order in a file does not count
    assert saved_decision(place, SEVERAL, "m") == Decision(thresholds=(0.25, 0.5))
    assert saved_decision(config(), SEVERAL, "m") == Decision()
    assert saved_decision(config(null_threshold=1), SEVERAL, "m").null_threshold == 1.0


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"thresholds": {"a": 0.1, "c": 0.2}}, "got b, c on one side only; correct `thresholds`"),
        ({"thresholds": {"a": 0.1, "b": 1.2}}, "must be probabilities, got 1.2 for b"),
        ({"thresholds": {"a": 0.1, "b": "x"}}, "must be probabilities, got 'x' for b"),
        ({"thresholds": [0.1, 0.2]}, "got no names on one side only"),
        ({"null_threshold": "low"}, "null_threshold must be a number, got 'low'"),
        ({"null_threshold": float("nan")}, "null_threshold must be a number, got nan"),
    ],
)
def test_thresholds_of_other_labels_are_refused(values, line):
    found = refused(saved_decision, config(**values), SEVERAL, "models/x")
    assert found.startswith("models/x: ") and line in found


def test_a_row_has_the_labels_above_their_thresholds():
    split = split_with(SEVERAL, [np.array([0]), np.array([], int), np.array([0, 1])])
    logits = np.log(np.array([[0.3, 0.1], [0.2, 0.6], [0.9, 0.4]]))
    logits = (logits - np.log1p(-np.exp(logits))).astype(np.float32)
    named = split.predictions(logits, Decision(thresholds=(0.25, 0.5)))
    assert [each.tolist() for each in named] == [[0], [1], [0]]
    assert split.scores(logits, Decision(thresholds=(0.25, 0.5)))["f1_micro"] == 2 * 2 / 6
    # Chosen on these rows: at 0.25 four are named, and three of the four gold... one is wrong.
    assert split.scores(logits)["f1_micro"] >= 2 * 2 / 6


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", [[2.0, 0.0], [5.0, 1.0]]),
        ("max", [[3.0, 2.0], [5.0, 1.0]]),
        ("first", [[1, 2], [5, 1]]),
    ],
)
def test_logits_of_windows_become_a_rows(pool, expected):
    logits = np.array([[1.0, 2.0], [3.0, -2.0], [5.0, 1.0]], dtype=np.float32)
    ones = np.ones(3, np.int32)
    rows = EncodedRows(ones, np.arange(1, 4), ones, {}, origins=np.array([0, 0, 1]))
    how = Encoding("classification", 2, 8, "windows", 2, pool)
    np.testing.assert_allclose(pooled(logits, rows, how), expected)


def test_values_of_any_shape_are_one_object_each():
    found = objects([np.array([1, 2]), np.array([3, 4])])
    assert found.shape == (2,) and found[1].tolist() == [3, 4]
