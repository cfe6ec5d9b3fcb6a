"""Mark the runs of ablations, so that MLflow shows the same table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinybert.reports.ablation import FULL, PAPER
from tinybert.runtime.errors import InputError
from tinybert.tracking.compare import comparison_page
from tinybert.tracking.failures import printable_address, say
from tinybert.tracking.histories import changed
from tinybert.tracking.pipeline import find_state
from tinybert.tracking.store import opened

TAG = "ablation/"  # and the group: the names of the ablations that a state is in that group
FIGURES = {"average": "ablation/average", "difference": "ablation/difference"}
LOGGED = "for each, `dvc exp apply NAME` (names: `dvc exp list`) and `dvc repro -fs track` log it"


@dataclass(frozen=True)
class Marked:
    """An ablation that has run.

    Attributes:
        name: Its name.
        groups: The groups it belongs to.
        state: Of `record.pipeline_state`.
        figures: Its row of the table.
    """

    name: str
    groups: Sequence[str]
    state: str
    figures: Mapping[str, float]


def mark_ablations(uri: str, marked: Sequence[Marked], files: Sequence[Path]) -> str:
    """Tag the ablations' runs, log their figures, and put the table's files at the run of `full`.

    Tags name what a state is: `ablation/<group>` = `<name>`; a state that several names lead to
    has them all. Doing it again changes nothing.

    Args:
        uri: An MLflow store or server.
        marked: The ablations, in the table's order.
        files: The table's files.

    Returns:
        Address of MLflow's page that compares the runs.

    Raises:
        InputError: No run is there, or the server does not answer.
    """
    with opened(uri) as (client, experiment):
        runs: dict[str, Any] = {}
        for each in marked:
            run: Any = runs.get(each.state) or find_state(client, experiment, each.state)
            if run is not None:
                runs[each.state] = run
        without = ", ".join(each.name for each in marked if each.state not in runs)
        if without:
            place = printable_address(uri)
            line = f"{place}: no run of these ablations, got none of {without}; {LOGGED}"
            if not runs:
                raise InputError(line)
            say(line)
        for state, run in runs.items():
            _mark(client, run, [each for each in marked if each.state == state])
        for run in (runs.get(each.state) for each in marked if each.name == FULL):
            for file in files if run is not None else ():
                client.log_artifact(run.info.run_id, str(file), "ablation")
    return comparison_page(uri, experiment, list(runs.values()))


def _mark(client: Any, run: Any, names: Sequence[Marked]) -> None:
    from mlflow.entities import RunTag

    tags: dict[str, list[str]] = {}
    for each in names:
        for group in each.groups:
            tags.setdefault(TAG + group, []).append(each.name)
    logged = {
        FIGURES.get(name, name): value
        for name, value in names[0].figures.items()
        if (name in FIGURES or name.startswith(PAPER)) and not math.isnan(value)
    }
    named = [RunTag(name, ", ".join(found)) for name, found in tags.items()]
    client.log_batch(run.info.run_id, changed(run, logged), tags=named)
