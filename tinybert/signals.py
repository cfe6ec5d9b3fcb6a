"""What distillation reads of a model in a forward pass: queries, keys, hidden states, logits.

Queries and keys are reached through transformers' attention interface, so no model is rewritten
and both models run fused attention: a registered function records them and calls the stock SDPA.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tinybert.errors import InputError
from tinybert.losses import attention_scores

RECORDING_ATTENTION = "recording_sdpa"

Recorded = tuple[Tensor, Tensor, float]
_record: ContextVar[list[Recorded] | None] = ContextVar("_record", default=None)


@dataclass(frozen=True)
class Signals:
    """One model's forward pass.

    Attributes:
        attention: Per layer, query and key of shape (batch, heads, tokens, head width) and their
            scaling; empty unless recorded.
        hidden: Hidden states of shape (batch, tokens, width): the embedding output (layer 0),
            then each layer's output, so that `hidden[m]` is layer m.
        logits: Shape (batch, outputs), or None for a bare encoder.
    """

    attention: list[Recorded]
    hidden: tuple[Tensor, ...]
    logits: Tensor | None = None

    def scores(self, layer: int) -> Tensor:
        """Return a layer's attention scores before the softmax; layers count from 1."""
        return attention_scores(*self.attention[layer - 1])


def read_signals(model: PreTrainedModel, batch: dict[str, Tensor], *, attention: bool) -> Signals:
    """Run a model and return what distillation reads of it.

    Args:
        model: An encoder, or a sequence classifier; prepared by `record_attention` if its
            attention is asked for.
        batch: input_ids, attention_mask (boolean), token_type_ids; each (batch, tokens).
        attention: Whether to keep queries and keys.
    """
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    if "token_type_ids" in batch and takes_token_types(model):
        inputs["token_type_ids"] = batch["token_type_ids"]
    with _recording(attention) as recorded:
        outputs = model(**inputs, output_hidden_states=True)
    return Signals(recorded, tuple(outputs.hidden_states), getattr(outputs, "logits", None))


def takes_token_types(model: PreTrainedModel) -> bool:
    """Say whether the model tells the sentences of a pair apart by a learned embedding."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def record_attention(model: PreTrainedModel) -> None:
    """Switch a model to the recording attention function, and see that it is really used.

    Raises:
        InputError: The architecture does not go through the attention interface.
    """
    AttentionInterface.register(RECORDING_ATTENTION, _recording_attention)
    AttentionMaskInterface.register(RECORDING_ATTENTION, sdpa_mask)
    model.set_attn_implementation(RECORDING_ATTENTION)
    ids = torch.full((1, 2), model.config.pad_token_id or 0, device=model.device) + 1
    with torch.no_grad(), _recording(True) as recorded:
        model(input_ids=ids)
    num_layers = model.config.num_hidden_layers
    if len(recorded) != num_layers:
        raise InputError(
            f"{model.config.model_type}: {len(recorded)} of {num_layers} layers go through "
            "transformers' attention interface; choose a BERT or RoBERTa style encoder, or set "
            "loss.attn_weight to 0"
        )


@contextmanager
def _recording(enabled: bool) -> Iterator[list[Recorded]]:
    recorded: list[Recorded] = []
    token = _record.set(recorded if enabled else None)
    try:
        yield recorded
    finally:
        _record.reset(token)


def _recording_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    recorded = _record.get()
    if recorded is not None:
        scaling = kwargs.get("scaling")
        recorded.append((query, key, query.shape[-1] ** -0.5 if scaling is None else scaling))
    attended: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return attended
