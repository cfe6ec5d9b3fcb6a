"""Distil the fine-tuned teacher's predictions into the student; this gives the final student.

python -m stages.prediction_distill SYSTEM TASK
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from stages import run
from tinybert.batching import EncodedRows
from tinybert.checkpoints import load_classifier, load_tokenizer, require_same_vocabulary
from tinybert.classifier import best_of_grid, dev_scores, label_names, new_classifier
from tinybert.distillation import Distillation, Loss, Weights, phase_weights
from tinybert.errors import InputError
from tinybert.evaluation import encode_split
from tinybert.fingerprint import checkpoints_folder
from tinybert.outputs import replace_file, replace_folder
from tinybert.precision import Precision, autocast_dtype
from tinybert.prediction import predict_logits
from tinybert.schedule import Run
from tinybert.settings import read_param, read_section, read_system, read_task
from tinybert.systems import Grid, OutputPhase
from tinybert.tasks import TRAIN, TaskFile, TaskInfo, read_info, read_split
from tinybert.teacher import Teacher
from tinybert.training import empty_history


class PredictionDistillSettings(Grid):
    """The profile's section `prediction_distill`; a system's file may change the grid."""


SETTINGS = PredictionDistillSettings


def teacher_logits(
    folder: Path, info: TaskInfo, rows: EncodedRows, dtype: torch.dtype | None
) -> NDArray[np.float32]:
    """Return the teacher's logits of every row: one pass, however many epochs follow.

    Raises:
        InputError: The teacher's label names are not the task's, in the task's order.
    """
    model = load_classifier(folder)
    names = label_names(model)
    if info.labels and names != info.labels:
        raise InputError(
            f"{folder}: the teacher's labels are not the task's, got {', '.join(names)}; expected "
            f"{', '.join(info.labels)}: run `dvc repro finetune_teacher@{info.name}`"
        )
    if torch.cuda.is_available():
        model.cuda()
    teacher = Teacher(model, dtype)
    return predict_logits(teacher.model, rows, dtype, title="teacher's logits")


def rows_trained_on(frame: pd.DataFrame, grid: Grid, seed: int) -> pd.DataFrame:
    """Return as many rows, drawn at random, as the longest schedule trains on; at most all.

    The teacher then need not score rows that `max_steps` would never reach.
    """
    schedules = grid.schedules()
    num_seen = max(each.num_steps(len(frame)) * each.batch_size for each in schedules)
    if num_seen >= len(frame):
        return frame
    return frame.sample(num_seen, random_state=seed)


def prediction_distill(
    encoder: Path,
    task_folder: Path,
    rows: EncodedRows,
    weights: Weights,
    temperature: float,
    grid: Grid,
    max_length: int,
    how: Run,
) -> tuple[PreTrainedModel, pd.DataFrame, dict[str, float]]:
    """Train a classifier on the encoder once per schedule; return the best by dev score.

    Args:
        encoder: The folder of `intermediate_distill`.
        task_folder: The prepared task, for its dev split.
        rows: Training rows with the targets `labels` and, for the prediction term,
            `teacher_logits`.
        weights: The phase's terms.
        temperature: Of the prediction term.
        grid: Schedules to try.
        max_length: Tokens per row.
        how: Seed, precision, checkpoints.

    Returns:
        The student, its history, and the choice.
    """
    info, tokenizer = read_info(task_folder), load_tokenizer(encoder)

    def make_model() -> Distillation:
        student = new_classifier(encoder, info, how.seed)
        regression = info.kind == "regression"
        return Distillation(student, weights, temperature=temperature, regression=regression)

    return best_of_grid(
        grid.schedules(),
        make_model,
        rows,
        lambda student: dev_scores(student, tokenizer, task_folder, info, max_length, how.dtype),
        how,
    )


def main(system: str, task: str) -> str:
    """Read the settings and distil one system's predictions on one task."""
    settings = read_section("prediction_distill", PredictionDistillSettings)
    phase = read_system(system, "prediction_distill", OutputPhase)
    loss = Loss(prediction_weight=read_param("loss.prediction_weight", float))
    temperature = read_param("loss.temperature", float)
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    task_file, task_folder = read_task(task, TaskFile), Path("data/tasks") / task
    encoder, teacher = Path("models/intermediate") / system / task, Path("models/teacher") / task
    augmented = (phase.data or task_file.prediction_data) == "augmented"
    source = Path("data/augmented") / task if augmented else task_folder
    weights, grid = phase_weights(phase.terms, loss), phase.grid(settings)
    dtype = autocast_dtype(precision)
    info, tokenizer = read_info(task_folder), load_tokenizer(encoder)
    require_same_vocabulary(tokenizer, load_tokenizer(teacher), str(encoder))
    read = {"grid": grid.model_dump(), "weights": weights, "temperature": temperature}
    read |= {"seed": seed, "precision": precision, "task": task_file.model_dump()}
    how = Run(
        phase=f"prediction_distill {system} {task}",
        checkpoints=checkpoints_folder("prediction_distill", read, [encoder, teacher, source]),
        seed=seed,
        dtype=dtype,
    )
    chosen, history = "without terms", empty_history()
    student = new_classifier(encoder, info, seed)
    if weights:
        frame = rows_trained_on(read_split(source, TRAIN), grid, seed)
        rows = encode_split(frame, tokenizer, task_file.max_length)
        if "prediction" in weights:
            rows = rows.with_targets(teacher_logits=teacher_logits(teacher, info, rows, dtype))
        student, history, choice = prediction_distill(
            encoder, task_folder, rows, weights, temperature, grid, task_file.max_length, how
        )
        chosen = (
            f"from {len(rows):,} rows, learning rate {choice['learning_rate']:g}, "
            f"dev {info.metrics[0]} {choice['dev_score']:.3f}"
        )
    folder = Path("models/student") / system / task
    with replace_folder(folder) as partial:
        student.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
    with replace_file(Path(f"reports/training/prediction_distill/{system}-{task}.csv")) as file:
        history.to_csv(file, index=False)
    how.finish()
    return f"made the student in {folder} ({chosen})"


if __name__ == "__main__":
    run(main)
