"""Read what a student's closed-form start left unexplained, and its score before any step."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, Field

from tinybert.reports.results import dev_columns
from tinybert.settings.reader import read_json

CLOSED_FORM = "closed_form"
ALONE = ", closed form alone"  # after the system's name: its score before any step


class Fit(BaseModel):
    """A fitted map of a layer, with the unexplained share of its targets' sum of squares."""

    layer: int
    map: str
    unexplained: float = Field(ge=0, allow_inf_nan=False)


class Start(BaseModel):
    """reports/start/<system>-<task>.json; one that was not fitted has `start` alone."""

    start: str
    score: dict[str, float] = {}
    maps: list[Fit] = []
    layers: list[int] = []  # the teacher's layers that the student's stand for
    num_rows: int | None = None
    num_tokens: int | None = None
    seconds: float | None = None

    @property
    def shares(self) -> tuple[list[str], list[list[object]]]:
        """The unexplained shares as heads and rows, a row per map and a column per layer."""
        layers = sorted({fit.layer for fit in self.maps})
        known = {(fit.map, fit.layer): f"{100 * fit.unexplained:.1f}%" for fit in self.maps}
        names = dict.fromkeys(fit.map for fit in self.maps)
        heads = ["map", *(f"layer {layer}" for layer in layers)]
        return heads, [
            [name, *(known.get((name, layer), "") for layer in layers)] for name in names
        ]


def read_starts(
    folder: Path, systems: Sequence[str], tasks: Sequence[str]
) -> dict[tuple[str, str], Start]:
    """Read the closed-form starts by system and task; one that does not exist is left out.

    Raises:
        InputError: A file is damaged.
    """
    found = {}
    for system in systems:
        for task in tasks:
            file = folder / f"{system}-{task}.json"
            if file.is_file():
                start: Start = read_json(file, Start, "dvc repro intermediate_distill")
                if start.start == CLOSED_FORM:
                    found[system, task] = start
    return found


def with_starts(table: pd.DataFrame, starts: Mapping[tuple[str, str], Start]) -> pd.DataFrame:
    """Put a row below each system that started in closed form: its dev scores before any step.

    Args:
        table: `results.build_table` of what was measured.
        starts: Of `read_starts`.
    """
    alone = list(dict.fromkeys(system + ALONE for system, _ in starts))
    rows = [name for row in table.index for name in (row, row + ALONE)]
    known = [name for name in rows if name in alone or name in table.index]
    shown: pd.DataFrame = table.reindex(pd.Index(known, name="system"))
    dev, best = dev_columns(table), float(table["average"].iloc[0])
    for (system, task), start in starts.items():
        for metric, score in start.score.items():
            if (column := f"{task}/dev/{metric}") in dev:
                shown.loc[system + ALONE, column] = score
    average = shown.loc[alone, dev].mean(axis=1, skipna=False)
    shown.loc[alone, "average"] = average
    shown.loc[alone, "share_of_teacher"] = average / best if best > 0 else math.nan
    return shown
