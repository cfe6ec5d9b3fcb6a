"""Choose rows of a task's dev split to show with the teacher's and the students' answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.evaluation.prediction_files import predictions_file, read_predictions, read_table
from tinybert.reports.results import TEACHER
from tinybert.tasks.entities import to_spans
from tinybert.tasks.squad_metrics import exact_match
from tinybert.tasks.task import DEV, TaskInfo, read_split

NUM_ROWS = 3
MOST_CHARACTERS = 400  # of a text; the start of a longer one is shown
SEED = 0
OR, NO_ANSWER = " | ", "no answer"
ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"
FAR_APART = 0.5  # standard deviations of the teacher's values: two values that differ


@dataclass(frozen=True)
class Answer:
    """What a model says of a row.

    Args:
        system: The model.
        text: The label's name, or the value; several labels, entities, or the answer's text.
        right: Whether it is the gold one; None for values.
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
        predictions: The folder with `<system>/<task>`.
        systems: The students; one without predictions is left out.

    Returns:
        The rows; none if fewer than two models have predictions, or dev has no labels.

    Raises:
        InputError: Predictions are not those of the split's rows.
    """
    files = {
        row: predictions_file(predictions / row / info.name, DEV, info)
        for row in (TEACHER, *systems)
    }
    files = {row: file for row, file in files.items() if file.is_file()}
    if len(files) < 2 or DEV not in info.num_rows:
        return []
    frame = read_split(folder, DEV)
    if "label" not in frame:
        return []
    read = {row: read_predictions(file, frame, info, DEV) for row, file in files.items()}
    sure = {row: _percents(file, frame, info) for row, file in files.items()}
    first, second, *_ = read.values()
    chosen = chosen_rows(_differ(first, second, info))
    return [_example(frame.iloc[row], row, read, sure, info) for row in chosen]


def _percents(file: Path, frame: pd.DataFrame, info: TaskInfo) -> Sequence[str]:
    """Return the probability of each row's label, of one label a row; empty where not known."""
    table = read_table(file, len(frame), DEV) if info.kind == "classification" else pd.DataFrame()
    if "probability" not in table:
        return [""] * len(frame)
    return [f"{100 * float(each):.0f}%" if each else "" for each in table["probability"]]


def chosen_rows(differ: NDArray[np.bool_]) -> list[int]:
    """Choose rows at random, always the same ones: one that differs first, then others.

    Args:
        differ: Whether the models' answers differ, shape (rows,).
    """
    order = np.random.default_rng(SEED).permutation(len(differ))
    differing, alike = order[differ[order]], order[~differ[order]]
    return [int(row) for row in (*differing[:1], *alike, *differing[1:])][:NUM_ROWS]


def _differ(teacher: NDArray[Any], student: NDArray[Any], info: TaskInfo) -> NDArray[np.bool_]:
    if info.kind == "regression":
        return np.asarray(np.abs(teacher - student) > FAR_APART * teacher.std(ddof=1))
    pairs = zip(teacher, student, strict=True)
    return np.array([not np.array_equal(*pair) for pair in pairs], dtype=bool)


def _example(
    row: "pd.Series[Any]",
    number: int,
    read: dict[str, NDArray[Any]],
    sure: dict[str, Sequence[str]],
    info: TaskInfo,
) -> Example:
    gold = row["label"]
    return Example(
        _texts(row, info),
        _gold_text(row, info),
        [
            Answer(
                system,
                answer_text(found[number], row, info),
                _is_right(found[number], gold, info),
                sure[system][number],
            )
            for system, found in read.items()
        ],
    )


def _texts(row: "pd.Series[Any]", info: TaskInfo) -> list[str]:
    """Return a row's texts, long ones cut; of a passage what stands around its answer."""
    if info.kind == "span":
        starts = [answer["start"] for answer in row["label"]]
        begin = max(0, min(starts, default=0) - MOST_CHARACTERS // 2)
        before = ELLIPSIS if begin else ""
        return [_cut(row["sentence1"]), before + _cut(row["sentence2"][begin:])]
    return [_cut(row[name]) for name in ("sentence1", "sentence2") if row.get(name) is not None]


def _gold_text(row: "pd.Series[Any]", info: TaskInfo) -> str:
    if info.kind != "span":
        return answer_text(row["label"], row, info)
    return OR.join(dict.fromkeys(answer["text"] for answer in row["label"])) or NO_ANSWER


def answer_text(answer: Any, row: "pd.Series[Any]", info: TaskInfo) -> str:
    """Return what a model answers, in words.

    Args:
        answer: As `TaskSplit.predictions` gives it; not of a passage's gold answers.
        row: The row that is answered.
        info: The task.
    """
    if info.kind == "regression":
        return f"{float(answer):.2f}"
    if info.kind == "multilabel":
        return ", ".join(info.labels[int(number)] for number in answer) or "none"
    if info.kind == "tokens":
        tags = [info.labels[int(number)] for number in answer]
        spans = to_spans(row["sentence1"], row["word_starts"], row["word_ends"], tags)
        return ", ".join(f"{span['text']} ({span['label']})" for span in spans) or "none"
    if info.kind == "span":
        return str(answer) or NO_ANSWER
    return info.labels[int(answer)]


def _is_right(answer: Any, gold: Any, info: TaskInfo) -> bool | None:
    if info.kind == "regression":
        return None
    if info.kind == "span":
        return bool(exact_match(str(answer), [each["text"] for each in gold]))
    return bool(np.array_equal(answer, gold))


def _cut(text: str) -> str:
    rest = " " + ELLIPSIS if len(text) > MOST_CHARACTERS else ""
    return text[:MOST_CHARACTERS] + rest
