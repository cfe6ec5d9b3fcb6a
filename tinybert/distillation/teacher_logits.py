"""The fine-tuned teacher's logits of a task's rows: one pass that every student reads.

Files of a folder: `rows.npy`, numbers of the scored rows, ascending (int64), as
`phase_rows` numbers a task's augmented and unlabelled rows;
`logits.npy`, shape (rows, outputs), float32; `teacher_logits.json`, label names and counts.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from rich.progress import track

from tinybert.core.errors import InputError
from tinybert.core.outputs import replace_file
from tinybert.core.settings.choices import PhaseData
from tinybert.core.settings.reader import Settings, read_json
from tinybert.distillation.teacher import Teacher
from tinybert.evaluation.prediction import predict_logits
from tinybert.tasks.phase_rows import NO_ROW, WITH_COPIES, default_data, original_rows, read_rows
from tinybert.tasks.task import TaskInfo
from tinybert.text.encoded import EncodedRows, read_array

ROWS, LOGITS, INFO = "rows.npy", "logits.npy", "teacher_logits.json"
ROWS_AT_ONCE = 20_000  # scored and kept, so that a kill costs no more


class About(Settings):
    """What `teacher_logits.json` says."""

    labels: list[str]
    num_rows: int  # scored
    of: int  # rows that the task has, augmented and unlabelled
    keep: Literal["all", "agreeing"] = "all"
    copies: dict[str, int] = Field(default={})  # judged ones by verdict (`agreement`)


def choose_rows(
    row: NDArray[np.int64],
    max_rows: int | None,
    also_original: bool,
    seed: int,
    max_unlabelled_rows: int | None = None,
) -> NDArray[np.int64]:
    """Choose the rows to score.

    Args:
        row: Of all rows, as `phase_rows.read_rows` lays them out: of each augmented row the number
            of the row it was made from, and -1 of each unlabelled one.
        max_rows: How many augmented ones, drawn at random; a larger number keeps those of a
            smaller one.
        also_original: Whether to add the rows as they were before augmentation.
        seed: Of the drawing.
        max_unlabelled_rows: How many unlabelled ones, the first of them: their order is random.

    Returns:
        Numbers of rows, ascending.
    """
    num_augmented = int((row != NO_ROW).sum())
    drawn = np.random.default_rng(seed).permutation(num_augmented)[:max_rows]
    unlabelled = np.arange(num_augmented, len(row))[:max_unlabelled_rows]
    original = original_rows(row) if also_original else drawn[:0]
    return np.unique(np.concatenate([drawn, original, unlabelled]))


def score_rows(
    teacher: Teacher, rows: EncodedRows, dtype: torch.dtype | None, kept: Path
) -> NDArray[np.float32]:
    """Return the teacher's logits of every row, shape (rows, outputs).

    Args:
        teacher: The fine-tuned teacher, on the device to compute on.
        rows: What to score.
        dtype: What the pass is autocast to.
        kept: Folder for what is done already; a killed pass goes on from there.
    """
    kept.mkdir(parents=True, exist_ok=True)
    parts = []
    starts = range(0, len(rows), ROWS_AT_ONCE)
    for start in track(starts, "teacher's logits", transient=True, disable=len(starts) < 2):
        file = kept / f"{start}.npy"
        if not file.is_file():
            stop = min(start + ROWS_AT_ONCE, len(rows))
            found = predict_logits(teacher.model, rows.part(start, stop), dtype)
            with replace_file(file) as partial, partial.open("wb") as stream:
                np.save(stream, found)
        parts.append(np.load(file, allow_pickle=False))
    return np.concatenate(parts)


def rows_to_train_on(
    data: PhaseData | None, task_folder: Path, augmented_folder: Path, scored: Path, info: TaskInfo
) -> pd.DataFrame:
    """Return the rows of a phase without stored logits, less the copies the teacher has dropped.

    Args:
        data: As for `phase_rows.read_rows`.
        task_folder: The prepared task.
        augmented_folder: The augmented task.
        scored: What `teacher_logits` wrote; read where there are copies.
        info: The task's description.
    """
    rows = read_rows(data, task_folder, augmented_folder, info)
    if (data or default_data(info.num_unlabelled > 0)) not in WITH_COPIES:
        return rows
    about = read_json(scored / INFO, About, f"dvc repro --force teacher_logits@{info.name}")
    if about.keep == "all":
        return rows
    unlabelled = rows["row"] == NO_ROW
    num_rows = int((~unlabelled).sum()) + info.num_unlabelled
    kept = read_logits(scored, num_rows, info.num_outputs).index
    # Copies come first, so that their places are their numbers.
    return rows[unlabelled | np.isin(np.arange(len(rows)), kept)]


def read_logits(folder: Path, num_rows: int, num_outputs: int) -> pd.DataFrame:
    """Read the logits as columns 0, 1, ...; the index is the rows' numbers.

    Args:
        folder: What `teacher_logits` wrote.
        num_rows: That the task has, augmented and unlabelled.
        num_outputs: Of the task.

    Raises:
        InputError: A file is damaged, or they are not of these rows or this task.
    """
    command = f"dvc repro --force teacher_logits@{folder.name}"
    about = read_json(folder / INFO, About, command)
    logits, rows = (read_array(folder / name, command) for name in (LOGITS, ROWS))
    problem = ""
    if about.of != num_rows or (len(rows) and not 0 <= rows.min() <= rows.max() < num_rows):
        problem = f"must be of {num_rows:,} rows, got logits for {about.of:,}"
    elif rows.shape != (about.num_rows,) or logits.shape != (about.num_rows, num_outputs):
        problem = (
            f"must be {about.num_rows:,} rows of {num_outputs} outputs, got logits of shape "
            f"{logits.shape} for {len(rows):,} rows"
        )
    if problem:
        raise InputError(f"{folder}: {problem}; they are another run's: run `{command}`")
    return pd.DataFrame(logits, index=rows)
