"""Logits compared by a task's kind: of words, of answers' ends, of several labels."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import BertForTokenClassification

from tests.fixtures.models import tiny_config
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.losses import (
    binary_kl_loss,
    binary_prediction_loss,
    several_labels_loss,
)
from tinybert.distillation.terms import compared, output_terms, term_counts
from tinybert.encoders.signals import Signals

WEIGHTED = ("prediction", "kl", "label")


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_probabilities_of_several_labels_are_matched_one_by_one():
    ours, theirs = torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, -2.0]])
    # Of the first both say 1/2: ln 2. Of the second: -(q ln p + (1 - q) ln(1 - p)).
    p, q = 1 / (1 + np.exp(-2.0)), 1 / (1 + np.exp(2.0))
    by_hand = np.log(2) - q * np.log(p) - (1 - q) * np.log(1 - p)
    assert float(binary_prediction_loss(ours, theirs)) == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_divergence_is_0_for_the_same_and_has_the_cross_entropys_gradient(temperature):
    ours, theirs = logits(4, 3).requires_grad_(), logits(4, 3, seed=1)
    assert float(binary_kl_loss(theirs, theirs, temperature)) == pytest.approx(0, abs=1e-7)
    (kl,) = torch.autograd.grad(binary_kl_loss(ours, theirs, temperature), ours)
    (cross,) = torch.autograd.grad(binary_prediction_loss(ours, theirs, temperature), ours)
    torch.testing.assert_close(kl, temperature**2 * cross)
    assert float(binary_kl_loss(ours, theirs, temperature)) > 0


def test_gold_labels_are_a_teacher_that_is_sure():
    gold = torch.tensor([[1.0, 0.0, 0.0]])
    found = several_labels_loss(torch.zeros(1, 3), gold)
    assert float(found) == pytest.approx(3 * np.log(2))
    sure = binary_prediction_loss(logits(1, 3), (gold * 2 - 1) * 100)
    assert float(sure) == pytest.approx(float(several_labels_loss(logits(1, 3), gold)), rel=1e-6)


def token_batch(kind: str, width: int) -> dict[str, Tensor]:
    scored = torch.tensor([[True, False, True, False], [True, True, False, False]])
    batch = {
        "input_ids": torch.ones(2, 4, dtype=torch.long),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool(),
        "scored": scored,
    }
    if kind == "tokens":
        batch["labels"] = torch.tensor([[2, 0, 1, 0], [0, 2, 0, 0]])
    else:
        batch["labels"] = torch.tensor([[2, 2], [0, 1]])
    return batch


@pytest.mark.parametrize(("kind", "width"), [("tokens", 3), ("span", 2)])
def test_tokens_that_do_not_count_change_nothing(kind, width):
    batch = token_batch(kind, width)
    ours, theirs = logits(2, 4, width), logits(2, 4, width, seed=1)
    found = output_terms(WEIGHTED, Signals({}, {}, ours), Signals({}, {}, theirs), batch, 2.0, kind)
    noise = torch.where(batch["scored"][..., None], 0.0, 50 * logits(2, 4, width, seed=2))
    other = output_terms(
        WEIGHTED, Signals({}, {}, ours + noise), Signals({}, {}, theirs - noise), batch, 2.0, kind
    )
    assert set(found) == set(WEIGHTED)
    for name, value in found.items():
        torch.testing.assert_close(value, other[name])
        assert torch.isfinite(value)


def test_the_label_term_of_words_is_their_mean_cross_entropy():
    batch, ours = token_batch("tokens", 3), logits(2, 4, 3)
    found = output_terms(["label"], Signals({}, {}, ours), Signals({}, {}), batch, 1.0, "tokens")
    words = torch.stack([ours[0, 0], ours[0, 2], ours[1, 0], ours[1, 1]])
    expected = cross_entropy(words.float(), torch.tensor([2, 1, 0, 2]))
    torch.testing.assert_close(found["label"], expected)


def test_the_label_term_of_answers_is_the_mean_over_first_and_last_tokens():
    batch, ours = token_batch("span", 2), logits(2, 4, 2)
    found = output_terms(["label"], Signals({}, {}, ours), Signals({}, {}), batch, 1.0, "span")
    by_hand = [
        cross_entropy(ours[0, [0, 2], end].float()[None], torch.tensor([1])) for end in (0, 1)
    ] + [
        cross_entropy(ours[1, [0, 1], end].float()[None], torch.tensor([gold]))
        for end, gold in ((0, 0), (1, 1))
    ]
    torch.testing.assert_close(found["label"], torch.stack(by_hand).mean())


def test_a_choice_is_a_row():
    words = token_batch("tokens", 3)
    assert compared(logits(2, 4, 3), words, "tokens").shape == (4, 3)
    assert compared(logits(2, 4, 2), token_batch("span", 2), "span").shape == (4, 4)
    assert compared(logits(2, 3), {}, "multilabel").shape == (2, 3)


def test_terms_of_words_are_counted_in_words_and_rows_that_do_not_count_have_none():
    batch = token_batch("tokens", 3) | {"counts": torch.tensor([True, False])}
    assert term_counts(batch, ["label", "hidden", "patient"], "tokens").tolist() == [2, 4, 1]
    del batch["counts"]
    assert term_counts(batch, ["label", "prediction"], "tokens").tolist() == [4, 4]
    assert term_counts(token_batch("span", 2), ["label"], "span").tolist() == [2]


def test_no_gradient_flows_where_no_word_is_scored():
    torch.manual_seed(0)
    model = Distillation(
        BertForTokenClassification(tiny_config(num_labels=3)), {"label": 1.0}, kind="tokens"
    )
    batch = {
        "input_ids": torch.ones(2, 4, dtype=torch.long),
        "attention_mask": torch.ones(2, 4, dtype=torch.bool),
        "scored": torch.zeros(2, 4, dtype=torch.bool),
        "labels": torch.zeros(2, 4, dtype=torch.long),
    }
    loss = model(**batch)["loss"]
    loss.backward()
    assert float(loss) == 0.0
