"""Compute scores again from the prediction files and the gold labels, and compare them."""

from pathlib import Path

from tinybert.evaluation.prediction_files import predictions_file, read_predictions
from tinybert.reports.results import Results
from tinybert.runtime.errors import InputError
from tinybert.tasks.metrics import score_task
from tinybert.tasks.task import TaskInfo, read_named_info, read_split

TOLERANCE = 1e-6


def require_same_scores(results: Results, tasks: Path, reports: Path) -> int:
    """Check every score that has a prediction file; return how many were computed again.

    Args:
        results: What the metric files say.
        tasks: The folder of the prepared tasks.
        reports: The folder with `predictions/<system>/<task>`.

    Raises:
        InputError: One line for each file whose predictions do not give the stored score.
    """
    problems: list[str] = []
    num_scores = 0
    for (system, task), scores in results.scores.items():
        info = read_named_info(tasks / task, task)
        for split, metrics in scores.metrics.items():
            file = predictions_file(reports / "predictions" / system / task, split, info)
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
        file: The predictions, of `predictions_file`.
        folder: The prepared task.
        split: A split with labels.
        info: The task's description.

    Raises:
        InputError: The predictions are not those of the split's rows.
    """
    frame = read_split(folder, split)
    if "label" not in frame:
        raise InputError(f"{folder}: {split} has no labels, got a score of it; run `dvc repro`")
    found = read_predictions(file, frame, info, split)
    return score_task(info, found, frame["label"].to_numpy())
