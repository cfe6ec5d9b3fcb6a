"""Signals over units: what a student and a teacher with other pieces of one text can be matched by.

States, queries, keys and values are averaged over a unit's tokens. The mean over pairs of tokens of
q k is the product of the means, so that scores between units are the means of those between their
tokens. Where both cut alike a unit is a token and every loss is the ordinary one.
"""

from dataclasses import replace

import torch
from torch import Tensor

from tinybert.encoders.signals import QueryKeyValue, Signals
from tinybert.text.batching import TEACHERS, Batch
from tinybert.text.encoded import UNITS


def pooled(signals: Signals, units: Tensor, num_places: int) -> Signals:
    """Average a pass over units; the n-th stands at place n - 1, logits stay as they are.

    Args:
        signals: Of a pass over tokens.
        units: Each token's, from 1; 0 for none; shape (batch, tokens).
        num_places: At least the units of a row; places without a unit hold zeros.
    """
    numbers = torch.arange(1, num_places + 1, device=units.device)
    members = (units[:, None, :] == numbers[:, None]).float()
    weights = members / members.sum(dim=-1, keepdim=True).clamp(min=1)
    inside = units > 0

    def mean(states: Tensor) -> Tensor:  # (batch, tokens, width)
        # where, not a product: padding may hold inf or NaN.
        kept = torch.where(inside[..., None], states.float(), 0.0)
        return (weights @ kept).to(states.dtype)

    def per_head(states: Tensor) -> Tensor:  # (batch, heads, tokens, width)
        _, num_heads, _, width = states.shape
        joint = mean(states.transpose(1, 2).flatten(2))
        return torch.unflatten(joint, -1, (num_heads, width)).transpose(1, 2)

    return replace(
        signals,
        attention={
            layer: of._replace(query=per_head(of.query), key=per_head(of.key))
            for layer, of in signals.attention.items()
        },
        hidden={layer: mean(states) for layer, states in signals.hidden.items()},
        relations={layer: QueryKeyValue(*map(mean, of)) for layer, of in signals.relations.items()},
    )


def over_units(teacher: Signals, batch: Batch) -> Signals:
    """Average a teacher's pass over the batch's units, if its tokens are others."""
    if f"{TEACHERS}{UNITS}" not in batch:
        return teacher
    return pooled(teacher, batch[f"{TEACHERS}{UNITS}"], batch["input_ids"].shape[1])


def matched(student: Signals, batch: Batch) -> tuple[Signals, Tensor]:
    """Return what layer terms compare of a student's pass, and which places count.

    Returns:
        The pass, or its means over units; a mask of tokens or units, shape (batch, tokens).
    """
    mask = batch["attention_mask"].bool()
    if UNITS not in batch:
        return student, mask
    places = torch.arange(mask.shape[1], device=mask.device)
    counting = places < batch[UNITS].amax(dim=1, keepdim=True)
    return pooled(student, batch[UNITS], mask.shape[1]), counting


def matched_lengths(batch: Batch) -> Tensor:
    """Return at how many tokens, or units, layers are matched, shape (batch,)."""
    if UNITS in batch:
        return batch[UNITS].amax(dim=1).long()
    return batch["attention_mask"].sum(dim=1)
