"""Choose the best of a grid of trainings on a task's dev split."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from transformers import PreTrainedModel

from tinybert.distillation.distillation import Distillation
from tinybert.evaluation.decision import DECIDED
from tinybert.evaluation.prediction import TaskSplit, predict_logits, read_task_split
from tinybert.runtime.precision import computing_device
from tinybert.settings.schedule import Schedule
from tinybert.tasks.task import DEV, Encoding, TaskInfo
from tinybert.text.encoded import EncodedRows
from tinybert.training.listeners import Ended, announce
from tinybert.training.phase_trainer import Evaluate
from tinybert.training.run import Run, require_shareable
from tinybert.training.training import train


def dev_split(task_folder: Path, tokenizer: Any, encoding: Encoding, info: TaskInfo) -> TaskSplit:
    """Read and encode the dev split of a prepared task, once for all models that are scored."""
    return read_task_split(task_folder, DEV, tokenizer, encoding, info)


def dev_scores(model: PreTrainedModel, dev: TaskSplit, dtype: torch.dtype | None) -> Evaluate:
    """Return a function that scores the model, as it is then, on the dev split."""
    return lambda: dev.scores(predict_logits(model, dev.rows, dtype))


def choose_decision(
    model: PreTrainedModel, task_folder: Path, tokenizer: Any, encoding: Encoding, info: TaskInfo
) -> None:
    """Choose thresholds by the dev split, and put them into the model's configuration.

    Nothing is done for a kind of task that has none.
    """
    if info.kind in DECIDED:
        dev = dev_split(task_folder, tokenizer, encoding, info)
        logits = predict_logits(model.to(computing_device()), dev.rows, None)
        dev.decision(logits).put_into(model.config, info)
        model.cpu()


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
