"""The fast dropout drops what dropout drops: the right share, by the seed, gradient included."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.fixtures.models import tiny_batch, tiny_encoder
from tinybert.training import cpu_dropout
from tinybert.training.cpu_dropout import CpuDropout, dropped


@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_share_p_is_dropped_and_the_mean_stays(p, dtype):
    torch.manual_seed(0)
    found = dropped(torch.ones(1_000_001, dtype=dtype), p)
    # A share of a million draws has a deviation of sqrt(p (1 - p)) / 1000, at most 0.0005.
    assert (found == 0).double().mean().item() == pytest.approx(p, abs=0.002)
    assert found.double().mean().item() == pytest.approx(1, abs=0.01)
    assert found.dtype == dtype
    assert len(found.unique()) == 2


def test_neighbours_are_dropped_independently():
    torch.manual_seed(0)
    zero = (dropped(torch.ones(1_000_000), 0.5) == 0).double()
    for distance in (1, 2, 3, 4):  # four values share a number
        both = (zero[:-distance] * zero[distance:]).mean().item()
        assert both == pytest.approx(0.25, abs=0.003), distance


def test_the_gradient_is_that_of_the_kept_values():
    torch.manual_seed(0)
    values = torch.randn(7, 5, requires_grad=True)
    found = dropped(values, 0.5)
    found.sum().backward()
    assert torch.equal(values.grad, torch.where(found == 0, 0.0, 2.0))


def test_the_seed_decides_what_is_dropped():
    def drawn(seed):
        torch.manual_seed(seed)
        return dropped(torch.ones(1000), 0.3)

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.fixture
def calls(monkeypatch) -> list[float]:
    found: list[float] = []
    real = cpu_dropout.dropped
    monkeypatch.setattr(cpu_dropout, "dropped", lambda x, p: found.append(p) or real(x, p))
    return found


def test_layers_and_attention_of_a_model_are_taken_while_it_trains(calls):
    model = tiny_encoder(hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.3)
    with CpuDropout():
        model.train()(**tiny_batch())
    # The embeddings; and in each of two layers attention and the two outputs.
    assert sorted(calls) == pytest.approx([0.2] * 5 + [0.3] * 2)
    with CpuDropout():
        model.eval()(**tiny_batch())
    assert len(calls) == 7


@pytest.mark.parametrize("mask", ["none", "boolean", "added"])
def test_attention_is_torchs_own_when_hardly_anything_is_dropped(mask):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 6, 5)
    real = torch.ones(2, 1, 6, 6, dtype=torch.bool)
    real[1, :, :, 4:] = False
    masks = {"none": None, "boolean": real, "added": torch.where(real, 0.0, float("-inf"))}
    options = {"attn_mask": masks[mask], "scale": 0.3}
    expected = F.scaled_dot_product_attention(query, key, value, **options)
    with CpuDropout():  # 1e-6 rounds to 0 of 65,536
        found = F.scaled_dot_product_attention(query, key, value, dropout_p=1e-6, **options)
    torch.testing.assert_close(found, expected)


def test_other_calls_pass():
    values = torch.randn(3, 4)
    with CpuDropout():
        assert torch.equal(F.dropout(values, 0.5, training=False), values)
        assert torch.equal(F.dropout(values, 0.0), values)
        assert F.dropout(values, 1.0).abs().sum() == 0
        torch.testing.assert_close(F.gelu(values), torch.nn.GELU()(values))
