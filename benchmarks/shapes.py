"""Models of the shapes that are measured, with random weights: speed does not depend on them."""

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
)

from tinybert.distillation.distillation import Distillation, Weights
from tinybert.distillation.teacher import TeacherSignals

SHAPES = {
    "bert": (
        {"num_hidden_layers": 12, "hidden_size": 768, "intermediate_size": 3072},
        {"num_hidden_layers": 4, "hidden_size": 312, "intermediate_size": 1200},
    ),
    "minilm": (
        {"num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536},
        {"num_hidden_layers": 3, "hidden_size": 192, "intermediate_size": 768},
    ),
    # BERT-base's and TinyBERT4's layers with hardly anything to compute: what calling them takes.
    "thin": (
        {"num_hidden_layers": 12, "hidden_size": 24, "intermediate_size": 48},
        {"num_hidden_layers": 4, "hidden_size": 12, "intermediate_size": 24},
    ),
}
LAYER_WEIGHTS: Weights = {"attention": 1.0, "hidden": 1.0, "embedding": 1.0}


def configs(shapes: str) -> tuple[BertConfig, BertConfig]:
    """Return the teacher's and the student's configuration: 12 heads, BERT's vocabulary."""
    teacher, student = SHAPES[shapes]
    return _config(teacher), _config(student)


def _config(sizes: dict[str, Any]) -> BertConfig:
    return BertConfig(vocab_size=30522, num_attention_heads=12, **sizes)


def encoder(config: BertConfig) -> BertModel:
    """Make an encoder."""
    torch.manual_seed(0)
    return BertModel(config)


def classifier(config: BertConfig) -> BertForSequenceClassification:
    """Make a classifier of two classes."""
    torch.manual_seed(0)
    return BertForSequenceClassification(config)


def masked_lm(config: BertConfig) -> BertForMaskedLM:
    """Make a masked-word model."""
    torch.manual_seed(0)
    return BertForMaskedLM(config)


def uniform_layers(shapes: str) -> list[int]:
    """Return g(m) = m N / M."""
    teacher, student = configs(shapes)
    step = teacher.num_hidden_layers // student.num_hidden_layers
    return [step * layer for layer in range(1, student.num_hidden_layers + 1)]


def layer_student(shapes: str, teacher: TeacherSignals) -> Distillation:
    """Make a student's encoder that is to match a teacher's layers."""
    student = encoder(configs(shapes)[1])
    return Distillation(student, LAYER_WEIGHTS, teacher, uniform_layers(shapes))
