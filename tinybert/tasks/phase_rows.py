"""Which rows a phase of task distillation trains on: original, augmented, unlabelled ones, or all.

The teacher's logits are of all rows that a task has, numbered as `read_rows` lays them out: the
augmented set, then the unlabelled rows.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.settings.choices import PhaseData
from tinybert.tasks.task import TRAIN, TaskInfo, read_augmented, read_split, read_unlabelled

WITH_COPIES: tuple[PhaseData, ...] = ("augmented", "all")
WITH_UNLABELLED: tuple[PhaseData, ...] = ("unlabelled", "all")
NO_ROW = -1  # in the column `row`: made from no row of train


def default_data(
    has_unlabelled: bool,
    by_default: Literal["augmented", "original"] = "augmented",
    gold_labels: bool = False,
) -> PhaseData:
    """Return what a phase trains on where its system's file does not say.

    Unlabelled rows are as good as original ones to a term that compares with the teacher, so a
    task that has some adds them; a term that compares with gold labels cannot use them.

    Args:
        has_unlabelled: Whether the task has unlabelled rows.
        by_default: The labelled rows that the phase trains on if nothing says otherwise.
        gold_labels: Whether the phase has the label term.
    """
    if gold_labels or not has_unlabelled:
        return by_default
    return "all" if by_default == "augmented" else "unlabelled"


def require_unlabelled(data: PhaseData | None, has_unlabelled: bool, task: str) -> None:
    """Refuse unlabelled rows that a system's file names, and a task has not."""
    if data in WITH_UNLABELLED and not has_unlabelled:
        raise InputError(
            f"data: the task {task} has no unlabelled rows, got {data}; name some under "
            f"`unlabelled` in params/tasks/{task}.yaml, or leave `data` out of the system's file: "
            "then each task gives what it has"
        )


def require_every_class(task_folder: Path, info: TaskInfo) -> None:
    """Check that each class has a row, without which nothing says what it looks like.

    An I- tag needs none: entities may all be of one word.

    Raises:
        InputError: A class has none.
    """
    seen = set(read_split(task_folder, TRAIN)["label"].explode()) if info.labels else set()
    needed = [not (info.kind == "tokens" and name.startswith("I-")) for name in info.labels]
    lacking = [name for n, name in enumerate(info.labels) if needed[n] and n not in seen]
    if lacking:
        raise InputError(
            f"closed form: each class needs a training row, got none of {', '.join(lacking)}; add "
            f"some, or leave it out of the rows and of `labels` in params/tasks/{info.name}.yaml"
        )


def read_rows(
    data: PhaseData | None, task_folder: Path, augmented_folder: Path, info: TaskInfo
) -> pd.DataFrame:
    """Read the rows of a phase.

    Args:
        data: What the system's file says; None: everything that the task has.
        task_folder: The prepared task.
        augmented_folder: The augmented task; not read for original and unlabelled rows.
        info: The task's description.

    Raises:
        InputError: The task has no such rows, or they are another task's or run's.

    Returns:
        `sentence1`, `sentence2` (pair tasks), `label` (where every row has one), and `row`, the
        number of train's row that a row was made from; -1 for unlabelled rows.
    """
    require_unlabelled(data, info.num_unlabelled > 0, info.name)
    data = data or default_data(info.num_unlabelled > 0)
    if data in WITH_COPIES:
        rows = read_augmented(augmented_folder, info)
    else:
        rows = read_split(task_folder, TRAIN)
        rows = rows.assign(row=np.arange(len(rows), dtype=np.int64))
    if data not in WITH_UNLABELLED:
        return rows
    further = read_unlabelled(task_folder, info).assign(row=np.int64(NO_ROW))
    return pd.concat([rows.drop(columns="label"), further], ignore_index=True)


def read_own_rows(task_folder: Path, info: TaskInfo) -> pd.DataFrame:
    """Read a task's own rows: no copies, no sampled pairs; columns as of `read_rows`."""
    data = default_data(info.num_unlabelled > 0, "original")
    return without_sampled(read_rows(data, task_folder, Path(), info), info)


def without_sampled(rows: pd.DataFrame, info: TaskInfo) -> pd.DataFrame:
    """Return the rows of a phase that are the task's own, not sampled pairs of its texts.

    Args:
        rows: Of `read_rows`; copies may be left out.
        info: The task's description.
    """
    num_sampled = info.num_sampled if (rows["row"] == NO_ROW).any() else 0
    return rows[: len(rows) - num_sampled]


def read_texts(task_folder: Path, info: TaskInfo) -> list[list[str]]:
    """Return a task's training and unlabelled texts, those of each segment."""
    frames = [read_split(task_folder, TRAIN)]
    frames += [read_unlabelled(task_folder, info)] if info.num_unlabelled else []
    columns = ("sentence1", "sentence2")
    return [frame[name].tolist() for frame in frames for name in columns if name in frame]


def rows_with_logits(
    data: PhaseData, everything: pd.DataFrame, numbers: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the rows of a phase that the teacher has scored; their index is their number.

    Args:
        data: What the phase trains on.
        everything: Of `read_rows` without a choice.
        numbers: The rows that the teacher has scored, ascending.

    Raises:
        InputError: Original rows are asked for by themselves that the teacher has not scored.
    """
    row = everything["row"].to_numpy()
    if data not in WITH_COPIES:
        original = original_rows(row)
        if missing := len(np.setdiff1d(original, numbers)):
            raise InputError(
                f"teacher_logits: the original rows are needed, got all but {missing:,} of "
                f"{len(original):,}; set teacher_logits.also_original to true"
            )
        numbers = np.concatenate([original, numbers[row[numbers] == NO_ROW]])
    if data not in WITH_UNLABELLED:
        numbers = numbers[row[numbers] != NO_ROW]
    return everything.iloc[numbers].set_index(numbers)


def original_rows(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place of each original row among all, where its copies follow it.

    Args:
        row: For each row the number of train's row it was made from; -1: from none.
    """
    numbers, places = np.unique(row, return_index=True)
    return np.asarray(places[numbers != NO_ROW], dtype=np.int64)
