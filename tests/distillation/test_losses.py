"""The paper's equations: hand values, properties, and an independent plain computation."""

import pytest
import torch

from tests.fixtures.plain_attention import plain_attention_loss, random_attention
from tinybert.distillation.losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
    label_loss,
    prediction_loss,
    regression_loss,
)
from tinybert.encoders.signals import QueryKey

torch.manual_seed(0)
MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])
LAYER_LOSSES = [hidden_loss, embedding_loss]
# Joined, student's and teacher's heads are 11 wide: rows of 4 tokens take the (L, L) product,
# rows of 40 the Grams.
LENGTHS = [4, 40]


def mask_of(tokens) -> torch.Tensor:
    """Two rows, one token and half of the tokens short."""
    return torch.arange(tokens) < torch.tensor([[tokens - 1], [tokens // 2]])


def attentions(tokens, dtype=torch.float32) -> tuple[QueryKey, QueryKey]:
    return (
        random_attention(tokens=tokens, width=5, dtype=dtype),
        random_attention(tokens=tokens, width=6, dtype=dtype),
    )


def gradients(loss, attention_S, attention_T, mask) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss(attention_S, attention_T, mask), attention_S[:2]))


@pytest.mark.parametrize("tokens", LENGTHS)
def test_attention_loss_equals_the_plain_form_with_its_gradient(tokens):
    mask = mask_of(tokens)
    double = attentions(tokens, torch.float64)
    # The loss itself computes in float32: 1e-5 leaves room for the cancelling of Grams.
    expected = plain_attention_loss(*double, mask).item()
    assert attention_loss(*double, mask).item() == pytest.approx(expected, rel=1e-5)
    plain = gradients(plain_attention_loss, *double, mask)
    for found, wanted in zip(gradients(attention_loss, *double, mask), plain, strict=True):
        assert (found - wanted).norm() / wanted.norm() < 1e-5


@pytest.mark.parametrize("tokens", LENGTHS)
def test_equal_attention_gives_zero(tokens):
    attention, _ = attentions(tokens)
    same = QueryKey(attention.query.detach(), attention.key.detach(), attention.scaling)
    # Grams cancel to rounding: scores are about 1, so 1e-6 is zero.
    assert attention_loss(attention, same, mask_of(tokens)).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("tokens", LENGTHS)
@pytest.mark.parametrize("value", [7.0, float("inf"), float("nan")])
def test_padding_changes_no_attention_loss(tokens, value):
    student, teacher = attentions(tokens)

    def padded(attention, filled_with):
        wider = [torch.nn.functional.pad(x, (0, 0, 0, 2), value=filled_with) for x in attention[:2]]
        return QueryKey(*wider, attention.scaling)

    wider_mask = torch.nn.functional.pad(mask_of(tokens), (0, 2))
    found = attention_loss(padded(student, value), padded(teacher, 3.0), wider_mask).item()
    expected = attention_loss(student, teacher, mask_of(tokens)).item()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("tokens", LENGTHS)
def test_padded_queries_and_keys_get_no_gradient(tokens):
    mask = mask_of(tokens)
    for gradient in gradients(attention_loss, *attentions(tokens), mask):
        assert torch.equal(gradient.abs().sum(dim=(1, 3)) > 0, mask)


@pytest.mark.parametrize("tokens", [4, 64, 512])
def test_no_map_of_scores_is_made_for_long_rows(tokens):
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda x: kept.append(x.numel()) or x, lambda x: x
    ):
        attention_loss(*attentions(tokens), mask_of(tokens)).backward()
    # Two rows and three heads of 11-wide joined queries are the largest of what is kept.
    assert max(kept) <= 2 * 3 * tokens * 11


def test_attention_of_other_numbers_of_heads_is_refused():
    with pytest.raises(ValueError, match="differs"):
        attention_loss(random_attention(heads=2), random_attention(heads=3), MASK)


def inputs_of(width=5):
    return torch.randn(2, 4, width, requires_grad=True), torch.randn(2, 4, width)


def padded(tensor, value):
    """Add two padded tokens, filled with `value`."""
    return torch.nn.functional.pad(tensor, (0, 0, 0, 2), value=value)


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_equal_inputs_give_zero(loss):
    student, _ = inputs_of()
    assert loss(student, student.detach(), MASK).item() == 0


@pytest.mark.parametrize("loss", LAYER_LOSSES)
@pytest.mark.parametrize("value", [7.0, float("inf"), float("nan")])
def test_padding_changes_nothing(loss, value):
    student, teacher = inputs_of()
    mask = torch.cat([MASK, torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    wider = loss(padded(student.detach(), value), padded(teacher, 3.0), mask)
    assert wider.item() == pytest.approx(loss(student, teacher, MASK).item(), rel=1e-6)


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_padded_places_get_no_gradient(loss):
    student, teacher = inputs_of()
    loss(student, teacher, MASK).backward()
    assert torch.equal(student.grad.abs().sum(dim=2) > 0, MASK)


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_shapes_that_differ_are_refused(loss):
    student, teacher = inputs_of()
    with pytest.raises(ValueError, match="differs"):
        loss(student[:, :2], teacher, MASK)


def test_attention_loss_averages_over_heads_and_real_pairs():
    # Two heads, one sentence, two of three tokens real: 4 real pairs. The teacher's scores are 0.
    # Head 1: all queries and keys 1, scaled by 1: scores 1, squares 4 * 1. Head 2: query 3 at the
    # first token alone, key 1 at the second alone: one score of 3, square 9. 13 / (2 * 4).
    query, key = torch.zeros(1, 2, 3, 1), torch.zeros(1, 2, 3, 1)
    query[0, 0], key[0, 0] = 1, 1
    query[0, 1, 0], key[0, 1, 1] = 3, 1
    zero = torch.zeros(1, 2, 3, 4)
    mask = torch.tensor([[True, True, False]])
    loss = attention_loss(QueryKey(query, key, 1.0), QueryKey(zero, zero, 0.5), mask)
    assert loss.item() == pytest.approx(13 / 8)


def test_queries_are_scaled():
    # A score of (1 * 3 + 2 * 4) * 0.5 = 5.5 against the teacher's 2 * 1 * 0.25 = 0.5: 5^2.
    ours = QueryKey(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 4.0]]]]), 0.5)
    theirs = QueryKey(torch.tensor([[[[2.0]]]]), torch.tensor([[[[1.0]]]]), 0.25)
    assert attention_loss(ours, theirs, torch.tensor([[True]])).item() == pytest.approx(25.0)


def test_hidden_loss_averages_over_real_tokens_and_width():
    # Three real tokens in two sentences, two wide, one value off by 3: 9 / (3 * 2) = 1.5.
    hidden_T = torch.zeros(2, 2, 2)
    hidden_S = hidden_T.clone()
    hidden_S[0, 1, 0] = 3
    mask = torch.tensor([[True, True], [True, False]])
    assert hidden_loss(hidden_S, hidden_T, mask).item() == pytest.approx(1.5)
    assert embedding_loss(hidden_S, hidden_T, mask).item() == pytest.approx(1.5)


def test_prediction_loss_sums_over_classes_and_averages_over_the_batch():
    # Teacher (1/2, 1/2) and student (1/4, 3/4) by logits (0, ln 3):
    # -(1/2 ln 1/4 + 1/2 ln 3/4) = 0.8369882; twice the same row has the same mean.
    logits_S = torch.tensor([[0.0, 1.0986123]] * 2)
    logits_T = torch.zeros(2, 2)
    assert prediction_loss(logits_S, logits_T).item() == pytest.approx(0.8369882, rel=1e-5)


def test_prediction_loss_does_not_shrink_with_more_impossible_classes():
    few, more = torch.zeros(1, 2), torch.full((1, 8), -1e4)
    more[:, :2] = 0
    assert prediction_loss(more, more).item() == pytest.approx(prediction_loss(few, few).item())


def test_temperature_divides_both_logits():
    logits_S, logits_T = torch.randn(3, 4), torch.randn(3, 4)
    expected = prediction_loss(logits_S / 2, logits_T / 2)
    assert prediction_loss(logits_S, logits_T, 2.0).item() == pytest.approx(expected.item())


def test_prediction_loss_is_least_at_the_teachers_logits():
    logits_T = torch.randn(4, 3)
    logits_S = logits_T.clone().requires_grad_()
    prediction_loss(logits_S, logits_T).backward()
    assert logits_S.grad.abs().max().item() < 1e-6


def test_regression_and_label_losses_have_their_hand_values():
    # (1 - 3)^2 and (2 - 2)^2: mean 2. Even logits of 4 classes: ln 4.
    scores = regression_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 2.0]))
    assert scores.item() == pytest.approx(2.0)
    labels = torch.tensor([1, 3])
    assert label_loss(torch.zeros(2, 4), labels).item() == pytest.approx(1.3862944)


def test_output_losses_refuse_shapes_that_differ():
    with pytest.raises(ValueError, match="logits"):
        prediction_loss(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="scores"):
        regression_loss(torch.zeros(2), torch.zeros(2, 1))


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_means_are_taken_in_float32(loss):
    student, teacher = inputs_of()
    assert loss(student.bfloat16(), teacher.bfloat16(), MASK).dtype == torch.float32
