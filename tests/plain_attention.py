"""Equation 7 in its plain form, with both maps of scores: the reference for the form without."""

import torch
from torch import Tensor

from tinybert.losses import QueryKey


def attention_scores(attention: QueryKey) -> Tensor:
    """Return the scores before the softmax, shape (batch, heads, tokens, tokens)."""
    return attention.query @ attention.key.transpose(-1, -2) * attention.scaling


def plain_attention_loss(attention_S: QueryKey, attention_T: QueryKey, mask: Tensor) -> Tensor:
    """Return the mean squared difference over heads and pairs of real tokens."""
    difference = attention_scores(attention_S) - attention_scores(attention_T)
    pairs = (mask[:, None, :, None] & mask[:, None, None, :]).expand_as(difference)
    return difference[pairs].square().mean()


def random_attention(batch=2, heads=3, tokens=4, width=5, dtype=torch.float32) -> QueryKey:
    """Return queries and keys with gradients."""
    shape = (batch, heads, tokens, width)
    made = [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(2)]
    return QueryKey(*made, width**-0.5)
