"""The histories that training stages leave as CSV files, and their curves in MLflow."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.tracking.store import milliseconds

# What a training stage is run for.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "fetch_teacher": (),
    "finetune_teacher": ("task",),
    "general_distill": ("system",),
    "intermediate_distill": ("system", "task"),
    "prediction_distill": ("system", "task"),
}
CURVES = ("learning_rate", "tokens_per_second")
Points = dict[str, list[tuple[int, float]]]  # by metric: step and value


@dataclass(frozen=True)
class History:
    """One training.

    Attributes:
        stage: Its stage.
        names: The system and the task, where the stage has them.
        frame: One row per logged step.
        sha256: Of the CSV file; tells which training made it.
    """

    stage: str
    names: Mapping[str, str]
    frame: pd.DataFrame
    sha256: str

    @property
    def item(self) -> str:
        """What DVC calls the stage's item; `mlm` where the stage has one training only."""
        return _item(self.names.values())

    @property
    def phase(self) -> str:
        """The stage and its arguments."""
        return " ".join([self.stage, *self.names.values()])


def read_histories(systems: Sequence[str], tasks: Sequence[str], reports: Path) -> list[History]:
    """Read every training's history; a phase without terms trained nothing and has none."""
    found, known = [], {"system": systems, "task": tasks}
    for stage, arguments in ARGUMENTS.items():
        for values in itertools.product(*(known[name] for name in arguments)):
            file = reports / "training" / stage / f"{_item(values)}.csv"
            if file.is_file() and len(frame := _read_history(file)):
                names = dict(zip(arguments, values, strict=True))
                sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
                found.append(History(stage, names, frame, sha256))
    return found


def _read_history(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file)
        if "step" not in frame:
            raise ValueError(f"columns {', '.join(map(str, frame.columns))} without step")
        return frame.astype(float) if len(frame) else frame
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: no training log, got {in_one_line(error)}; delete it and run `dvc repro`"
        ) from error


def _item(values: Iterable[str]) -> str:
    return "-".join(values) or "mlm"


def frame_sha256(history: pd.DataFrame) -> str:
    """Return the hash that the CSV file will have."""
    return hashlib.sha256(history.to_csv(index=False).encode()).hexdigest()


def points(history: pd.DataFrame, prefix: str = "") -> Points:
    """Return a history's curves as MLflow names them: `loss/total`, `loss/<term>`, ..."""
    steps = [int(step) for step in history["step"]]
    names = {str(column): metric_name(str(column)) for column in history.columns}
    return {
        f"{prefix}{name}": list(zip(steps, map(float, history[column]), strict=True))
        for column, name in names.items()
        if name is not None
    }


def metric_name(column: str) -> str | None:
    """Name a column as MLflow shall; None for what is no curve.

    The sum is `loss/total`, since a store of files cannot hold `loss` beside `loss/hidden`.
    """
    if column == "loss":
        return "loss/total"
    return column if column.startswith("loss/") or column in CURVES else None


class Curves:
    """The curves of one run.

    Args:
        client: MLflow's.
        run: As MLflow returned it; its steps are asked for when a curve of that name comes.
    """

    def __init__(self, client: Any, run: Any) -> None:
        self.client, self.run_id = client, str(run.info.run_id)
        self._unread = set(run.data.metrics)
        self._steps: dict[str, set[int]] = {}

    def add(self, points: Points) -> None:
        """Log the points whose steps are not there yet."""
        from mlflow.entities import Metric

        now = milliseconds()
        new = []
        for name, curve in points.items():
            known = self._known(name)
            for step, value in curve:
                if step not in known:
                    known.add(step)
                    new.append(Metric(name, value, now, step))
        if new:
            self.client.log_batch(self.run_id, metrics=new)  # which MLflow cuts into calls

    def _known(self, name: str) -> set[int]:
        if name in self._unread:
            self._unread.remove(name)
            found = self.client.get_metric_history(self.run_id, name)
            self._steps[name] = {metric.step for metric in found}
        return self._steps.setdefault(name, set())


def changed(run: Any, figures: Mapping[str, float]) -> list[Any]:
    """Return as MLflow's metrics the figures that a run has not, or has with another value."""
    from mlflow.entities import Metric

    now, known = milliseconds(), run.data.metrics
    return [Metric(k, v, now, 0) for k, v in figures.items() if known.get(k) != v]
