"""Copies whose meaning the teacher finds changed are told from others."""

import numpy as np
import pandas as pd
import pytest

from tinybert.augmentation.agreement import (
    answers_of,
    count_copies,
    describe_copies,
    judge_copies,
)
from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import TaskSplit
from tinybert.evaluation.probabilities import certainty, objects
from tinybert.tasks.task import Encoding, TaskInfo
from tinybert.text.encoded import EncodedRows


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


def split_of(kind, frame, rows, labels):
    metric = {"multilabel": "f1_micro", "tokens": "entity_f1", "span": "squad_f1"}[kind]
    pair = kind == "span"
    info = TaskInfo(name="t", kind=kind, labels=labels, metrics=[metric], pair=pair, num_rows={})
    return TaskSplit(info, Encoding(kind, info.num_outputs, 16), frame, rows)


def test_a_copy_with_other_labels_of_several_is_dropped_and_the_same_ones_are_kept():
    frame = pd.DataFrame({"sentence1": "a", "label": [np.array([0])] * 4, "row": 0})
    rows = EncodedRows(np.zeros(4, np.int32), np.arange(1, 5), np.ones(4, np.int32), {})
    logits = np.array([[3, -3, 2], [2, -2, 4], [3, 3, 2], [0.1, -0.1, 0.2]], dtype=np.float32)
    split = split_of("multilabel", frame, rows, ["x", "y", "z"])
    answers, sure = answers_of(split, logits, Decision())
    assert answers.tolist() == [(0, 2), (0, 2), (0, 1, 2), (0, 2)]
    verdicts = judge_copies(frame, answers, sure, 0.6, 0.5)
    assert verdicts.tolist() == ["original", "kept", "changed", "unsure"]
    # With its own threshold the teacher gives y to the last one too.
    answers, _ = answers_of(split, logits, Decision(thresholds=(0.5, 0.45, 0.5)))
    assert answers.tolist()[3] == (0, 1, 2)


def test_a_copy_of_which_one_word_gets_another_tag_is_dropped():
    # Two words each, the second row's second one is cut off: O, by no logits.
    places = np.array([-1, 0, 1, -1, -1, 0, -1, -1, 0, 1, -1, -1, 0, 1, -1], dtype=np.int32)
    ends = np.array([4, 7, 11, 15])
    rows = EncodedRows(np.zeros(15, np.int32), ends, np.diff(ends, prepend=0), {})
    rows = rows.with_origins(np.arange(4)).with_places(places)
    words = {"word_starts": [np.array([0, 2])] * 4, "word_ends": [np.array([1, 3])] * 4}
    frame = pd.DataFrame({"sentence1": "a b", **words, "label": [np.array([1, 0])] * 4, "row": 0})
    logits = np.zeros((15, 3), dtype=np.float32)
    for token, (tag, score) in {1: (1, 5), 2: (0, 5), 5: (1, 5), 8: (1, 4), 9: (2, 6)}.items():
        logits[token, tag] = score
    logits[12, 1], logits[13, 0] = 0.1, 0.1  # the tags of the original, unsure
    split = split_of("tokens", frame, rows, ["O", "B-X", "I-X"])
    answers, sure = answers_of(split, logits, Decision())
    assert answers.tolist() == [(1, 0), (1, 0), (1, 2), (1, 0)]
    verdicts = judge_copies(frame, answers, sure, 0.6, 0.5)
    assert verdicts.tolist() == ["original", "kept", "changed", "unsure"]


class Answered:
    """A split of questions that are answered already."""

    def __init__(self, frame, answers):
        self.info = split_of("span", frame, None, []).info
        self.answers = answers

    def predictions(self, logits, decision):
        return objects(self.answers)


def test_a_copy_is_kept_where_its_answer_is_the_originals_wherever_it_stands():
    frame = pd.DataFrame({"row": [0, 0, 0, 1, 1, 1]})
    frame["label"] = [np.array([{"start": 3, "text": "Rome"}], dtype=object)] * 6
    split = Answered(frame, ["Rome", "Rome", "a Rome", "", "", "Rome"])
    answers, sure = answers_of(split, np.zeros((6, 2), np.float32), Decision())
    verdicts = judge_copies(frame, answers, sure, 0.99, 0.5)
    assert verdicts.tolist() == ["original", "kept", "changed", "original", "kept", "changed"]
