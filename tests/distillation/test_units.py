"""Losses over units: the ordinary ones where both cut alike; else of means over tokens."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_encoder
from tests.fixtures.tokenizers import TEXTS, tokenizer_of
from tinybert.distillation import teacher_states
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.losses import attention_loss, hidden_loss
from tinybert.distillation.pooling import matched, pooled
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_states import use_stored_states
from tinybert.distillation.terms import term_counts
from tinybert.encoders.signals import QueryKey, QueryKeyValue, Signals
from tinybert.settings.systems import Relation
from tinybert.tasks.aligned_rows import encode_beside, put_beside
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding
from tinybert.text.batching import collate, epoch_batches

FRAME = pd.DataFrame({"sentence1": [*TEXTS, "a cat 🙂"], "sentence2": [*TEXTS[::-1], ""]})
ENCODING = Encoding("classification", 2, 50)
OURS, THEIRS = tokenizer_of("wordpiece"), tokenizer_of("byte_level")
LAYERS = [2, 4]
TERMS = ("attention", "attention_probs", "relations", "hidden", "embedding", "cosine", "patient")


def teacher(dtype=None, **changes) -> Teacher:
    sizes = {"vocab_size": 340, "num_hidden_layers": 4, "hidden_size": 24, **changes}
    return Teacher(tiny_classifier(seed=1, **sizes), dtype)


def student(terms, own_teacher) -> Distillation:
    torch.manual_seed(5)
    encoder = tiny_encoder(seed=3, vocab_size=340)
    weights = dict.fromkeys(terms, 1.0)
    relation = Relation(4, 6)
    return Distillation(encoder, weights, own_teacher, LAYERS, relation=relation).eval()


def alike(make="byte_level"):
    """Return rows, and the same with themselves beside."""
    plain = encode_split(FRAME, tokenizer_of(make), ENCODING, True)
    return plain, put_beside(plain, plain, 0, FRAME)


def aligned():
    return encode_beside(FRAME, OURS, THEIRS, ENCODING)


def outcome(model, batch):
    """Return the terms of a batch and all gradients."""
    model.zero_grad()
    found = model(**batch)
    found["loss"].backward()
    gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
    return {name: value.detach() for name, value in found.items()}, gradients


@pytest.mark.parametrize("make", ["wordpiece", "byte_level", "unigram"])
@pytest.mark.parametrize("term", TERMS)
def test_where_both_cut_alike_losses_and_gradients_are_the_ordinary_ones(term, make):
    model = student([term], teacher())
    ordinary, gradients = outcome(model, collate([alike(make)[0][n] for n in (0, 2, 5)], 0))
    found, others = outcome(model, collate([alike(make)[1][n] for n in (0, 2, 5)], 0))
    assert found == ordinary
    assert len(gradients) == len(others)
    assert all(map(torch.equal, gradients, others))


def test_batches_by_tokens_weigh_units_as_they_weigh_tokens():
    plain, both = alike()
    model, losses = student(["hidden", "attention"], teacher()), []
    for rows in (plain, both):
        batches = epoch_batches(rows, 3, "tokens", 0)
        losses.append(
            [
                model(**collate([rows[n] for n in batch], 0, batches.per_batch))["loss"].item()
                for batch in batches
            ]
        )
    assert losses[0] == losses[1]


def test_parts_of_a_batch_by_tokens_give_the_mean_of_the_whole():
    rows = aligned()
    model = student(["hidden", "attention", "patient"], teacher())
    whole = model(**collate([rows[n] for n in range(len(rows))], 0))
    batches = epoch_batches(rows, 2, "tokens", 0)
    parts = [model(**collate([rows[n] for n in batch], 0, batches.per_batch)) for batch in batches]
    for name, value in whole.items():
        mean = sum(part[name].item() for part in parts) / len(parts)
        assert mean == pytest.approx(value.item(), rel=1e-5), name


def test_means_over_units_by_hand():
    # Three tokens, the first two of unit 2, the third of unit 1; the fourth of none.
    units = torch.tensor([[2, 2, 1, 0]])
    states = torch.tensor([[[1.0, 3.0], [5.0, -1.0], [7.0, 7.0], [float("nan"), 9.0]]])
    heads = states[:, None]  # one head
    signals = Signals(
        {1: QueryKey(heads, 2 * heads, 0.5)},
        {0: states},
        relations={1: QueryKeyValue(states, states, -states)},
    )
    found = pooled(signals, units, 4)
    means = torch.tensor([[[7.0, 7.0], [3.0, 1.0], [0.0, 0.0], [0.0, 0.0]]])
    assert torch.equal(found.hidden[0], means)
    assert torch.equal(found.attention[1].query, means[:, None])
    assert torch.equal(found.attention[1].key, 2 * means[:, None])
    assert torch.equal(found.relations[1].value, -means)
    # Scores between units are the means of those between their tokens:
    # unit 2 with unit 1 is ((1, 3) + (5, -1)) / 2 . (14, 14) = ((56) + (56)) / 2.
    query, key, _ = found.attention[1]
    assert (query[0, 0, 1] @ key[0, 0, 0]).item() == 56.0


def test_losses_of_other_cuts_by_hand():
    # The student has one piece where the teacher has two; both have the next one.
    ours = Signals({1: QueryKey(*[torch.tensor([[[[2.0], [3.0]]]])] * 2, 1.0)}, {})
    theirs = Signals({1: QueryKey(*[torch.tensor([[[[1.0], [5.0], [3.0]]]])] * 2, 1.0)}, {})
    batch = {"attention_mask": torch.tensor([[1, 1]]), "units": torch.tensor([[1, 2]])}
    other = pooled(theirs, torch.tensor([[1, 1, 2]]), 2)
    mine, mask = matched(ours, batch)
    # Scores 4 6 6 9 and, of the means 3 and 3, 9 9 9 9: squares 25 + 9 + 9 + 0 of four.
    assert attention_loss(mine.attention[1], other.attention[1], mask).item() == 43 / 4
    states = Signals({}, {1: torch.tensor([[[2.0], [3.0]]])})
    mine, mask = matched(states, batch)
    found = hidden_loss(mine.hidden[1], other.attention[1].query[:, 0], mask)
    assert found.item() == 1 / 2


def test_units_are_counted_where_layers_are_matched():
    batch = {
        "input_ids": torch.zeros(2, 5),
        "attention_mask": torch.ones(2, 5),
        "units": torch.tensor([[1, 2, 2, 0, 3], [1, 0, 2, 0, 0]]),
        "counts": torch.tensor([True, True]),
    }
    assert term_counts(batch, ["patient", "hidden", "attention"]).tolist() == [2, 5, 13]
    batch["counts"] = torch.tensor([True, False])
    assert term_counts(batch, ["patient", "hidden", "attention"]).tolist() == [1, 3, 9]


def widened(batch, ours, theirs):
    """Return a batch with further columns of padding on both sides."""
    found = {}
    for name, value in batch.items():
        by = theirs if name.startswith("teacher_") else ours
        found[name] = torch.nn.functional.pad(value, (0, by))
    return found


@pytest.mark.parametrize(("ours", "theirs"), [(3, 0), (0, 5), (2, 1)])
def test_padding_changes_nothing(ours, theirs):
    model = student(TERMS, teacher())
    rows = aligned()
    batch = collate([rows[n] for n in (1, 5)], 0)
    plain, padded = model(**batch), model(**widened(batch, ours, theirs))
    for name, value in plain.items():
        assert padded[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_a_batch_has_both_sides_each_with_its_own_padding():
    rows = aligned()
    batch = collate([rows[n] for n in (0, 5)], 3)
    assert rows.beside is not None
    assert batch["input_ids"].shape != batch["teacher_input_ids"].shape
    for name, pad in (("", 3), ("teacher_", THEIRS.pad_token_id)):
        mask = batch[f"{name}attention_mask"]
        assert (batch[f"{name}input_ids"][~mask] == pad).all()
        assert (batch[f"{name}units"][~mask] == 0).all()
    assert batch["teacher_token_type_ids"].shape == batch["teacher_input_ids"].shape


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_stored_states_give_the_losses_of_a_pass(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(teacher_states, "BYTES_PER_SECOND", 1e15)
    rows, hidden = aligned(), [0, *LAYERS]
    own = teacher(dtype)
    terms = ["attention", "relations", "hidden", "embedding"]
    live = student(terms, own)
    signals, stored, decision = use_stored_states(
        own, rows, LAYERS, hidden, 50.0, 1.0, tmp_path, [4]
    )
    assert decision.store
    assert stored.beside is None
    read = student(terms, signals)
    plain = live(**collate([rows[n] for n in (4, 0, 5)], 0))
    again = read(**collate([stored[n] for n in (4, 0, 5)], 0))
    # Batches of other shapes round otherwise: 2^-8 of a value in bfloat16.
    tolerance = 1e-5 if dtype is None else 2**-7
    for name, value in plain.items():
        assert again[name].item() == pytest.approx(value.item(), rel=tolerance), name


def test_the_teacher_reads_its_own_tokens():
    rows = aligned()
    batch = collate([rows[0]], 0)
    theirs = rows.beside
    seen = teacher().signals(batch, hidden=True)
    alone = teacher().signals(collate([replace(theirs, token_targets={})[0]], 0), hidden=True)
    unit = int(theirs.token_targets["units"][: theirs.ends[0]].max())
    last = alone.hidden[4][0, -1]
    torch.testing.assert_close(seen.hidden[4][0, unit - 1], last)
    np.testing.assert_array_equal(batch["teacher_input_ids"][0], theirs.ids[: theirs.ends[0]])
