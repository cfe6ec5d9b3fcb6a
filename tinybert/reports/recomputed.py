"""Compute scores again from the prediction files and the gold labels, and compare them."""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.core.errors import InputError
from tinybert.reports.results import Results
from tinybert.tasks.metrics import score
from tinybert.tasks.task import TaskInfo, read_named_info, read_split

TOLERANCE = 1e-6


def require_same_scores(results: Results, tasks: Path, reports: Path) -> int:
    """Check every score that has a prediction file; return how many were computed again.

    Args:
        results: What the metric files say.
        tasks: The folder of the prepared tasks.
        reports: The folder with `predictions/<system>/<task>/<split>.tsv`.

    Raises:
        InputError: One line for each file whose predictions do not give the stored score.
    """
    problems: list[str] = []
    num_scores = 0
    for (system, task), scores in results.scores.items():
        info = read_named_info(tasks / task, task)
        for split, metrics in scores.metrics.items():
            file = reports / "predictions" / system / task / f"{split}.tsv"
            if not file.is_file():
                continue
            try:
                found = recomputed(file, tasks / task, split, info)
            except InputError as error:
                problems += error.problems
                continue
            stored = {name: value for name, value in metrics.items() if name in found}
            num_scores += len(stored)
            problems += [
                f"{file}: gives {name} {found[name]:.6f}, got {value:.6f} in the metric file; run "
                "`dvc repro evaluate`, or `git checkout` the file that was changed"
                for name, value in stored.items()
                if not abs(found[name] - value) <= TOLERANCE
            ]
    if problems:
        raise InputError(*problems)
    return num_scores


def recomputed(file: Path, folder: Path, split: str, info: TaskInfo) -> dict[str, float]:
    """Return a split's metrics from its predictions.

    Args:
        file: The predictions, with the columns `index` and `prediction`.
        folder: The prepared task.
        split: A split with labels.
        info: The task's description.

    Raises:
        InputError: The predictions are not those of the split's rows.
    """
    frame = read_split(folder, split)
    if "label" not in frame:
        raise InputError(f"{folder}: {split} has no labels, got a score of it; run `dvc repro`")
    text = read_predictions(file, len(frame), split)
    return score(info.metrics, _numbers(text["prediction"], info, file), frame["label"].to_numpy())


def read_predictions(file: Path, num_rows: int, split: str) -> pd.DataFrame:
    """Read a split's predictions as texts, in the rows' order.

    Raises:
        InputError: They are damaged, or are not of so many rows.
    """
    try:
        text = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        if missing := {"index", "prediction"} - set(text.columns):
            raise ValueError(f"no column {', '.join(sorted(missing))}")
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{file}: no predictions, got {reason}; delete it and run `dvc repro evaluate`"
        ) from error
    if text["index"].tolist() != [str(number) for number in range(num_rows)]:
        raise InputError(
            f"{file}: must have the {num_rows} rows of {split} in their order, got {len(text)}; "
            "run `dvc repro evaluate`"
        )
    return text


def _numbers(text: "pd.Series[str]", info: TaskInfo, file: Path) -> NDArray[np.generic]:
    try:
        if info.kind == "regression":
            return text.to_numpy().astype(np.float32)  # as they were before they were written
        numbers = {label: number for number, label in enumerate(info.labels)}
        return np.array([numbers[value] for value in text])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{file}: unknown prediction, got {error}; expected "
            f"{', '.join(info.labels) or 'numbers'}: run `dvc repro evaluate`"
        ) from error
