"""The histories that training stages leave as CSV files, and their names in MLflow."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tinybert.core.errors import InputError

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
        return _item(self.names)

    @property
    def phase(self) -> str:
        """The stage and its arguments."""
        return " ".join([self.stage, *self.names.values()])


def read_histories(systems: Sequence[str], tasks: Sequence[str], reports: Path) -> list[History]:
    """Read every training's history; a phase without terms trained nothing and has none."""
    found = []
    for stage, names in _trainings(systems, tasks):
        file = reports / "training" / stage / f"{_item(names)}.csv"
        if file.is_file():
            frame = _read_history(file)
            if len(frame):
                found.append(History(stage, names, frame, content_sha256(file.read_bytes())))
    return found


def _read_history(file: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(file)
        if "step" not in frame:
            raise ValueError(f"columns {', '.join(map(str, frame.columns))} without step")
        return frame.astype(float) if len(frame) else frame
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file}: no training log, got {' '.join(str(error).split())}; delete it and run "
            "`dvc repro`"
        ) from error


def _item(names: Mapping[str, str]) -> str:
    return "-".join(names.values()) or "mlm"


def _trainings(
    systems: Sequence[str], tasks: Sequence[str]
) -> Iterator[tuple[str, dict[str, str]]]:
    for stage, arguments in ARGUMENTS.items():
        for system in systems if "system" in arguments else [""]:
            for task in tasks if "task" in arguments else [""]:
                values = {"system": system, "task": task}
                yield stage, {name: values[name] for name in arguments}


def frame_sha256(history: pd.DataFrame) -> str:
    """Return what `content_sha256` will say of the CSV file."""
    return content_sha256(history.to_csv(index=False).encode())


def content_sha256(content: bytes) -> str:
    """Hash a file's content."""
    return hashlib.sha256(content).hexdigest()


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
