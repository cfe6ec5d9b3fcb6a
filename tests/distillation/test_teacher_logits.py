"""Which rows the teacher scores, and that a killed pass goes on."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.models import tiny_classifier
from tests.fixtures.training import counted, rows_of
from tinybert.distillation import teacher_logits
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import (
    RowLogits,
    choose_rows,
    row_sizes,
    score_rows,
    with_logits,
)
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
from tinybert.text.encoded import EncodedRows

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


def lengths_of(*lengths: int) -> EncodedRows:
    """Return rows of so many tokens."""
    ids = np.arange(sum(lengths), dtype=np.int32)
    return EncodedRows(ids, np.cumsum(lengths), np.array(lengths, np.int32), {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
def test_logits_of_rows_are_found_however_many_each_has(sizes, data):
    numbers = np.cumsum(np.array(sizes))  # any ascending ones
    values = np.repeat(numbers, sizes).astype(np.float32)[:, None]
    logits = RowLogits(numbers, values, np.cumsum(sizes))
    asked = data.draw(st.lists(st.sampled_from(numbers.tolist()), max_size=10))
    found = logits.of(np.array(asked, dtype=np.int64))
    of = dict(zip(numbers.tolist(), sizes, strict=True))
    assert found[:, 0].tolist() == [number for number in asked for _ in range(of[number])]


def test_windows_and_tokens_of_a_text_are_counted_together():
    rows = replace(lengths_of(5, 3, 4), origins=np.array([0, 0, 2]))
    assert row_sizes(rows, 4, per_token=False).tolist() == [2, 0, 1, 0]
    assert row_sizes(rows, 4, per_token=True).tolist() == [8, 0, 4, 0]
    assert row_sizes(lengths_of(5, 3), 2, per_token=True).tolist() == [5, 3]


def test_logits_stand_beside_what_they_are_of_or_are_refused(tmp_path):
    rows = lengths_of(5, 3)
    beside = with_logits(rows, np.zeros((2, 3), np.float32), tmp_path)
    assert beside[0]["teacher_logits"].shape == (3,)
    tokens = rows.with_places(np.zeros(8, np.int32))
    beside = with_logits(tokens, np.arange(16, dtype=np.float32).reshape(8, 2), tmp_path)
    assert beside[1]["teacher_logits"][:, 0].tolist() == [10, 12, 14]
    with pytest.raises(InputError, match="of 2 windows with 8 tokens, got 7; they are another"):
        with_logits(tokens, np.zeros((7, 2), np.float32), tmp_path / "mine")
