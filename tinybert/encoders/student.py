"""Make a student: its configuration and its first weights."""

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from transformers import (
    AutoModel,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    MobileBertConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from tinybert.encoders.checkpoints import download, from_hub, load_encoder, load_tokenizer
from tinybert.encoders.positions import MOST_POSITIONS, positions
from tinybert.runtime.errors import InputError
from tinybert.settings.systems import Checkpoint, Initialisation, Shape, TeacherLayers
from tinybert.text.alignment import same_tokenizer

LAYERS = "encoder.layer."
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
DISTILBERT_NAMES = {  # BERT's names of a layer's parts -> DistilBERT's
    "encoder.layer.": "transformer.layer.",
    "attention.self.query": "attention.q_lin",
    "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin",
    "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm",
    "intermediate.dense": "ffn.lin1",
    "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}


def student_config(shape: Shape, teacher: Any) -> PreTrainedConfig:
    """Return the configuration of an encoder of this shape with the teacher's vocabulary.

    Args:
        shape: The student's size.
        teacher: The teacher's configuration.
    """
    common: dict[str, Any] = {
        "vocab_size": teacher.vocab_size,
        "max_position_embeddings": min(MOST_POSITIONS, positions(teacher) or MOST_POSITIONS),
        "pad_token_id": teacher.pad_token_id or 0,
    }
    if shape.architecture == "distilbert":
        return DistilBertConfig(
            **common,
            n_layers=shape.num_hidden_layers,
            dim=shape.hidden_size,
            hidden_dim=shape.intermediate_size,
            n_heads=shape.num_attention_heads,
            dropout=shape.dropout,
            attention_dropout=shape.dropout,
        )
    common |= {
        "type_vocab_size": 2,
        "num_hidden_layers": shape.num_hidden_layers,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_attention_heads": shape.num_attention_heads,
        "hidden_dropout_prob": shape.dropout,
        "attention_probs_dropout_prob": shape.dropout,
    }
    if shape.embedding_size is not None:
        return ElectraConfig(**common, embedding_size=shape.embedding_size)
    if shape.bottleneck is None:
        return BertConfig(**common)
    return MobileBertConfig(
        **common,
        embedding_size=shape.bottleneck.embedding_size,
        intra_bottleneck_size=shape.bottleneck.bottleneck_size,
        num_feedforward_networks=shape.bottleneck.num_feedforward_networks,
        # The tiny one's: queries and keys share no bottleneck, values pass through theirs.
        key_query_shared_bottleneck=False,
        use_bottleneck_attention=True,
    )


def make_student(
    shape: Shape, initialisation: Initialisation, teacher: PreTrainedModel, seed: int
) -> PreTrainedModel:
    """Make the student a general phase starts from.

    Raises:
        InputError: The initialisation does not fit the shape.
    """
    torch.manual_seed(seed)
    if isinstance(initialisation, Checkpoint):
        return from_checkpoint(initialisation.checkpoint, shape)
    student = cast(PreTrainedModel, AutoModel.from_config(student_config(shape, teacher.config)))
    if isinstance(initialisation, TeacherLayers):
        _copy_layers(student, teacher, initialisation.teacher_layers)
    return student


def student_tokenizer(initialisation: Initialisation, teachers: Any) -> Any:
    """Return the tokenizer beside the checkpoint that a student starts from, else the teacher's."""
    if not isinstance(initialisation, Checkpoint):
        return teachers
    folder = _folder_of(initialisation.checkpoint)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        return teachers
    own = load_tokenizer(folder)
    return teachers if same_tokenizer(own, teachers) else own


def named_tokenizer(name: str) -> Any:
    """Load the tokenizer of a folder or a hub id, whatever else is there.

    Raises:
        InputError: There is none.
    """
    return load_tokenizer(Path(name) if Path(name).is_dir() else download(name))


def _folder_of(checkpoint: str) -> Path:
    return Path(checkpoint) if Path(checkpoint).is_dir() else from_hub(checkpoint)


def from_checkpoint(name: str, shape: Shape) -> PreTrainedModel:
    """Load the student that a checkpoint is, a folder or a hub id.

    Raises:
        InputError: There is none, or it has another shape.
    """
    student = load_encoder(_folder_of(name))
    for key in ("num_hidden_layers", "hidden_size", "num_attention_heads"):
        found, expected = getattr(student.config, key), getattr(shape, key)
        if found != expected:
            raise InputError(
                f"initialisation.checkpoint: {name} has another shape, got {key} {found}; the "
                f"system's shape says {expected}"
            )
    return student


def _copy_layers(student: PreTrainedModel, teacher: PreTrainedModel, layers: list[int]) -> None:
    num_layers = teacher.config.num_hidden_layers
    if len(layers) != student.config.num_hidden_layers or not all(
        1 <= layer <= num_layers for layer in layers
    ):
        raise InputError(
            f"initialisation.teacher_layers: {student.config.num_hidden_layers} layers from 1 to "
            f"{num_layers} are needed, got {layers}; write one per student layer"
        )
    found = _state_of_layers(teacher.state_dict(), layers)
    if student.config.model_type == "distilbert":
        found = _in_distilberts_names(found)
    try:
        # The teacher may lack a pooler; the student's then stays random.
        student.load_state_dict({**student.state_dict(), **found})
    except RuntimeError as error:
        raise InputError(
            "initialisation.teacher_layers: needs a student of the teacher's widths and make, got "
            f"{student.config.model_type} {student.config.hidden_size} wide and "
            f"{teacher.config.model_type} {teacher.config.hidden_size} wide; use random"
        ) from error


def _state_of_layers(state: dict[str, Tensor], layers: list[int]) -> dict[str, Tensor]:
    """Return a teacher's embeddings, pooler and layers, those numbered as the student's."""
    found = {name: value for name, value in state.items() if not name.startswith(LAYERS)}
    for ours, theirs in enumerate(layers):
        old = f"{LAYERS}{theirs - 1}."
        named = {name: value for name, value in state.items() if name.startswith(old)}
        found |= {f"{LAYERS}{ours}.{name[len(old) :]}": value for name, value in named.items()}
    return found


def _in_distilberts_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what DistilBERT has not: token types and the pooler."""
    found = {}
    for name, value in state.items():
        if "token_type" in name or name.startswith("pooler"):
            continue
        for old, new in DISTILBERT_NAMES.items():
            name = name.replace(old, new)
        found[name] = value
    return found
