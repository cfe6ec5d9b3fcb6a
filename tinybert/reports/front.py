"""What a student costs and keeps in each engine, and which of all nobody beats in both."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from tinybert.reports.results import FIRST_ENGINE, TEACHER, Cell, Results
from tinybert.tasks.task import DEV

COLUMNS = ["system", "engine", "ms", "score"]


def measured_points(results: Results) -> pd.DataFrame:
    """Return a row for the teacher and for each system's engines whose answers were scored.

    Returns:
        `system`, `engine`, `score` (mean of the tasks' main metrics on dev, a fraction) and `ms` of
        a batch of the grid's first size, length and threads. Systems are measured one by one, and
        only the ratio to a teacher that ran at the same time can be compared: the milliseconds are
        those of the first system's teacher over each speed-up.
    """
    rows = list(_points(results))
    found = pd.DataFrame(rows, columns=COLUMNS).dropna()
    return found.assign(front=pareto_front(found))


def _points(results: Results) -> Iterator[tuple[str, str, float, float | None]]:
    measured = next(iter(results.latency.values()), None)
    if measured is None:
        return
    base = measured.cells[0].teacher_ms
    engine = f"pytorch_{measured.protocol.get('precision', 'fp32')}"
    yield TEACHER, engine, base, _mean_score(results, TEACHER, engine)
    for system, latency in results.latency.items():
        for cell in latency.cells:
            if _place(cell) == _place(latency.cells[0]):
                score = _mean_score(results, system, cell.engine)
                yield system, cell.engine, base / cell.speedup, score


def _place(cell: Cell) -> tuple[Any, ...]:
    return cell.batch_size, cell.sequence_length, cell.num_threads


def _mean_score(results: Results, row: str, engine: str) -> float | None:
    """Return the mean over tasks, or None where one was not scored in this engine."""
    scores = [_score(results, row, task, engine) for task in results.tasks]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _score(results: Results, row: str, task: str, engine: str) -> float | None:
    export = results.exports.get((row, task))
    if engine == "onnx_fp32":
        return export.float32.score if export else None
    if engine == "onnx_int8":
        return export.chosen.score if export else None
    found = results.scores.get((row, task))
    if engine != FIRST_ENGINE or found is None:
        return None  # nobody scores PyTorch in bfloat16
    return found.metrics.get(DEV, {}).get(found.main_metric)


def pareto_front(points: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows no other one beats: none is as good in `score` and better in `ms`.

    Args:
        points: With the columns `ms`, of which less is better, and `score`.
    """
    ordered = points.sort_values(["ms", "score"], ascending=[True, False])
    before = ordered["score"].cummax().shift(fill_value=-float("inf"))
    return (ordered["score"] > before).reindex(points.index)
