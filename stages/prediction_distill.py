"""Distil the fine-tuned teacher's predictions into the student; this gives the final student.

python -m stages.prediction_distill SYSTEM TASK
"""

from pathlib import Path

import numpy as np
import pandas as pd
from transformers import PreTrainedModel

from stages import run
from tinybert.checkpoints import load_tokenizer
from tinybert.classifier import best_of_grid, dev_scores, new_classifier
from tinybert.distillation import Distillation, Loss, Weights, phase_weights
from tinybert.encoded import EncodedRows
from tinybert.errors import InputError
from tinybert.evaluation import encode_split
from tinybert.fingerprint import checkpoints_folder
from tinybert.outputs import replace_file, replace_folder
from tinybert.precision import Precision, autocast_dtype
from tinybert.schedule import Run
from tinybert.settings import read_param, read_section, read_system, read_task
from tinybert.systems import Grid, OutputPhase
from tinybert.tasks import TRAIN, TaskFile, read_info, read_split
from tinybert.teacher_logits import first_rows, read_logits
from tinybert.training import empty_history


class PredictionDistillSettings(Grid):
    """The profile's section `prediction_distill`; a system's file may change the grid."""


SETTINGS = PredictionDistillSettings


def rows_with_logits(frame: pd.DataFrame, logits: pd.DataFrame, original: bool) -> pd.DataFrame:
    """Return the rows that the teacher has scored, with the column `row` of their number.

    Args:
        frame: The augmented set.
        logits: Of `read_logits`.
        original: Whether to take the rows as they were before augmentation alone.

    Raises:
        InputError: Original rows are asked for that the teacher has not scored.
    """
    numbers = logits.index.to_numpy()
    if original:
        wanted = first_rows(frame["row"].to_numpy())
        if missing := len(np.setdiff1d(wanted, numbers)):
            raise InputError(
                f"teacher_logits: the original rows are needed, got all but {missing:,} of "
                f"{len(wanted):,}; set teacher_logits.also_original to true"
            )
        numbers = wanted
    return frame.iloc[numbers].assign(row=numbers)


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
    compiled = read_param("torch_compile", bool)
    task_file, task_folder = read_task(task, TaskFile), Path("data/tasks") / task
    encoder, scored = (
        Path("models/intermediate") / system / task,
        Path("data/teacher_logits") / task,
    )
    original = (phase.data or task_file.prediction_data) == "original"
    augmented = Path("data/augmented") / task
    weights, grid = phase_weights(phase.terms, loss), phase.grid(settings)
    info, tokenizer = read_info(task_folder), load_tokenizer(encoder)
    read = {"grid": grid.model_dump(), "weights": weights, "temperature": temperature}
    read |= {
        "seed": seed,
        "precision": precision,
        "compile": compiled,
        "task": task_file.model_dump(),
    }
    read |= {"original": original}
    how = Run(
        phase=f"prediction_distill {system} {task}",
        checkpoints=checkpoints_folder(
            "prediction_distill", read, [encoder, scored, augmented, task_folder]
        ),
        seed=seed,
        dtype=autocast_dtype(precision),
        compile=compiled,
    )
    chosen, history = "without terms", empty_history()
    student = new_classifier(encoder, info, seed)
    if weights:
        targets = {}
        if "prediction" in weights:
            logits = read_logits(scored)
            frame = rows_with_logits(read_split(augmented, TRAIN), logits, original)
            targets["teacher_logits"] = logits.loc[frame["row"]].to_numpy(np.float32)
        else:
            frame = read_split(task_folder if original else augmented, TRAIN)
        rows = encode_split(frame, tokenizer, task_file.max_length).with_targets(**targets)
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
