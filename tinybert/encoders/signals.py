"""What distillation reads of a model in a forward pass: queries, keys, values, states, logits.

Queries, keys and values are reached through transformers' attention interface, so no model is
rewritten and both models run fused attention: a registered function records them and calls the
stock SDPA. Where a model has an attention of its own, hooks read them off its projections.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

from tinybert.encoders.layers import attention_maps, layer_list
from tinybert.runtime import precision
from tinybert.runtime.errors import InputError

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


class QueryKeyValue(NamedTuple):
    """What a layer's attention takes, heads joined; each of shape (B, L, width).

    Where positions enter by rotation, queries and keys are rotated.
    """

    query: Tensor
    key: Tensor
    value: Tensor


class _Recording:
    """What the layers asked for took; layers call in their order, and count from 1."""

    def __init__(self, attention: Collection[int], relations: Collection[int]) -> None:
        self.attention, self.relations, self.num_calls = attention, relations, 0
        self.found: dict[int, QueryKey] = {}
        self.joined: dict[int, QueryKeyValue] = {}
        self.maps: dict[tuple[int, str], Tensor] = {}  # by layer and part, of hooks

    def keep(self, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> None:
        self.num_calls += 1
        groups = query.shape[1] // key.shape[1]  # of heads that share a key and a value
        if groups > 1:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, value))
        if self.num_calls in self.attention:
            self.found[self.num_calls] = QueryKey(query, key, scaling)
        if self.num_calls in self.relations:
            parts = (x.transpose(1, 2).flatten(2) for x in (query, key, value))
            self.joined[self.num_calls] = QueryKeyValue(*parts)

    def found_relations(self) -> dict[int, QueryKeyValue]:
        """Return what the attention interface, or hooks on projections, gave."""
        layers = {layer for layer, _ in self.maps}
        read = {n: [self.maps[n, part] for part in QueryKeyValue._fields] for n in layers}
        return {n: QueryKeyValue(*parts) for n, parts in read.items()} | self.joined


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
        relations: Queries, keys and values by layer; of the layers that were asked for.
    """

    attention: Mapping[int, QueryKey]
    hidden: Mapping[int, Tensor]
    logits: Tensor | None = None
    pooled: Tensor | None = None
    relations: Mapping[int, QueryKeyValue] = field(default_factory=dict)


def read_signals(
    model: PreTrainedModel,
    batch: dict[str, Tensor],
    *,
    attention: Collection[int] = (),
    hidden: bool = False,
    relations: Collection[int] = (),
) -> Signals:
    """Run a model and return what distillation reads of it.

    Args:
        model: An encoder, with a task's head or without; prepared by `record_attention` or
            `record_relations` if those are asked for.
        batch: input_ids, attention_mask (boolean), token_type_ids; each (batch, tokens).
        attention: The layers, from 1, whose queries and keys to keep.
        hidden: Whether to keep the layers' outputs.
        relations: The layers, from 1, whose queries, keys and values to keep.
    """
    # Numbers, since architectures with an attention of their own subtract the mask.
    inputs = {key: batch[key].long() for key in ("input_ids", "attention_mask")}
    if "token_type_ids" in batch and takes_token_types(model):
        inputs["token_type_ids"] = batch["token_type_ids"]
    with _recording(attention, relations) as recorded:
        outputs = model(**inputs, output_hidden_states=hidden)
    states = dict(enumerate(outputs.hidden_states)) if hidden else {}
    logits, pooled = (getattr(outputs, name, None) for name in ("logits", "pooler_output"))
    if logits is None and "start_logits" in outputs:
        logits = torch.stack([outputs.start_logits, outputs.end_logits], dim=-1)
    return Signals(recorded.found, states, logits, pooled, recorded.found_relations())


def takes_token_types(model: PreTrainedModel) -> bool:
    """Say whether the model tells the sentences of a pair apart by a learned embedding."""
    return int(getattr(model.config, "type_vocab_size", 0) or 0) > 1


def record_attention(model: PreTrainedModel) -> None:
    """Switch a model to the recording attention function, and see that it is really used.

    Raises:
        InputError: The architecture does not go through the attention interface.
    """
    num_calls, num_layers = _interface_calls(model), model.config.num_hidden_layers
    if num_calls != num_layers:
        raise InputError(
            f"{model.config.model_type}: {num_calls} of {num_layers} layers go through "
            "transformers' attention interface; match relations instead of attention, or set "
            "loss.attn_weight to 0"
        )


def ask_for_no_wait(model: PreTrainedModel) -> None:
    """Keep a model with fused attention from reading, in each pass, whether its mask is full."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        _use_recording(model)


def _use_recording(model: PreTrainedModel) -> None:
    AttentionInterface.register(RECORDING_ATTENTION, _recording_attention)
    AttentionMaskInterface.register(RECORDING_ATTENTION, _attention_bias)
    model.set_attn_implementation(RECORDING_ATTENTION)


def record_relations(model: PreTrainedModel) -> int:
    """Prepare for queries, keys and values to be asked for; return how wide they are.

    Raises:
        InputError: They can be read neither at the attention interface nor at projections.
    """
    num_layers = model.config.num_hidden_layers
    if model not in _hooked and _interface_calls(model) != num_layers:
        _hook(model)
    ids = _few_tokens(model)
    with torch.no_grad():
        batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        found = read_signals(model, batch, relations=[num_layers]).relations.get(num_layers)
    if found is None or any(x.shape[:2] != ids.shape for x in found):
        raise _without_relations(model)
    return found.query.shape[2]


def matches_scores(model: PreTrainedModel) -> bool:
    """Return whether a layer's scores are its queries times its keys, and nothing else.

    They are not where positions enter by rotation, or by a bias on the scores, or where the
    architecture has an attention of its own, which nothing reads.
    """
    if any("rotary" in type(module).__name__.lower() for module in model.modules()):
        return False
    before = model.config._attn_implementation
    num_layers: int = model.config.num_hidden_layers
    found = _interface_calls(model) == num_layers
    model.set_attn_implementation(before)
    return found


_hooked: WeakSet[PreTrainedModel] = WeakSet()


def _hook(model: PreTrainedModel) -> None:
    """Read queries, keys and values off the projections of every layer, from now on."""
    maps = attention_maps(model)
    if maps is None:
        raise _without_relations(model)
    for layer, parts in enumerate(maps, start=1):
        for part, module in zip(QueryKeyValue._fields, parts, strict=True):
            module.register_forward_hook(partial(_keep_map, layer, part))
    _hooked.add(model)


def _without_relations(model: PreTrainedModel) -> InputError:
    return InputError(
        f"{model.config.model_type}: queries, keys and values of its layers cannot be read, so "
        "neither attention nor relations can be matched; write terms: [hidden, embedding], or "
        "take another teacher"
    )


def _interface_calls(model: PreTrainedModel) -> int:
    """Switch a model to the recording attention function; return how often a pass calls it."""
    if not model._can_set_attn_implementation():  # the architecture knows of no interface
        return 0
    before = model.config._attn_implementation
    try:
        _use_recording(model)
    except ValueError:  # or has no attention at all (FNet)
        return 0
    every = range(1, model.config.num_hidden_layers + 1)
    with torch.no_grad(), _recording(every) as recorded:
        model(input_ids=_few_tokens(model))
    if recorded.num_calls != len(every):
        model.set_attn_implementation(before)
    return recorded.num_calls


def _few_tokens(model: PreTrainedModel) -> Tensor:
    real = ((model.config.pad_token_id or 0) + 1) % model.config.vocab_size
    return torch.full((1, 2), real, device=model.device)


def compile_layers(model: PreTrainedModel) -> None:
    """Let torch.compile make kernels for each layer's passes, whatever the batch's shape.

    Raises:
        InputError: The model has no list of layers to be found.
    """
    layers = layer_list(model)
    if layers is None:
        raise InputError(
            f"torch_compile: no list of {model.config.num_hidden_layers} layers found, got "
            f"{model.config.model_type}; set torch_compile to false"
        )
    for layer in layers:
        layer.compile(dynamic=True)


@contextmanager
def _recording(attention: Collection[int], relations: Collection[int] = ()) -> Iterator[_Recording]:
    recording = _Recording(attention, relations)
    token = _record.set(recording if attention or relations else None)
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


def _keep(query: Tensor, key: Tensor, value: Tensor, scaling: float | None) -> None:
    recording = _record.get()
    if recording is not None:
        recording.keep(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _keep_map(layer: int, part: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
    """Keep what a projection makes of the tokens; DeBERTa's then maps relative positions too."""
    recording = _record.get()
    if recording is not None and layer in recording.relations:
        # A convolution's output (SqueezeBERT) has its tokens last.
        output = output.mT if isinstance(module, nn.Conv1d) else output
        recording.maps.setdefault((layer, part), output)


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
    keep(query, key, value, kwargs.get("scaling"))
    attended: tuple[Tensor, Tensor | None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **kwargs
    )
    return attended
