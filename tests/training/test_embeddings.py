"""Embeddings looked up in parts are those looked up at once, and so are their gradients."""

import pytest
import torch
from torch import nn

from tests.fixtures.models import tiny_encoder
from tests.fixtures.training import SCHEDULE, fine_tuning, rows_of, run_in
from tinybert.training import embeddings, phase_trainer
from tinybert.training.embeddings import READ_AT_ONCE, SORTED, in_parts
from tinybert.training.training import train

CUDA = torch.device("cuda")


def sizes_of(monkeypatch) -> list[int]:
    """Return a list that fills with the number of indices of each look-up."""
    sizes, real = [], nn.functional.embedding

    def noting(indices, *others, **named):
        sizes.append(indices.numel())
        return real(indices, *others, **named)

    monkeypatch.setattr(nn.functional, "embedding", noting)
    return sizes


def gradient_of(embedding: nn.Embedding, indices: torch.Tensor) -> tuple[torch.Tensor, ...]:
    embedding.weight.grad = None
    values = embedding(indices)
    (values * torch.arange(values.numel()).view_as(values)).sum().backward()
    return values.detach(), embedding.weight.grad


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        ((8, 128), [1024]),
        ((16, 128), [1024, 1024]),
        ((25, 41), [1024, 1]),
        ((32, 128), [1024] * 4),
        ((1, SORTED + 1), [SORTED + 1]),
    ],
)
def test_between_1024_and_4096_indices_are_looked_up_in_parts(shape, parts, monkeypatch):
    embedding = nn.Embedding(7, 3, padding_idx=0).double()
    indices = torch.randint(0, 7, shape, generator=torch.Generator().manual_seed(0))
    expected = gradient_of(embedding, indices)
    sizes = sizes_of(monkeypatch)
    with in_parts(embedding, CUDA):
        found = gradient_of(embedding, indices)
    assert sizes == parts
    assert torch.equal(found[0], expected[0])
    torch.testing.assert_close(found[1], expected[1])
    assert not found[1][0].any()  # of padding


def test_a_model_is_as_before_after_an_error():
    model = tiny_encoder()
    with pytest.raises(ZeroDivisionError), in_parts(model, CUDA):
        assert all(
            "forward" in vars(each) for each in model.modules() if type(each) is nn.Embedding
        )
        raise ZeroDivisionError
    assert not any("forward" in vars(each) for each in model.modules())


def test_on_a_cpu_nothing_is_changed(monkeypatch):
    sizes = sizes_of(monkeypatch)
    embedding = nn.Embedding(7, 3)
    with in_parts(embedding, torch.device("cpu")):
        embedding(torch.zeros(2, READ_AT_ONCE, dtype=torch.long))
    assert sizes == [2 * READ_AT_ONCE]


def test_training_looks_up_in_parts_where_the_device_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "READ_AT_ONCE", 16)
    monkeypatch.setattr(
        phase_trainer, "in_parts", lambda model, device: in_parts(model, torch.device("cuda"))
    )
    sizes = sizes_of(monkeypatch)
    train(fine_tuning(), rows_of(16), 0, SCHEDULE, run_in(tmp_path))
    assert max(sizes) == 16
