"""A BERT-like model's linear maps and norms by their part in the layer, whatever their names."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.encoders.student import DISTILBERT_NAMES
from tinybert.runtime.errors import InputError


class LayerParts(NamedTuple):
    """A layer: x = norm(s + W_o attention), then norm(x + W_2 act(W_1 x)).

    Each is a Linear, or a LayerNorm; or the name of one.
    """

    query: Any
    key: Any
    value: Any
    attention_output: Any
    attention_norm: Any
    feedforward_in: Any
    feedforward_out: Any
    output_norm: Any


BERT_NAMES = LayerParts(  # RoBERTa's and others' too
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attention_output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    feedforward_in="intermediate.dense",
    feedforward_out="output.dense",
    output_norm="output.LayerNorm",
)
STACKS = (
    ("encoder.layer", BERT_NAMES),
    ("transformer.layer", LayerParts(*map(DISTILBERT_NAMES.__getitem__, BERT_NAMES))),
    (
        "encoder.layer",  # MPNet
        BERT_NAMES._replace(
            query="attention.attn.q",
            key="attention.attn.k",
            value="attention.attn.v",
            attention_output="attention.attn.o",
            attention_norm="attention.LayerNorm",
        ),
    ),
    (
        "encoder.layer",  # DeBERTa-v2 and v3
        BERT_NAMES._replace(
            query="attention.self.query_proj",
            key="attention.self.key_proj",
            value="attention.self.value_proj",
        ),
    ),
)
HEAD_LAYERS = ("pooler.dense", "classifier.dense", "pre_classifier")


def layers_of(model: PreTrainedModel) -> list[LayerParts]:
    """Return the parts of each layer.

    Raises:
        InputError: The model is not built like BERT.
    """
    for stack, names in STACKS:
        try:
            layers: Any = model.base_model.get_submodule(stack)
            found = [LayerParts(*map(layer.get_submodule, names)) for layer in layers]
        except AttributeError:
            continue
        if all(_maps_tokens(each.query, model.config) for each in found):
            return found
    raise InputError(
        "closed form: the teacher must be built like BERT (docs/paper.md lists which are), got "
        f"{model.config.model_type}; take such a teacher, or write start: general and "
        "initialisation: random"
    )


def _maps_tokens(query: nn.Module, config: Any) -> bool:
    """Return whether a layer's queries are a plain map of its tokens, as wide as they are."""
    # MobileBERT's and ConvBERT's are narrower, I-BERT's give a scale too, Longformer's read
    # windows, whose tokens come first.
    plain = isinstance(query, nn.Linear) and not hasattr(config, "attention_window")
    return plain and query.out_features == config.hidden_size


def head_layer(model: PreTrainedModel) -> nn.Module:
    """Return the classifier's dense layer before its activation: the pooler of BERT."""
    for holder in (model.base_model, model):
        for name in HEAD_LAYERS:
            try:
                found: nn.Module = holder.get_submodule(name)
                return found
            except AttributeError:
                continue
    raise InputError(
        f"closed form: the teacher must have a classifier, got {type(model).__name__}; take one "
        "that is fine-tuned for the task"
    )


class EmbeddingTables(NamedTuple):
    """What a model adds up for a token before its LayerNorm.

    Attributes:
        word: Shape (words, E).
        position: Shape (positions, E), the first one that of a text's first token; None where
            positions enter in the layers alone.
        token_type: Shape (types, E), or None.
        gain: Of the LayerNorm, shape (E,).
        projection: To the layers' width, shape (D, E), or None where E is D.
    """

    word: Tensor
    position: Tensor | None
    token_type: Tensor | None
    gain: Tensor
    projection: Tensor | None


def embedding_tables(model: PreTrainedModel) -> EmbeddingTables:
    """Read the embeddings of a model that `layers_of` knows."""
    base: Any = model.base_model
    tables = base.embeddings
    # DeBERTa's map to the layers' width comes before its LayerNorm, ELECTRA's after it.
    widened = getattr(tables, "embed_proj", None) or nn.Identity()
    places, types = (
        getattr(tables, name, None) for name in ("position_embeddings", "token_type_embeddings")
    )
    projection = getattr(base, "embeddings_project", None)
    if projection is None:  # RemBERT's
        projection = getattr(getattr(base, "encoder", None), "embedding_hidden_mapping_in", None)
    return EmbeddingTables(
        widened(tables.word_embeddings.weight),
        None if places is None else widened(places.weight)[_first_position(places, model.config) :],
        None if types is None else widened(types.weight) + _of_task(tables),
        tables.LayerNorm.weight,
        None if projection is None else projection.weight,
    )


def _first_position(places: Any, config: Any) -> int:
    """Return the row of a table of positions that a text's first token has."""
    if places.padding_idx is not None:  # RoBERTa counts from the padding token's number on
        return int(places.padding_idx) + 1
    return len(places.weight) - int(config.max_position_embeddings)  # Nystromformer's: 2


def _of_task(tables: Any) -> Any:
    """Return what is added to every token whatever it is: ERNIE's row of task 0."""
    tasks = getattr(tables, "task_type_embeddings", None)
    return 0.0 if tasks is None else tasks.weight[0]


@contextmanager
def recorded(modules: dict[str, nn.Module], model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Keep what modules put out in the last forward pass of a model, by name.

    Of a module that runs twice in a pass the first output is kept: DeBERTa's maps of tokens map
    relative positions later.
    """
    found: dict[str, Tensor] = {}

    def clear(module: nn.Module, inputs: Any) -> None:
        found.clear()

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found.setdefault(name, output.detach())

        return hook

    handles: list[Any] = [model.register_forward_pre_hook(clear)]
    handles += [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
