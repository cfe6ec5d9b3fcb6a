"""Make a classifier for a task, or load one whose outputs are the task's labels."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from tinybert.core.errors import InputError
from tinybert.encoders.checkpoints import load_classifier
from tinybert.tasks.task import TaskInfo


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
    kind = "regression" if info.kind == "regression" else "single_label_classification"
    return load_classifier(encoder, new_head=True, problem_type=kind, **names)


def finetuned_classifier(folder: Path, info: TaskInfo) -> PreTrainedModel:
    """Load a classifier someone else fine-tuned; its outputs are put into the task's label order.

    Label names decide, not numbers: checkpoints of one task differ in their order.

    Raises:
        InputError: Its label names are not the task's.
    """
    model = load_classifier(folder)
    names = label_names(model)
    if info.kind == "regression":
        if len(names) != 1:
            raise InputError(
                f"{folder}: a regression teacher has one output, got {len(names)}; choose one "
                f"fine-tuned on {info.name}"
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
    model = load_classifier(folder)
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
    head: Any = model.classifier
    linear = getattr(head, "out_proj", head)  # RoBERTa's head ends in out_proj
    with torch.no_grad():
        linear.weight.copy_(linear.weight[order].clone())
        linear.bias.copy_(linear.bias[order].clone())
