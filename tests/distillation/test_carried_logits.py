"""A teacher's stored logits reach the places of a student with another tokenizer."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.fixtures.kinds import frame_of, model_of
from tests.fixtures.refused import refused
from tests.fixtures.tokenizers import tokenizer_of
from tinybert.distillation.carried_logits import encode_with_logits
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.losses import patient_loss
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import row_sizes, with_logits
from tinybert.distillation.terms import LOWEST, compared
from tinybert.encoders.signals import read_signals
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding
from tinybert.text.alignment import partners
from tinybert.text.batching import collate, teachers_batch

OURS, THEIRS = tokenizer_of("wordpiece"), tokenizer_of("byte_level")
PLACE = Path("data/teacher_logits/mine")
LONG = "the unbelievable cat sat on the old red mat and then it was not very good, believe it"
TEXTS = [LONG, "naïve café", f"{LONG} {LONG}", "cat"]
SIZES = {"classification": 3, "tokens": 5, "span": 2}


def frame(kind, texts=TEXTS) -> pd.DataFrame:
    if kind == "span":
        return frame_of(kind, ["the cat?"] * len(texts), texts)
    return frame_of(kind, texts)


def encoding(kind, **how) -> Encoding:
    return Encoding(kind, SIZES[kind], how.pop("max_length", 40), **how)


def stored(rows, kind) -> np.ndarray:
    """Return logits that differ everywhere, as a teacher of these rows would store them."""
    num = int(row_sizes(rows, len(rows), rows.places is not None).sum())
    rng = np.random.default_rng(0)
    return rng.normal(size=(num, SIZES[kind])).astype(np.float32)


def carried(kind, ours=OURS, theirs=THEIRS, beside=False, texts=TEXTS, **how):
    """Return the student's rows with logits, the teacher's rows, and its logits."""
    of = encoding(kind, **how)
    read = encode_split(frame(kind, texts), theirs, of)
    logits = stored(read, kind)
    rows = encode_with_logits(frame(kind, texts), logits, PLACE, ours, theirs, of, beside)
    return rows, read, logits


@pytest.mark.parametrize("kind", SIZES)
def test_of_the_same_tokenizer_logits_stand_as_they_did(kind):
    rows, read, logits = carried(kind, OURS, OURS)
    expected = with_logits(read, logits, PLACE)
    assert rows.beside is None
    assert np.array_equal(rows.ids, expected.ids)
    for name in ("targets", "token_targets"):
        ours, theirs = (getattr(of, name) for of in (rows, expected))
        assert all(np.array_equal(ours[each], theirs[each]) for each in theirs)


@pytest.mark.parametrize("kind", SIZES)
@pytest.mark.parametrize("length", [16, 60])
def test_where_both_cut_alike_the_compared_logits_are_the_ordinary_ones(kind, length, monkeypatch):
    how = (
        {"long": "windows", "stride": 4, "max_length": length}
        if kind != "span"
        else {"max_length": length + 20, "stride": 6}
    )
    plain, _, _ = carried(kind, THEIRS, THEIRS, **how)
    for module in ("tasks.aligned_rows", "distillation.carried_logits"):
        monkeypatch.setattr(f"tinybert.{module}.same_tokenizer", lambda *_: False)
    rows, _, _ = carried(kind, THEIRS, THEIRS, **how)
    batches = [collate([of[n] for n in range(len(of))], 0) for of in (plain, rows)]
    ordinary, other = (compared(batch["teacher_logits"], batch, kind) for batch in batches)
    assert torch.equal(ordinary, other)


def test_a_window_gets_the_logits_of_the_teachers_that_shares_most():
    rows, read, logits = carried("classification", long="windows", stride=4, max_length=14)
    of = encoding("classification", long="windows", stride=4, max_length=14)
    sides = [encode_split(frame("classification"), each, of, True) for each in (OURS, THEIRS)]
    chosen = partners(*sides)
    assert len(read) != len(rows)
    assert (read.origins[chosen] == rows.origins).all()
    assert np.array_equal(rows.targets["teacher_logits"], logits[chosen])


def test_a_word_gets_the_logits_of_its_number_in_whatever_window():
    how = {"long": "windows", "stride": 4, "max_length": 14}
    rows, read, logits = carried("tokens", **how)
    scored = rows.token_targets["scored"].numpy()
    origins, words = rows.token_origins, rows.places
    theirs = {
        (int(read.token_origins[at]), int(read.places[at])): logits[at]
        for at in np.flatnonzero(read.places >= 0)
    }
    assert scored.sum() == len(theirs) == sum(len(of) for of in frame("tokens")["word_starts"])
    for at in np.flatnonzero(scored):
        found = rows.token_targets["teacher_logits"][at].numpy()
        assert np.array_equal(found, theirs[int(origins[at]), int(words[at])])


def test_a_word_that_one_side_does_not_reach_counts_for_neither():
    rows, read, _ = carried("tokens", long="cut", max_length=10)
    both = np.intersect1d(
        *(of.token_origins[of.places >= 0] * 100 + of.places[of.places >= 0] for of in (rows, read))
    )
    scored = rows.token_targets["scored"].numpy()
    assert len(both) < (rows.places >= 0).sum()
    keys = rows.token_origins[scored] * 100 + rows.places[scored]
    assert sorted(keys.tolist()) == sorted(both.tolist())


@pytest.mark.parametrize(("student", "teacher"), [(OURS, THEIRS), (THEIRS, OURS)])
def test_an_answer_begins_and_ends_with_its_unit(student, teacher):
    text = "unbelievable  cat"
    rows, _, logits = carried("span", student, teacher, texts=[text])
    units = encode_beside(frame("span", [text]), student, teacher, encoding("span"))
    mine = units.token_targets["units"].numpy()
    other = units.beside.token_targets["units"].numpy()
    found = rows.token_targets["teacher_logits"].numpy()
    inside = rows.token_targets["scored"].numpy()
    seen = 0
    for unit in {int(of) for of in mine[inside]} - {0}:
        tokens = np.flatnonzero(mine == unit)
        theirs = logits[other == unit]
        # The teacher's probability of the unit: the sum of its tokens'.
        expected = np.log(np.exp(theirs.astype(float)).sum(axis=0))
        assert found[tokens[0], 0] == pytest.approx(expected[0], rel=1e-6)
        assert found[tokens[-1], 1] == pytest.approx(expected[1], rel=1e-6)
        assert (found[tokens[1:], 0] == LOWEST).all()
        assert (found[tokens[:-1], 1] == LOWEST).all()
        seen += len(tokens if student is THEIRS else theirs) > 1
    assert seen
    assert (found[mine == 0] == LOWEST).all()


def test_a_teacher_that_runs_too_stands_beside():
    for kind in SIZES:
        rows, _, _ = carried(kind, beside=True)
        batch = collate([rows[0], rows[1]], 0)
        assert {"teacher_input_ids", "units", "teacher_logits"} <= batch.keys()
        alone, _, _ = carried(kind)
        assert alone.beside is None


def test_logits_of_other_rows_are_refused():
    of = encoding("tokens")
    line = refused(
        encode_with_logits, frame("tokens"), np.zeros((3, 5), np.float32), PLACE, OURS, THEIRS, of
    )
    assert "they are another run's" in line


def test_a_row_without_a_piece_in_common_is_named():
    cut = "a" * 120  # unknown to WordPiece as a whole, cut off by the other
    frame = pd.DataFrame({"sentence1": ["the cat", "\x00", cut]})
    of = Encoding("classification", 2, 8)
    line = refused(encode_beside, frame, OURS, THEIRS, of)
    assert line.startswith("row 2: student's and teacher's tokenizer have no piece of the text")
    assert repr("a" * 40) in line
    assert "1 of 3 rows" in line


@pytest.mark.parametrize("kind", SIZES)
def test_patience_runs_the_teacher_on_its_tokens_beside_stored_logits(kind):
    rows, _, _ = carried(kind, beside=True)
    models = [model_of(kind, seed, vocab_size=340) for seed in (1, 2)]
    teacher = Teacher(models[1])
    weights = {"kl": 1.0, "patient": 1.0}
    model = Distillation(models[0], weights, teacher, [1, 2], kind=kind).eval()
    batch = collate([rows[n] for n in range(len(rows))], 0)
    found = model(**batch)
    own = teachers_batch(batch)
    states = [
        read_signals(each, of, hidden=True).hidden[1][:, 0]
        for each, of in zip(models, (batch, own), strict=True)
    ]
    assert found["loss/patient"].item() == pytest.approx(patient_loss(*states).item(), rel=1e-5)
    alone = Distillation(models[0], {"kl": 1.0}, kind=kind).eval()
    assert found["loss/kl"].item() == pytest.approx(alone(**batch)["loss/kl"].item(), rel=1e-6)
