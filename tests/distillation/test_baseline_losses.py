"""The other systems' losses: hand values, properties, and independent plain computations."""

import math

import pytest
import torch

from tests.fixtures.plain_attention import attention_scores, random_attention
from tinybert.distillation.losses import (
    attention_probs_loss,
    cosine_loss,
    kl_loss,
    masked_word_loss,
    next_sentence_loss,
    patient_loss,
    prediction_loss,
)
from tinybert.encoders.signals import QueryKey

MASK = torch.tensor([[True, True, True, False], [True, True, False, False]])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_kl_is_zero_at_equality_and_its_gradient_too():
    logits = torch.randn(4, 3, requires_grad=True)
    loss = kl_loss(logits, logits.detach(), 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-7)
    assert logits.grad.abs().max().item() < 1e-6


def test_kl_has_its_hand_value_and_is_multiplied_by_the_square_of_the_temperature():
    # Teacher (1/2, 1/2), student (1/4, 3/4) after division by t:
    # 1/2 ln 2 + 1/2 ln 2/3 = 0.1438410. Logits t times as far apart give t^2 times that.
    logits_S, logits_T = torch.tensor([[0.0, math.log(3)]]), torch.zeros(1, 2)
    assert kl_loss(logits_S, logits_T, 1.0).item() == pytest.approx(0.1438410, rel=1e-5)
    assert kl_loss(5 * logits_S, logits_T, 5.0).item() == pytest.approx(25 * 0.1438410, rel=1e-5)


def test_kl_differs_from_the_soft_cross_entropy_by_the_teachers_entropy():
    logits_S, logits_T = torch.randn(4, 3), torch.randn(4, 3)
    entropy = prediction_loss(logits_T, logits_T)
    expected = prediction_loss(logits_S, logits_T) - entropy
    assert kl_loss(logits_S, logits_T, 1.0).item() == pytest.approx(expected.item(), rel=1e-4)


def test_patient_loss_compares_directions_alone():
    states_S, states_T = torch.randn(3, 5), torch.randn(3, 5)
    assert patient_loss(7 * states_T, states_T).item() == pytest.approx(0, abs=1e-12)
    loss = patient_loss(states_S, states_T).item()
    assert patient_loss(2 * states_S, 9 * states_T).item() == pytest.approx(loss, rel=1e-5)


def test_patient_loss_has_its_hand_value():
    # (3, 4) has the direction (0.6, 0.8), (0, 2) has (0, 1): (0.36 + 0.04) / 2 for that row; the
    # other row is equal: mean over two rows 0.1.
    states_S = torch.tensor([[3.0, 4.0], [1.0, 0.0]])
    states_T = torch.tensor([[0.0, 2.0], [5.0, 0.0]])
    assert patient_loss(states_S, states_T).item() == pytest.approx(0.1)


def test_cosine_loss_has_its_hand_value():
    # Directions equal, at right angles, opposite: 0, 1, 2 over three real tokens; the padded
    # place, where the vectors are opposite as well, does not count.
    states_S = torch.tensor([[[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [-1.0, 0.0]]])
    states_T = torch.tensor([[[1.0, 0.0]] * 4])
    mask = torch.tensor([[True, True, True, False]])
    assert cosine_loss(states_S, states_T, mask).item() == pytest.approx(1.0)


@pytest.mark.parametrize("value", [7.0, float("inf"), float("nan")])
def test_padding_changes_no_cosine(value):
    states_S, states_T = torch.randn(2, 4, 5), torch.randn(2, 4, 5)
    wider = [torch.nn.functional.pad(s, (0, 0, 0, 2), value=value) for s in (states_S, states_T)]
    mask = torch.cat([MASK, torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    expected = cosine_loss(states_S, states_T, MASK).item()
    assert cosine_loss(*wider, mask).item() == pytest.approx(expected, rel=1e-6)


def test_a_hidden_word_costs_what_its_probability_says():
    # Even logits over 8 words: ln 8; all of the weight on the right word: 0.
    sure = torch.full((1, 8), -1e4)
    sure[0, 5] = 0
    assert masked_word_loss(torch.zeros(2, 8), torch.tensor([5, 1])).item() == pytest.approx(
        math.log(8)
    )
    assert masked_word_loss(sure, torch.tensor([5])).item() == 0


def test_next_sentence_counts_rows_with_two_segments_alone():
    # The first output means that it follows. Row 1 follows, p = 3/4; row 2 does not, p = 1/2;
    # row 3 has no second segment: (ln 4/3 + ln 2) / 2.
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0], [100.0, -100.0]])
    loss = next_sentence_loss(logits, torch.tensor([1, 0, -1]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(2)) / 2)


def test_next_sentence_without_any_second_segment_is_zero_with_a_gradient():
    logits = torch.randn(2, 2, requires_grad=True)
    loss = next_sentence_loss(logits, torch.tensor([-1, -1]))
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(2, 2))


def plain_probs(attention: QueryKey, mask: torch.Tensor) -> torch.Tensor:
    hidden = torch.where(mask[:, None, None, :], 0.0, float("-inf"))
    return torch.softmax(attention_scores(attention) + hidden, dim=-1)


def test_attention_probs_loss_equals_the_plain_form():
    ours, theirs = random_attention(width=5), random_attention(width=6)
    probs_S, probs_T = plain_probs(ours, MASK), plain_probs(theirs, MASK)
    per_query = -torch.where(probs_T > 0, probs_T * probs_S.clamp(min=1e-30).log(), 0).sum(dim=-1)
    expected = per_query.mean(dim=1)[MASK].mean().item()
    assert attention_probs_loss(ours, theirs, MASK).item() == pytest.approx(expected, rel=1e-5)


def test_attention_probs_loss_is_least_at_the_teachers_attention():
    theirs = random_attention()
    ours = QueryKey(theirs.query.detach().clone().requires_grad_(), theirs.key.detach(), 5**-0.5)
    attention_probs_loss(ours, theirs, MASK).backward()
    assert ours.query.grad.abs().max().item() < 1e-6


def test_even_attention_over_two_keys_costs_ln_2():
    zero = torch.zeros(1, 1, 3, 1)
    mask = torch.tensor([[True, True, False]])
    attention = QueryKey(zero, zero, 1.0)
    assert attention_probs_loss(attention, attention, mask).item() == pytest.approx(math.log(2))


def test_padding_changes_no_attention_probs():
    ours, theirs = random_attention(), random_attention()
    expected = attention_probs_loss(ours, theirs, MASK).item()

    def wider(attention):
        return QueryKey(
            *(torch.nn.functional.pad(a, (0, 0, 0, 2), value=9.0) for a in attention[:2]), 5**-0.5
        )

    mask = torch.cat([MASK, torch.zeros(2, 2, dtype=torch.bool)], dim=1)
    found = attention_probs_loss(wider(ours), wider(theirs), mask).item()
    assert found == pytest.approx(expected, rel=1e-5)


def test_means_over_heads_match_other_numbers_of_heads():
    # Two heads that look at one key each have the mean of one head that looks at both alike.
    far = 50.0
    query = torch.ones(1, 2, 2, 1)
    key = torch.tensor([[[[far], [0.0]], [[0.0], [far]]]])
    two, one = QueryKey(query, key, 1.0), QueryKey(torch.zeros(1, 1, 2, 1), key[:, :1], 1.0)
    mask = torch.tensor([[True, True]])
    loss = attention_probs_loss(two, one, mask, average_heads=True)
    assert loss.item() == pytest.approx(math.log(2))
    with pytest.raises(ValueError, match="attention probabilities"):
        attention_probs_loss(two, one, mask)


def test_shapes_that_differ_are_refused():
    with pytest.raises(ValueError, match="logits"):
        kl_loss(torch.zeros(2, 3), torch.zeros(2, 2), 1.0)
    with pytest.raises(ValueError, match=r"\[CLS\] states"):
        patient_loss(torch.zeros(2, 3), torch.zeros(2, 2))
    with pytest.raises(ValueError, match="hidden states"):
        cosine_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 2), torch.ones(1, 2).bool())


def test_means_are_taken_in_float32():
    states = torch.randn(2, 4, 5).bfloat16()
    logits = torch.randn(2, 4).bfloat16()
    found = [
        cosine_loss(states, states, MASK),
        patient_loss(states[:, 0], states[:, 0]),
        kl_loss(logits, logits, 1.0),
        masked_word_loss(logits, torch.tensor([0, 1])),
        next_sentence_loss(logits[:, :2], torch.tensor([0, 1])),
        attention_probs_loss(random_attention(dtype=torch.bfloat16), random_attention(), MASK),
    ]
    assert all(loss.dtype == torch.float32 for loss in found)
