"""The fine-tuned teacher's logits of a task's rows: one pass that every student reads.

Files of a folder: `rows.npy`, numbers of the scored rows of the augmented set, ascending (int64);
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

from tinybert.encoded import EncodedRows, read_array
from tinybert.errors import InputError
from tinybert.outputs import replace_file
from tinybert.prediction import predict_logits
from tinybert.settings import Settings, read_json
from tinybert.teacher import Teacher

ROWS, LOGITS, INFO = "rows.npy", "logits.npy", "teacher_logits.json"
ROWS_AT_ONCE = 20_000  # scored and kept, so that a kill costs no more


class About(Settings):
    """What `teacher_logits.json` says."""

    labels: list[str]
    num_rows: int  # scored
    of: int  # rows of the augmented set
    keep: Literal["all", "agreeing"] = "all"
    copies: dict[str, int] = Field(default={})  # judged ones by verdict (`agreement`)


def choose_rows(
    original: NDArray[np.int64], max_rows: int | None, also_original: bool, seed: int
) -> NDArray[np.int64]:
    """Choose the rows to score.

    Args:
        original: Of each augmented row, the number of the row it was made from.
        max_rows: How many, drawn at random; a larger number keeps those of a smaller one.
        also_original: Whether to add the rows as they were before augmentation.
        seed: Of the drawing.

    Returns:
        Numbers of rows, ascending.
    """
    drawn = np.random.default_rng(seed).permutation(len(original))[:max_rows]
    if also_original:
        drawn = np.concatenate([drawn, first_rows(original)])
    return np.unique(drawn)


def first_rows(original: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of each original row in the augmented set, where its copies follow it."""
    return np.unique(original, return_index=True)[1].astype(np.int64)


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


def rows_to_train_on(folder: Path, augmented: pd.DataFrame, num_outputs: int) -> pd.DataFrame:
    """Return the augmented rows that phases without stored logits train on.

    All of them, or where the teacher has dropped copies those that it has scored and kept.

    Args:
        folder: What `teacher_logits` wrote.
        augmented: The augmented set.
        num_outputs: Of the task.
    """
    logits = read_logits(folder, len(augmented), num_outputs)
    about = read_json(folder / INFO, About, f"dvc repro --force teacher_logits@{folder.name}")
    return augmented if about.keep == "all" else augmented.iloc[logits.index]


def read_logits(folder: Path, num_rows: int, num_outputs: int) -> pd.DataFrame:
    """Read the logits as columns 0, 1, ...; the index is the rows' numbers.

    Args:
        folder: What `teacher_logits` wrote.
        num_rows: Of the augmented set.
        num_outputs: Of the task.

    Raises:
        InputError: A file is damaged, or they are not of these rows or this task.
    """
    command = f"dvc repro --force teacher_logits@{folder.name}"
    about = read_json(folder / INFO, About, command)
    logits, rows = (read_array(folder / name, command) for name in (LOGITS, ROWS))
    problem = ""
    if about.of != num_rows or (len(rows) and not 0 <= rows.min() <= rows.max() < num_rows):
        problem = f"must be of {num_rows:,} augmented rows, got logits for {about.of:,}"
    elif rows.shape != (about.num_rows,) or logits.shape != (about.num_rows, num_outputs):
        problem = (
            f"must be {about.num_rows:,} rows of {num_outputs} outputs, got logits of shape "
            f"{logits.shape} for {len(rows):,} rows"
        )
    if problem:
        raise InputError(f"{folder}: {problem}; they are another run's: run `{command}`")
    return pd.DataFrame(logits, index=rows)
