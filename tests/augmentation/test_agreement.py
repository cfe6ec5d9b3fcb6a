"""Copies whose meaning the teacher finds changed are told from others."""

import numpy as np
import pandas as pd
import pytest

from tinybert.augmentation.agreement import count_copies, describe_copies, judge_copies
from tinybert.evaluation.probabilities import certainty


def scored(probabilities):
    """Return logits whose softmax these probabilities are."""
    return np.log(np.array(probabilities, dtype=np.float64)).astype(np.float32)


# Two rows of label 0 and 1; the teacher errs on the second.
FRAME = pd.DataFrame({"label": [0, 0, 0, 0, 1, 1, 1], "row": [0, 0, 0, 0, 1, 1, 1]})
LOGITS = scored(
    [[0.9, 0.1], [0.8, 0.2], [0.55, 0.45], [0.3, 0.7], [0.6, 0.4], [0.7, 0.3], [0.1, 0.9]]
)
JUDGED = (LOGITS.argmax(axis=1), certainty(LOGITS))


def test_a_copy_is_judged_by_the_teachers_label_of_its_original():
    verdicts = judge_copies(FRAME, *JUDGED, 0.6, 0.5)
    assert verdicts.tolist() == [
        *("original", "kept", "unsure", "changed"),
        *(
            "original",
            "relabelled",
            "changed",
        ),  # the last has the task's label, yet not the teacher's
    ]


def test_without_a_least_probability_no_copy_is_unsure():
    assert "unsure" not in set(judge_copies(FRAME, *JUDGED, 0.0, 0.5))


def test_an_original_is_kept_however_unsure_the_teacher_is():
    verdicts = judge_copies(FRAME, *JUDGED, 0.95, 0.5)
    assert verdicts[[0, 4]].tolist() == ["original"] * 2
    assert not {"kept", "relabelled"} & set(verdicts)


def test_of_values_the_distance_to_the_originals_counts_in_standard_deviations():
    frame = pd.DataFrame({"label": 0.0, "row": [0, 0, 0, 1, 1]})
    # The originals' values are 1 and 5: a standard deviation of 2, half of which is 1.
    values = np.array([[1.0], [1.9], [2.1], [5.0], [3.9]], dtype=np.float32)
    verdicts = judge_copies(frame, values[:, 0], np.ones(5), 0.9, 0.5)
    assert verdicts.tolist() == ["original", "kept", "changed", "original", "changed"]


def test_numbers_of_rows_need_not_follow_each_other():
    # As `choose_rows` leaves them: some copies are not drawn, and rows keep their numbers.
    frame = FRAME.assign(row=[3, 3, 3, 3, 7, 7, 7])
    expected = judge_copies(FRAME, *JUDGED, 0.6, 0.5).tolist()
    assert judge_copies(frame, *JUDGED, 0.6, 0.5).tolist() == expected


def test_copies_are_counted_and_said_in_one_line():
    counts = count_copies(judge_copies(FRAME, *JUDGED, 0.6, 0.5))
    assert counts == {"kept": 1, "relabelled": 1, "changed": 2, "unsure": 1}
    assert describe_copies(counts) == (
        "2 of 5 copies kept (1 with another label than the task's), 2 dropped since the teacher "
        "labels them otherwise than their original, 1 since it is unsure"
    )


@pytest.mark.parametrize("regression", [True, False])
def test_rows_without_copies_are_all_originals(regression):
    frame = pd.DataFrame({"label": [0, 1], "row": [0, 1]})
    answers = np.array([0.1, 0.9]) if regression else np.array([0, 1])
    assert set(judge_copies(frame, answers, np.ones(2), 0.9, 0.5)) == {"original"}
