"""The fine-tuned teacher's logits of a task's rows: one pass that every student reads.

Files of a folder: `rows.npy`, numbers of the scored rows of the augmented set, ascending (int64);
`logits.npy`, shape (rows, outputs), float32; `teacher_logits.json`, label names and counts.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from rich.progress import track

from tinybert.encoded import EncodedRows
from tinybert.outputs import replace_file
from tinybert.prediction import predict_logits
from tinybert.teacher import Teacher

ROWS, LOGITS, INFO = "rows.npy", "logits.npy", "teacher_logits.json"
ROWS_AT_ONCE = 20_000  # scored and kept, so that a kill costs no more


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


def read_logits(folder: Path) -> pd.DataFrame:
    """Read the logits as columns 0, 1, ...; the index is the rows' numbers."""
    logits = np.load(folder / LOGITS, allow_pickle=False)
    return pd.DataFrame(logits, index=np.load(folder / ROWS, allow_pickle=False))
