"""Look up embeddings so that CUDA adds up their gradients in one order, and all of them.

PyTorch's kernel for the gradient of few indices (3,072, or 4,096 since Hopper; more are sorted)
reads 1,024 of them at a time into shared memory, and may do so while threads still read those
before: now and then, as threads are scheduled, a step's gradient is not the right one
(pytorch/pytorch#187687). Up to 1,024 indices there is nothing to wait for.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

READ_AT_ONCE = 1024  # indices, by the kernel
SORTED = 4096  # more go another way


@contextmanager
def in_parts(model: nn.Module, device: torch.device) -> Iterator[None]:
    """Let the embeddings of a model look up indices in parts during the block; nothing on a CPU.

    Values are the same; a gradient is the sum of the parts'.

    Args:
        model: What is trained; as before after the block.
        device: That it is trained on.
    """
    found = [each for each in model.modules() if type(each) is nn.Embedding]
    chosen = found if device.type == "cuda" else []
    for each in chosen:
        each.forward = partial(looked_up, each)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for each in chosen:
            del each.forward


def looked_up(embedding: nn.Embedding, indices: Tensor) -> Tensor:
    """Return the rows of an embedding, shape (*indices, width)."""
    if not READ_AT_ONCE < indices.numel() <= SORTED:
        return nn.Embedding.forward(embedding, indices)
    parts = [
        nn.Embedding.forward(embedding, part) for part in indices.flatten().split(READ_AT_ONCE)
    ]
    return torch.cat(parts).view(*indices.shape, -1)
