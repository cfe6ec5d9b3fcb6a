"""Make classifiers for a task, and choose the best of a grid on its dev split."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.checkpoints import load_classifier
from tinybert.distillation import Distillation
from tinybert.encoded import EncodedRows
from tinybert.errors import InputError
from tinybert.evaluation import encode_split
from tinybert.listeners import Ended, announce
from tinybert.phase_trainer import Evaluate
from tinybert.prediction import predict_logits, scores
from tinybert.schedule import Run, Schedule, require_shareable
from tinybert.tasks import DEV, TaskInfo, read_split
from tinybert.training import train


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


class DevSplit(NamedTuple):
    """A task's dev split, encoded once for all models that are scored on it."""

    rows: EncodedRows
    gold: NDArray[Any]


def dev_split(task_folder: Path, tokenizer: Any, max_length: int) -> DevSplit:
    """Read and encode the dev split of a prepared task."""
    frame = read_split(task_folder, DEV)
    return DevSplit(encode_split(frame, tokenizer, max_length), frame["label"].to_numpy())


def dev_scores(
    model: PreTrainedModel, dev: DevSplit, info: TaskInfo, dtype: torch.dtype | None
) -> Evaluate:
    """Return a function that scores the model, as it is then, on the dev split."""
    return lambda: scores(predict_logits(model, dev.rows, dtype), dev.gold, info)


class Point(NamedTuple):
    """One point of a grid.

    Attributes:
        name: Tells it from the others.
        schedule: Its length and speed.
        make_model: Makes a fresh model to train.
    """

    name: str
    schedule: Schedule
    make_model: Callable[[], Distillation]


def schedule_name(schedule: Schedule) -> str:
    """Name a point of a grid by its schedule."""
    return f"batch_{schedule.batch_size}_rate_{schedule.learning_rate:g}"


def best_of_grid(
    points: Sequence[Point],
    rows: EncodedRows,
    evaluate_model: Callable[[PreTrainedModel], Evaluate],
    run: Run,
    num_evaluated: int = 0,
) -> tuple[PreTrainedModel, pd.DataFrame, str]:
    """Train once per point; return the student, history and choice with the best dev score.

    Args:
        points: What to try.
        rows: Training rows.
        evaluate_model: Gives the dev scoring function of a student.
        run: Where and how; each point has checkpoints of its own.
        num_evaluated: Rows that the scoring function scores.

    Returns:
        The best student, its history, and in words the choice with its dev score.
    """
    for point in points:
        require_shareable(point.schedule, run)

    def trained(number: int) -> tuple[PreTrainedModel, pd.DataFrame, float]:
        point = points[number]
        model = point.make_model()
        pad = model.student.config.pad_token_id or 0
        own = replace(
            run,
            checkpoints=run.checkpoints / str(number),
            training_id=run.training_id or run.checkpoints.name,
            point=point.name if len(points) > 1 else "",
        )
        evaluate = evaluate_model(model.student)
        history, score = train(model, rows, pad, point.schedule, own, evaluate, num_evaluated)
        return model.student, history, score

    best, best_score = 0, math.nan
    for number, point in enumerate(points):
        student, history, score = trained(number)
        if len(points) > 1:
            tried = f"{run.phase}: {point.name.replace('_', ' ')}: dev {score:.4f}"
            print(tried, flush=True)
        if math.isnan(best_score) or score > best_score:
            best, best_score = number, score
    if best != len(points) - 1:
        student, history, _ = trained(best)  # not done again: read from its checkpoints
    if len(points) > 1:
        announce(Ended("", history))
    return student.cpu(), history, f"{points[best].name.replace('_', ' ')}, dev {best_score:.3f}"
