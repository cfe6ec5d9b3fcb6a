"""The paper's equations: hand values, properties, and an independent plain computation."""

import pytest
import torch

from tinybert.losses import (
    attention_loss,
    attention_scores,
    embedding_loss,
    hidden_loss,
    label_loss,
    prediction_loss,
    regression_loss,
)

torch.manual_seed(0)
MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])
LAYER_LOSSES = [attention_loss, hidden_loss, embedding_loss]


def inputs_of(loss, width=5):
    shape = (2, 3, 4, 4) if loss is attention_loss else (2, 4, width)
    return torch.randn(shape, requires_grad=True), torch.randn(shape)


def padded(tensor, loss, value):
    """Add two padded tokens, filled with `value`."""
    if loss is attention_loss:
        wider = torch.full((*tensor.shape[:2], 6, 6), value)
        wider[:, :, :4, :4] = tensor
    else:
        wider = torch.full((tensor.shape[0], 6, tensor.shape[2]), value)
        wider[:, :4] = tensor
    return wider


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_equal_inputs_give_zero(loss):
    student, _ = inputs_of(loss)
    assert loss(student, student.detach(), MASK).item() == 0


@pytest.mark.parametrize("loss", LAYER_LOSSES)
@pytest.mark.parametrize("value", [7.0, float("inf"), float("nan")])
def test_padding_changes_nothing(loss, value):
    student, teacher = inputs_of(loss)
    mask = torch.cat([MASK, torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    wider = loss(padded(student.detach(), loss, value), padded(teacher, loss, 3.0), mask)
    assert wider.item() == pytest.approx(loss(student, teacher, MASK).item(), rel=1e-6)


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_padded_places_get_no_gradient(loss):
    student, teacher = inputs_of(loss)
    loss(student, teacher, MASK).backward()
    by_token = student.grad.abs().sum(dim=(1, 3) if loss is attention_loss else 2)
    assert torch.equal(by_token > 0, MASK)


@pytest.mark.parametrize("loss", LAYER_LOSSES)
def test_shapes_that_differ_are_refused(loss):
    student, teacher = inputs_of(loss)
    with pytest.raises(ValueError, match="differs"):
        loss(student[:, :2], teacher, MASK)


def test_attention_loss_averages_over_heads_and_real_pairs():
    # Two heads, one sentence, two of three tokens real: 4 real pairs. Head 1 differs by 1 in all
    # of them, head 2 by 3 in one: (4 * 1 + 9) / (2 heads * 4 pairs) = 13 / 8.
    scores_T = torch.zeros(1, 2, 3, 3)
    scores_S = torch.zeros(1, 2, 3, 3)
    scores_S[0, 0] += 1
    scores_S[0, 1, 0, 1] = 3
    mask = torch.tensor([[True, True, False]])
    assert attention_loss(scores_S, scores_T, mask).item() == pytest.approx(13 / 8)


def test_hidden_loss_averages_over_real_tokens_and_width():
    # Three real tokens in two sentences, two wide, one value off by 3: 9 / (3 * 2) = 1.5.
    hidden_T = torch.zeros(2, 2, 2)
    hidden_S = hidden_T.clone()
    hidden_S[0, 1, 0] = 3
    mask = torch.tensor([[True, True], [True, False]])
    assert hidden_loss(hidden_S, hidden_T, mask).item() == pytest.approx(1.5)
    assert embedding_loss(hidden_S, hidden_T, mask).item() == pytest.approx(1.5)


def test_attention_loss_equals_a_loop_over_every_pair():
    student, teacher = inputs_of(attention_loss)
    total, count = 0.0, 0
    for b in range(2):
        for h in range(3):
            for i in range(4):
                for j in range(4):
                    if MASK[b, i] and MASK[b, j]:
                        total += float(student.detach()[b, h, i, j] - teacher[b, h, i, j]) ** 2
                        count += 1
    assert attention_loss(student, teacher, MASK).item() == pytest.approx(total / count, rel=1e-5)


def test_scores_are_scaled_products_of_queries_and_keys():
    query = torch.tensor([[[[1.0, 2.0]]]])
    key = torch.tensor([[[[3.0, 4.0]]]])
    # (1 * 3 + 2 * 4) * 0.5 = 5.5
    assert attention_scores(query, key, 0.5).item() == pytest.approx(5.5)


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
    student, teacher = inputs_of(loss)
    assert loss(student.bfloat16(), teacher.bfloat16(), MASK).dtype == torch.float32
