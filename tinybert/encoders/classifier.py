"""Put a task's head on an encoder, or load one whose outputs are the task's labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tinybert.encoders.checkpoints import load_classifier, load_config
from tinybert.encoders.layers import last_layer
from tinybert.runtime.errors import InputError
from tinybert.settings.choices import Kind
from tinybert.settings.heads import head_of_kind, kind_of_head
from tinybert.tasks.task import TaskInfo

# What transformers calls the kinds that label whole rows.
RAREST = 1e-4  # share of rows, for a label of which train has none, or all
PROBLEM_TYPES: dict[Kind, str] = {
    "classification": "single_label_classification",
    "regression": "regression",
    "multilabel": "multi_label_classification",
}


def require_head(folder: Path, info: TaskInfo) -> None:
    """Check that a checkpoint was saved with the head of a task's kind.

    Raises:
        InputError: It has another kind of head.
    """
    architectures = load_config(folder).architectures
    wanted, found = (head_of_kind(k) for k in (info.kind, kind_of_head(architectures)))
    if wanted != found and any("For" in name for name in architectures or ()):
        raise InputError(
            f"{folder}: the head must be one for {wanted}, since {info.name} is of kind "
            f"{info.kind}, got {', '.join(architectures or ())}; take a checkpoint fine-tuned for "
            "such a task"
        )


def new_classifier(encoder: Path, info: TaskInfo, seed: int) -> PreTrainedModel:
    """Put a new head on an encoder; label names go into its configuration.

    Args:
        encoder: The encoder's folder.
        info: The task: its labels, or one score.
        seed: Of the head's weights.
    """
    torch.manual_seed(seed)
    names: dict[str, Any] = {"num_labels": info.num_outputs}
    if info.labels:
        names["id2label"] = dict(enumerate(info.labels))
        names["label2id"] = {label: number for number, label in enumerate(info.labels)}
    if info.kind in PROBLEM_TYPES:
        names["problem_type"] = PROBLEM_TYPES[info.kind]
    model = load_classifier(encoder, new_head=True, kind=info.kind, **names)
    if info.shares and not bool(last_layer(model).bias.any()):  # no optimizer leaves it at 0
        _begin_with_shares(model, info.shares)
    return model


def _begin_with_shares(model: PreTrainedModel, shares: Sequence[float]) -> None:
    """Let a new head of several labels begin with the probability that each label has in train.

    Labels are rare, and from one half each the first hundreds of steps teach the encoder nothing
    but that, at the cost of what it tells apart (Lin et al. 2017, 1708.02002, section 4.1).
    """
    few = torch.tensor(shares, dtype=torch.float64).clamp(RAREST, 1 - RAREST)
    with torch.no_grad():
        last_layer(model).bias.copy_(few.logit())


def finetuned_classifier(folder: Path, info: TaskInfo) -> PreTrainedModel:
    """Load a classifier someone else fine-tuned; its outputs are put into the task's label order.

    Label names decide, not numbers: checkpoints of one task differ in their order.

    Raises:
        InputError: Its label names are not the task's.
    """
    require_head(folder, info)
    model = load_classifier(folder, kind=info.kind)
    names = label_names(model)
    if not info.labels:
        if len(names) != info.num_outputs:
            raise InputError(
                f"{folder}: a teacher of kind {info.kind} has outputs: {info.num_outputs}, got "
                f"{len(names)}; choose one fine-tuned on {info.name}"
            )
        return model
    plain = [name.casefold() for name in names]
    wanted = [label.casefold() for label in info.labels]
    if sorted(plain) != sorted(wanted):
        raise InputError(
            f"{folder}: the teacher's labels are not the task's, got {', '.join(names)}; expected "
            f"{', '.join(info.labels)} in any order: correct id2label in its config.json"
        )
    order = [plain.index(label) for label in wanted]
    _reorder_outputs(model, order)
    model.config.id2label = dict(enumerate(info.labels))
    model.config.label2id = {label: number for number, label in enumerate(info.labels)}
    return model


def task_classifier(folder: Path, info: TaskInfo) -> PreTrainedModel:
    """Load the teacher that `finetune_teacher` made.

    Raises:
        InputError: Its label names are not the task's, in the task's order.
    """
    require_head(folder, info)
    model = load_classifier(folder, kind=info.kind)
    names = label_names(model)
    if info.labels and names != info.labels:
        raise InputError(
            f"{folder}: the teacher's labels are not the task's, got {', '.join(names)}; expected "
            f"{', '.join(info.labels)}: run `dvc repro finetune_teacher@{info.name}`"
        )
    return model


def label_names(model: PreTrainedModel) -> list[str]:
    """Return the names of a classifier's outputs in their order."""
    names: Any = model.config.id2label
    return [str(names[number]) for number in range(len(names))]


def _reorder_outputs(model: PreTrainedModel, order: list[int]) -> None:
    linear = last_layer(model)
    with torch.no_grad():
        linear.weight.copy_(linear.weight[order].clone())
        linear.bias.copy_(linear.bias[order].clone())
