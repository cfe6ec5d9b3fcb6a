"""What distillation reads of a model in a forward pass: queries, keys, hidden states, logits.

Queries and keys are reached through transformers' attention interface, so no model is rewritten
and both models run fused attention: a registered function records them and calls the stock SDPA.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

from tinybert.core import precision
from tinybert.core.errors import InputError

RECORDING_ATTENTION = "recording_sdpa"


class QueryKey(NamedTuple):
    """What a layer's attention scores are made of: query @ key^T * scaling (Eq. 1).

    Attributes:
        query: Queries, shape (B, H, L, D), D wide per head.
        key: Keys, same shape.
        scaling: 1 / sqrt(D) for standard attention.
    """

    query: Tensor
    key: Tensor
    scaling: float


class _Recording:
    """Queries and keys of the layers asked for; layers call in their order, and count from 1."""

    def __init__(self, layers: Collection[int]) -> None:
        self.layers, self.num_calls = layers, 0
        self.found: dict[int, QueryKey] = {}

    def keep(self, query: Tensor, key: Tensor, scaling: float) -> None:
        self.num_calls += 1
        if self.num_calls in self.layers:
            self.found[self.num_calls] = QueryKey(query, key, scaling)


_record: ContextVar[_Recording | None] = ContextVar("_record", default=None)


@dataclass(frozen=True)
class Signals:
    """One model's forward pass.

    Attributes:
        attention: Queries and keys by layer, counted from 1; of the layers that were asked for.
        hidden: Hidden states of shape (batch, tokens, width): the embedding output (layer 0),
            then each layer's output, so that `hidden[m]` is layer m. Empty unless asked for.
        logits: Shape (batch, outputs); (batch, tokens, outputs) where each token has some, of
            questions those of an answer's first and last token; None for a bare encoder.
        pooled: A bare encoder's pooled output, shape (batch, width), or None without a pooler.
    """

    attention: Mapping[int, QueryKey]
    hidden: Mapping[int, Tensor]
    logits: Tensor | None = None
    pooled: Tensor | None = None


def read_signals(
    model: PreTrainedModel,
    batch: dict[str, Tensor],
    *,
    attention: Collection[int] = (),
    hidden: bool = False,
) -> Signals:
    """Run a model and return what distillation reads of it.

    Args:
        model: An encoder, with a task's head or without; prepared by `record_attention` if its
            attention is asked for.
        batch: input_ids, attention_mask (boolean), token_type_ids; each (batch, tokens).
        attention: The layers, from 1, whose queries and keys to keep.
        hidden: Whether to keep the layers' outputs.
    """
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    if "token_type_ids" in batch and takes_token_types(model):
        inputs["token_type_ids"] = batch["token_type_ids"]
    with _recording(attention) as recorded:
        outputs = model(**inputs, output_hidden_states=hidden)
    states = dict(enumerate(outputs.hidden_states)) if hidden else {}
    logits, pooled = (getattr(outputs, name, None) for name in ("logits", "pooler_output"))
    if logits is None and "start_logits" in outputs:
        logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    return Signals(recorded.found, states, logits, pooled)


def takes_token_types(model: PreTrainedModel) -> bool:
    """Say whether the model tells the sentences of a pair apart by a learned embedding."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def record_attention(model: PreTrainedModel) -> None:
    """Switch a model to the recording attention function, and see that it is really used.

    Raises:
        InputError: The architecture does not go through the attention interface.
    """
    _use_recording(model)
    ids = torch.full((1, 2), model.config.pad_token_id or 0, device=model.device) + 1
    num_layers = model.config.num_hidden_layers
    with torch.no_grad(), _recording(range(1, num_layers + 1)) as recorded:
        model(input_ids=ids)
    if recorded.num_calls != num_layers:
        raise InputError(
            f"{model.config.model_type}: {recorded.num_calls} of {num_layers} layers go through "
            "transformers' attention interface; choose a BERT or RoBERTa style encoder, or set "
            "loss.attn_weight to 0"
        )


def ask_for_no_wait(model: PreTrainedModel) -> None:
    """Keep a model with fused attention from reading, in each pass, whether its mask is full."""
    if model.config._attn_implementation == "sdpa":
        _use_recording(model)


def _use_recording(model: PreTrainedModel) -> None:
    AttentionInterface.register(RECORDING_ATTENTION, _recording_attention)
    AttentionMaskInterface.register(RECORDING_ATTENTION, _attention_bias)
    model.set_attn_implementation(RECORDING_ATTENTION)


def compile_layers(model: PreTrainedModel) -> None:
    """Let torch.compile make kernels for each layer's passes, whatever the batch's shape.

    Raises:
        InputError: The model has no list of layers to be found.
    """
    num_layers = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == num_layers:
            for layer in module:
                layer.compile(dynamic=True)
            return
    raise InputError(
        f"torch_compile: no list of {num_layers} layers found, got {model.config.model_type}; "
        "set torch_compile to false"
    )


@contextmanager
def _recording(layers: Collection[int]) -> Iterator[_Recording]:
    recording = _Recording(layers)
    token = _record.set(recording if layers else None)
    try:
        yield recording
    finally:
        _record.reset(token)


def _attention_bias(
    attention_mask: Tensor | None = None,
    mask_function: Any = None,
    dtype: torch.dtype = torch.float32,
    use_vmap: bool = False,
    **kwargs: Any,
) -> Tensor | None:
    """Make once a pass what each layer adds to its scores: 0, or -inf for a key that is padding.

    transformers' own gives a boolean mask, which SDPA turns into this one in each layer, and looks
    whether there is padding at all, for which a GPU has to be waited for.

    Returns:
        Shape (batch, 1, 1, keys); None where nothing is padding, if that can be read at once.
    """
    if attention_mask is None or use_vmap or mask_function is not bidirectional_mask_function:
        kwargs |= {"attention_mask": attention_mask, "mask_function": mask_function}
        return cast(Tensor | None, sdpa_mask(dtype=dtype, use_vmap=use_vmap, **kwargs))
    device = attention_mask.device
    if precision.reads_at_once(device) and bool(attention_mask.all()):
        return None
    if torch.is_autocast_enabled(device.type):
        dtype = torch.get_autocast_dtype(device.type)
    zeros = torch.zeros(attention_mask.shape, dtype=dtype, device=device)
    return zeros.masked_fill_(~attention_mask, -torch.inf)[:, None, None, :]


def _keep(query: Tensor, key: Tensor, scaling: float | None) -> None:
    recording = _record.get()
    if recording is not None:
        recording.keep(query, key, query.shape[-1] ** -0.5 if scaling is None else scaling)


_keep_between_compiled = torch.compiler.disable(_keep)  # which costs even where nothing is compiled


def _recording_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    keep = _keep_between_compiled if torch.compiler.is_compiling() else _keep
    keep(query, key, kwargs.get("scaling"))
    attended: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return attended
