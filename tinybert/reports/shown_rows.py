"""Choose rows of a task's dev split to show with the teacher's and the students' answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.reports.recomputed import read_predictions
from tinybert.reports.results import TEACHER
from tinybert.tasks.task import DEV, TaskInfo, read_split

NUM_ROWS = 3
MOST_CHARACTERS = 400  # of a text; the start of a longer one is shown
SEED = 0
FAR_APART = 0.5  # standard deviations of the teacher's values: two values that differ


@dataclass(frozen=True)
class Answer:
    """What a model says of a row.

    Args:
        system: The model.
        text: The label's name, or the value.
        right: Whether the label is the gold one; None for values.
        probability: Of the label, in percent; empty if it was not written down.
    """

    system: str
    text: str
    right: bool | None
    probability: str


@dataclass(frozen=True)
class Example:
    """A row of dev: its text or two texts, its gold label, and each model's answer."""

    texts: Sequence[str]
    gold: str
    answers: Sequence[Answer]


def read_examples(
    info: TaskInfo, folder: Path, predictions: Path, systems: Sequence[str]
) -> list[Example]:
    """Read three rows, one at least on which teacher and first student differ, if there is one.

    Args:
        info: The task.
        folder: The prepared task.
        predictions: The folder with `<system>/<task>/dev.tsv`.
        systems: The students; one without predictions is left out.

    Returns:
        The rows; none if fewer than two models have predictions, or dev has no labels.

    Raises:
        InputError: Predictions are not those of the split's rows.
    """
    files = {row: predictions / row / info.name / f"{DEV}.tsv" for row in (TEACHER, *systems)}
    files = {row: file for row, file in files.items() if file.is_file()}
    if len(files) < 2 or DEV not in info.num_rows:
        return []
    frame = read_split(folder, DEV)
    if "label" not in frame:
        return []
    read = {row: read_predictions(file, len(frame), DEV) for row, file in files.items()}
    first, second, *_ = read.values()
    chosen = chosen_rows(_differ(first["prediction"], second["prediction"], info))
    return [_example(frame.iloc[row], row, read, info) for row in chosen]


def chosen_rows(differ: NDArray[np.bool_]) -> list[int]:
    """Choose rows at random, always the same ones: one that differs first, then others.

    Args:
        differ: Whether the models' answers differ, shape (rows,).
    """
    order = np.random.default_rng(SEED).permutation(len(differ))
    differing, alike = order[differ[order]], order[~differ[order]]
    return [int(row) for row in (*differing[:1], *alike, *differing[1:])][:NUM_ROWS]


def _differ(
    teacher: "pd.Series[str]", student: "pd.Series[str]", info: TaskInfo
) -> NDArray[np.bool_]:
    if info.kind == "classification":
        return np.asarray(teacher.to_numpy() != student.to_numpy())
    values = pd.to_numeric(teacher, "coerce"), pd.to_numeric(student, "coerce")
    apart = (values[0] - values[1]).abs() > FAR_APART * values[0].std()
    return apart.to_numpy(dtype=bool)


def _example(
    row: "pd.Series[Any]", number: int, read: dict[str, pd.DataFrame], info: TaskInfo
) -> Example:
    is_regression = info.kind == "regression"
    gold = f"{row['label']:.2f}" if is_regression else info.labels[int(row["label"])]
    return Example(
        [_cut(row[name]) for name in ("sentence1", "sentence2") if row.get(name) is not None],
        gold,
        [_answer(system, frame.iloc[number], gold, info) for system, frame in read.items()],
    )


def _answer(system: str, row: "pd.Series[Any]", gold: str, info: TaskInfo) -> Answer:
    if info.kind == "regression":
        return Answer(system, f"{float(row['prediction']):.2f}", None, "")
    probability = row.get("probability", "")
    words = f"{100 * float(probability):.0f}%" if probability else ""
    return Answer(system, row["prediction"], row["prediction"] == gold, words)


def _cut(text: str) -> str:
    rest = " \N{HORIZONTAL ELLIPSIS}" if len(text) > MOST_CHARACTERS else ""
    return text[:MOST_CHARACTERS] + rest
