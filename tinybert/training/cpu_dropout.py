"""Dropout on a CPU at a fifth of its usual cost, for whatever model runs inside the block.

torch draws a number for each value in one thread, which took 6% of a general step and more of a
student's own. Here one 64-bit number decides on four values. It is still torch's generator, so
seeds and resuming hold; the share dropped is p to 2^-16.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.overrides import TorchFunctionMode

LEVELS = 2**16


class CpuDropout(TorchFunctionMode):
    """Inside this block CPU tensors get the fast dropout, in layers and in attention."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Take dropout's calls and let all others pass."""
        kwargs = kwargs or {}
        if func is F.dropout and args[0].device.type == "cpu":
            return _layer_dropout(*args, **kwargs)
        if func is F.scaled_dot_product_attention and kwargs.get("dropout_p", 0.0) > 0:
            simple = set(kwargs) <= {"attn_mask", "dropout_p", "scale", "is_causal"}
            if simple and not kwargs.get("is_causal") and args[0].device.type == "cpu":
                return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def dropped(values: Tensor, p: float) -> Tensor:
    """Set a share p of the values to 0 and multiply the others by 1 / (1 - p)."""
    found: Tensor = _Dropout.apply(values, round(p * LEVELS))  # type: ignore[no-untyped-call]
    return found


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, levels: int) -> Tensor:
        size = values.numel()
        drawn = torch.empty((size + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
        kept = (drawn.view(torch.int16)[:size] >= levels - LEVELS // 2).view(values.shape)
        ctx.save_for_backward(kept)
        ctx.scale = LEVELS / (LEVELS - levels)
        # The kernel that torch has for the gradient is the same product.
        out: Tensor = torch.ops.aten.native_dropout_backward(values, kept, ctx.scale)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (kept,) = ctx.saved_tensors
        return torch.ops.aten.native_dropout_backward(gradient, kept, ctx.scale), None


def _layer_dropout(
    values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    return dropped(values, p) if training and 0 < p < 1 else F.dropout(values, p, training, inplace)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
) -> Tensor:
    scores = query * (query.shape[-1] ** -0.5 if scale is None else scale) @ key.mT
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = torch.where(attn_mask, scores, torch.finfo(scores.dtype).min)
    elif attn_mask is not None:
        scores = scores + attn_mask
    return dropped(scores.softmax(dim=-1).to(value.dtype), dropout_p) @ value
