"""Which rows the teacher scores, and that a killed pass goes on."""

import numpy as np

from tests.fixtures.models import tiny_classifier
from tests.fixtures.training import counted, rows_of
from tinybert.distillation import teacher_logits
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import choose_rows, score_rows
from tinybert.evaluation.prediction import predict_logits

# Rows 0 to 9 of a task: the original, then two copies each.
ORIGINAL = np.repeat(np.arange(10), 3)


def test_all_rows_are_scored_without_a_limit():
    assert choose_rows(ORIGINAL, None, False, seed=1).tolist() == list(range(30))


def test_so_many_rows_are_drawn_and_more_keep_those_of_fewer():
    few, more = (set(choose_rows(ORIGINAL, size, False, seed=1).tolist()) for size in (8, 20))
    assert (len(few), len(more)) == (8, 20)
    assert few < more
    assert few != set(range(8))
    assert few != set(choose_rows(ORIGINAL, 8, False, seed=2).tolist())


def test_original_rows_can_be_added():
    assert set(range(0, 30, 3)) <= set(choose_rows(ORIGINAL, 5, True, seed=1).tolist())


def test_unlabelled_rows_are_scored_beside_the_same_augmented_ones():
    with_more = np.concatenate([ORIGINAL, np.full(6, -1)])
    alone = choose_rows(ORIGINAL, 8, True, seed=1).tolist()
    assert choose_rows(with_more, 8, True, seed=1).tolist() == [*alone, *range(30, 36)]
    assert choose_rows(with_more, 8, True, 1, max_unlabelled_rows=2).tolist() == [*alone, 30, 31]


def test_logits_of_parts_are_those_of_the_whole_and_done_parts_are_not_scored_again(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(teacher_logits, "ROWS_AT_ONCE", 16)
    rows, teacher = rows_of(40), Teacher(tiny_classifier())
    expected = predict_logits(teacher.model, rows, None)
    np.testing.assert_allclose(score_rows(teacher, rows, None, tmp_path), expected, atol=1e-5)
    (tmp_path / "16.npy").unlink()
    scored = counted(monkeypatch, teacher_logits, "predict_logits")
    np.testing.assert_allclose(score_rows(teacher, rows, None, tmp_path), expected, atol=1e-5)
    assert [len(part) for (_, part, _), _ in scored] == [16]


def test_parts_of_rows_have_their_own_ids_lengths_and_targets():
    rows = rows_of(10)
    part = rows.part(3, 7)
    assert len(part) == 4
    for number in range(4):
        ours, theirs = part[number], rows[number + 3]
        assert ours["ids"].tolist() == theirs["ids"].tolist()
        assert ours["labels"] == theirs["labels"]
