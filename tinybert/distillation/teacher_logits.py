"""The fine-tuned teacher's logits of a task's rows: one pass that every student reads.

Files of a folder: `rows.npy`, numbers of the scored rows, ascending (int64), as
`phase_rows` numbers a task's augmented and unlabelled rows;
`logits.npy`, float32, the logits of these rows one after the other: one for each row, or window of
a long text, or token, shape (scored, outputs); `ends.npy`, where each row's logits end in it,
int64; `teacher_logits.json`, label names and counts.
"""

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field
from rich.progress import track

from tinybert.distillation.teacher import Teacher
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.settings.choices import PhaseData
from tinybert.settings.reader import Settings, read_json
from tinybert.tasks.phase_rows import NO_ROW, WITH_COPIES, default_data, original_rows, read_rows
from tinybert.tasks.task import TaskInfo
from tinybert.text.encoded import EncodedRows, read_array

ROWS, LOGITS, ENDS, INFO = "rows.npy", "logits.npy", "ends.npy", "teacher_logits.json"
ROWS_AT_ONCE = 20_000  # scored and kept, so that a kill costs no more


class RowLogits(NamedTuple):
    """Logits by row.

    Attributes:
        numbers: The rows' numbers, ascending; shape (rows,).
        values: Logits of all rows, one row's after another's; shape (scored, outputs).
        ends: Where each row's logits end; shape (rows,).
    """

    numbers: NDArray[np.int64]
    values: NDArray[np.float32]
    ends: NDArray[np.int64]

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the logits of some rows, in the order given."""
        places = np.searchsorted(self.numbers, numbers)
        stops, starts = self.ends[places], np.concatenate([[0], self.ends])[places]
        sizes = stops - starts
        steps = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        return np.asarray(self.values[np.repeat(starts, sizes) + steps])


def row_sizes(rows: EncodedRows, num_rows: int, per_token: bool) -> NDArray[np.int64]:
    """Return how many logits each text has, shape (texts,).

    Args:
        rows: The encoded texts, or their windows.
        num_rows: Texts.
        per_token: Whether each token has logits.
    """
    sizes = rows.lengths if per_token else np.ones(len(rows), dtype=np.int64)
    if rows.origins is None:
        return sizes
    return np.bincount(rows.origins, weights=sizes, minlength=num_rows).astype(np.int64)


def with_logits(rows: EncodedRows, logits: NDArray[np.float32], place: Path) -> EncodedRows:
    """Put stored logits beside the rows that they are of, as the target `teacher_logits`.

    Raises:
        InputError: They are as many as neither the rows nor their tokens.
    """
    if rows.places is None and len(logits) == len(rows):
        return rows.with_targets(teacher_logits=logits)
    if rows.places is not None and len(logits) == len(rows.ids):
        return rows.with_token_targets(teacher_logits=torch.from_numpy(logits))
    raise InputError(
        f"{place}: logits must be of {len(rows):,} windows with {len(rows.ids):,} tokens, got "
        f"{len(logits):,}; they are another run's: run `dvc repro --force "
        f"teacher_logits@{place.name}`"
    )


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
    """Return the teacher's logits as `predict_logits` does.

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
    kept = read_logits(scored, num_rows, info.num_outputs).numbers
    # Copies come first, so that their places are their numbers.
    return rows[unlabelled | np.isin(np.arange(len(rows)), kept)]


def read_logits(folder: Path, num_rows: int, num_outputs: int) -> RowLogits:
    """Read the stored logits.

    Args:
        folder: What `teacher_logits` wrote.
        num_rows: That the task has, augmented and unlabelled.
        num_outputs: Of the task.

    Raises:
        InputError: A file is damaged, or they are not of these rows or this task.
    """
    command = f"dvc repro --force teacher_logits@{folder.name}"
    about = read_json(folder / INFO, About, command)
    logits, rows, ends = (read_array(folder / name, command) for name in (LOGITS, ROWS, ENDS))
    problem = ""
    if about.of != num_rows or (len(rows) and not 0 <= rows.min() <= rows.max() < num_rows):
        problem = f"must be of {num_rows:,} rows, got logits for {about.of:,}"
    elif (
        rows.shape != (about.num_rows,)
        or ends.shape != rows.shape
        or logits.shape != (int(ends[-1]) if len(ends) else 0, num_outputs)
    ):
        problem = (
            f"must be {about.num_rows:,} rows of {num_outputs} outputs, got logits of shape "
            f"{logits.shape} for {len(rows):,} rows"
        )
    if problem:
        raise InputError(f"{folder}: {problem}; they are another run's: run `{command}`")
    return RowLogits(rows, logits, ends)
