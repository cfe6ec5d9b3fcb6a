"""What a prepared task is: the folder that stages exchange. What its file may say: task_file.py.

A prepared folder `data/tasks/<task>` holds one Parquet file per split (`train`, `dev`, `test`, and
for MNLI `dev_mm`, `test_mm` and the diagnostic `ax`) with the columns `sentence1`, `sentence2`
(pair tasks only) and `label` (absent in unlabelled test splits), `unlabelled.parquet`, the
sentences alone, where the task has rows without labels to train on, and `task.json`, a `TaskInfo`.
By the task's kind a label is

- classification: an int64 index into `labels`;
- regression: a float64;
- multilabel: a list of indices into `labels`, ascending; empty for a row without any;
- tokens: a list with the index of each word's tag in `labels`, which are tags of IOB2 with O first;
  the columns `word_starts` and `word_ends` have the words' character places in `sentence1`;
- span: a list of answers, each a dict of `start`, a character place in `sentence2`, and `text`;
  empty where the passage does not answer the question. `sentence1` is the question, `sentence2` the
  passage; a column `id` names each row.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast

import numpy as np
import pandas as pd
from pydantic import Field

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.runtime.outputs import write_json
from tinybert.settings.choices import Kind
from tinybert.settings.reader import Settings, read_json

MetricName = Literal[
    "accuracy",
    "f1",
    "f1_macro",
    "f1_micro",
    "matthews",
    "pearson",
    "spearman",
    "entity_f1",
    "entity_precision",
    "entity_recall",
    "squad_f1",
    "exact_match",
]
Long = Literal["cut", "head_tail", "windows"]
Pool = Literal["mean", "max", "first"]
SplitName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]  # it becomes a file's name
TRAIN = "train"
DEV = "dev"
UNLABELLED = "unlabelled"  # no split: nothing is predicted for it
# Metrics of each kind; those that a task names none of begin the list.
METRICS: dict[Kind, tuple[MetricName, ...]] = {
    "classification": ("accuracy", "f1_macro", "f1", "f1_micro", "matthews"),
    "regression": ("spearman", "pearson"),
    "multilabel": ("f1_micro", "f1_macro", "accuracy"),
    "tokens": ("entity_f1", "entity_precision", "entity_recall"),
    "span": ("squad_f1", "exact_match"),
}
BETWEEN = ","  # labels of a row, in files of predictions

LISTED: tuple[Kind, ...] = ("multilabel", "tokens", "span")  # kinds of which a label is a list


class Encoding(NamedTuple):
    """How a task's rows become pieces, and the logits of pieces or windows a row's.

    Attributes:
        kind: Of the task.
        num_outputs: Width of the head.
        max_length: Pieces of a row or window, special ones included.
        long: What is read of longer rows.
        stride: Pieces that a window shares with the next one.
        pool: How logits of windows become a row's.
        max_answer_length: Pieces of an answer, of span.
    """

    kind: Kind
    num_outputs: int
    max_length: int
    long: Long = "cut"
    stride: int = 0
    pool: Pool = "mean"
    max_answer_length: int = 30


class TaskInfo(Settings):
    """What `prepare_task` found and decided, stored as `task.json`."""

    name: str
    kind: Kind
    labels: list[str]  # names in the order of their numbers; [] for regression and span
    metrics: list[MetricName] = Field(min_length=1)
    pair: bool
    num_rows: dict[str, int]  # by split
    num_unlabelled: int = 0  # rows without labels to train on
    num_sampled: int = 0  # of them, the last ones: pairs of the others' and train's texts
    dropped_rows: int = 0
    shares: list[float] = []  # noqa: RUF012  of train's rows that have each label, of several
    glue: str | None = None

    @property
    def num_outputs(self) -> int:
        """Width of the head: the number of labels, 1 for regression, 2 (start, end) for span."""
        return 2 if self.kind == "span" else len(self.labels) or 1

    @property
    def eval_splits(self) -> list[str]:
        """Every split but the training one, in the order they are reported."""
        return [split for split in self.num_rows if split != TRAIN]


def read_info(folder: Path) -> TaskInfo:
    """Read `task.json` of a prepared folder."""
    file = folder / "task.json"
    if not file.is_file():
        raise InputError(f"{file}: missing, got no prepared task; run `dvc repro prepare_task`")
    return cast(TaskInfo, read_json(file, TaskInfo, "dvc repro prepare_task"))


def read_named_info(folder: Path, task: str) -> TaskInfo:
    """Read `task.json` of a task.

    Raises:
        InputError: There is none, or it is another task's.
    """
    info = read_info(folder)
    if info.name != task:
        raise InputError(
            f"{folder / 'task.json'}: must be of task {task}, got {info.name}; it is a copy: run "
            f"`dvc repro --force prepare_task@{task}`"
        )
    return info


def read_split(folder: Path, split: str) -> pd.DataFrame:
    """Read one split of a prepared folder; columns as in this module's docstring."""
    file = folder / f"{split}.parquet"
    if not file.is_file():
        raise InputError(f"{file}: missing, got no such split; run `dvc repro prepare_task`")
    frame = _read_parquet(file, "dvc repro prepare_task")
    if not (folder / "task.json").is_file():
        return frame
    info = read_info(folder)
    found, wanted = len(frame), info.num_rows.get(split)
    problem = _misfit(frame, info, labelled=split == TRAIN)
    if not problem and found != wanted:
        problem = f"must have {wanted} rows, got {found}"
    if problem:
        raise InputError(
            f"{file}: {problem}, as task.json beside it says; one of them is another task's or "
            f"run's: run `dvc repro --force prepare_task@{folder.name}`"
        )
    return frame


def read_unlabelled(folder: Path, info: TaskInfo) -> pd.DataFrame:
    """Read the rows without labels of a prepared folder, of a task that has some.

    Raises:
        InputError: They are missing, or another task's or run's.
    """

    def problem(frame: pd.DataFrame) -> str:
        same = len(frame) == info.num_unlabelled
        return "" if same else f"must have {info.num_unlabelled} rows, got {len(frame)}"

    file = folder / f"{UNLABELLED}.parquet"
    return _read_rows(file, info, "prepare_task", "unlabelled", problem)


def read_augmented(folder: Path, info: TaskInfo) -> pd.DataFrame:
    """Read a task's augmented rows, which have a column `row`, the number of train's row.

    Raises:
        InputError: There are none, or they are not of this task.
    """

    def problem(frame: pd.DataFrame) -> str:
        if "row" not in frame:
            return f"must have the column row, got {', '.join(map(str, frame))}"
        if set(frame["row"]) != set(range(info.num_rows[TRAIN])):
            num_found = frame["row"].nunique()
            return f"must be made of {info.num_rows[TRAIN]} rows, got {num_found} of them"
        return ""

    return _read_rows(folder / f"{TRAIN}.parquet", info, "augment", "augmented", problem)


def _read_rows(
    file: Path,
    info: TaskInfo,
    stage: str,
    kind: Literal["unlabelled", "augmented"],
    problem_of: Callable[[pd.DataFrame], str],
) -> pd.DataFrame:
    """Read rows that a stage made of a task; `problem_of` says what their kind must be like."""
    command = f"dvc repro --force {stage}@{info.name}"
    if not file.is_file():
        raise InputError(f"{file}: missing, got no {kind} rows; run `{command}`")
    frame = _read_parquet(file, command)
    problem = _misfit(frame, info, labelled=kind == "augmented") or problem_of(frame)
    if problem:
        raise InputError(f"{file}: {problem}, as task {info.name} has; run `{command}`")
    return frame


def _misfit(frame: pd.DataFrame, info: TaskInfo, labelled: bool) -> str:
    """Say how a table differs from what a task's rows look like; nothing if it does not."""
    wanted = ["sentence1", *(["sentence2"] if info.pair else [])]
    found = [name for name in frame if str(name).startswith("sentence")]
    if found != wanted:
        return f"must have the columns {', '.join(wanted)}, got {', '.join(map(str, found))}"
    if "label" not in frame:
        return "must have the column label, got none" if labelled else ""
    labels = frame["label"]
    if info.kind == "regression":
        return "" if labels.dtype.kind == "f" else f"must have values, got {labels.dtype} labels"
    if info.kind in LISTED:
        if not all(isinstance(each, np.ndarray) for each in labels):
            return f"must have a list of labels in each row, got {labels.dtype} labels"
        if info.kind == "span":
            return ""
        numbers = np.concatenate([np.empty(0, np.int64), *labels])
        labels = pd.Series(numbers.astype(np.int64) if len(numbers) else [0])
    if labels.dtype.kind != "i" or not labels.between(0, len(info.labels) - 1).all():
        between = f"{labels.min()} to {labels.max()}"
        return f"must have labels from 0 to {len(info.labels) - 1}, got {between}"
    return ""


def _read_parquet(file: Path, command: str) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except (ValueError, OSError) as error:  # of which pyarrow's are kinds
        raise InputError(
            f"{file}: no Parquet, got {in_one_line(error)}; delete it and run `{command}`"
        ) from error


def write_task(folder: Path, info: TaskInfo, splits: dict[str, pd.DataFrame]) -> None:
    """Write a prepared folder. Side effects: files in `folder`, which must exist."""
    for name, frame in splits.items():
        frame.to_parquet(folder / f"{name}.parquet", index=False)
    write_json(info.model_dump(), folder / "task.json")
