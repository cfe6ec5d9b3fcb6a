"""Make a student: its configuration and its first weights."""

from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from transformers import BertConfig, BertModel, PreTrainedModel

from tinybert.checkpoints import from_hub, load_encoder
from tinybert.errors import InputError
from tinybert.settings import Settings


class Shape(Settings):
    """A student's size (TinyBERT4: 4 layers, 312 wide, 1200 feed-forward, 12 heads)."""

    num_hidden_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "Shape":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_attention_heads, got {self.hidden_size} "
                f"and {self.num_attention_heads}; change one"
            )
        return self


class TeacherLayers(Settings):
    """Start from some of the teacher's layers, counted from 1, and its embeddings."""

    teacher_layers: list[int] = Field(min_length=1)


class Checkpoint(Settings):
    """Start from a checkpoint: a folder, or a hub id."""

    checkpoint: str


Initialisation = Literal["random"] | TeacherLayers | Checkpoint


def student_config(shape: Shape, teacher: Any) -> BertConfig:
    """Return the configuration of a BERT of this shape with the teacher's vocabulary.

    Args:
        shape: The student's size.
        teacher: The teacher's configuration.
    """
    return BertConfig(
        vocab_size=teacher.vocab_size,
        max_position_embeddings=min(512, teacher.max_position_embeddings),
        type_vocab_size=2,
        pad_token_id=teacher.pad_token_id or 0,
        num_hidden_layers=shape.num_hidden_layers,
        hidden_size=shape.hidden_size,
        intermediate_size=shape.intermediate_size,
        num_attention_heads=shape.num_attention_heads,
        hidden_dropout_prob=shape.dropout,
        attention_probs_dropout_prob=shape.dropout,
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
        return _from_checkpoint(initialisation.checkpoint, shape)
    student = BertModel(student_config(shape, teacher.config))
    if isinstance(initialisation, TeacherLayers):
        _copy_layers(student, teacher, initialisation.teacher_layers)
    return student


def _from_checkpoint(name: str, shape: Shape) -> PreTrainedModel:
    folder = Path(name)
    student = load_encoder(folder if folder.is_dir() else from_hub(name))
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
    parts: list[tuple[nn.Module, nn.Module]] = [(student.embeddings, teacher.embeddings)]
    parts += [
        (student.encoder.layer[index], teacher.encoder.layer[layer - 1])
        for index, layer in enumerate(layers)
    ]
    if student.pooler is not None and teacher.pooler is not None:
        parts.append((student.pooler, teacher.pooler))
    try:
        for ours, theirs in parts:
            ours.load_state_dict(theirs.state_dict())
    except RuntimeError as error:
        raise InputError(
            "initialisation.teacher_layers: needs a student as wide as the teacher, got "
            f"{student.config.hidden_size} and {teacher.config.hidden_size}; use random"
        ) from error
