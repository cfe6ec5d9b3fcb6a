"""Log parameters, scores, curves, models and report to MLflow, one run per pipeline state.

python -m stages.track
python -m stages.track store    # only creates the store that a server started here will serve
python -m stages.track compare loss.attn_weight    # shows the runs that differ in it alone
"""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from stages import run
from tinybert.reports.results import read_results
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.settings.reader import read_param, read_yaml
from tinybert.tracking.children import records_folder
from tinybert.tracking.compare import compare
from tinybert.tracking.display import (
    NOTE_TAG,
    description,
    score_metrics,
    scores_page,
    server_of,
    source_tags,
    task_data,
)
from tinybert.tracking.failures import printable_address, require_address
from tinybert.tracking.histories import read_histories
from tinybert.tracking.pipeline import log_pipeline
from tinybert.tracking.record import (
    Record,
    all_settings,
    flat_metrics,
    origin,
    pipeline_state,
    run_name,
)
from tinybert.tracking.registry import find_models
from tinybert.tracking.store import backend_uri, opened
from tinybert.tracking.store import store_uri as choose_store

SHOWN = ("tables", "plots", "submission", "index.html")


def track(
    systems: Sequence[str],
    tasks: Sequence[str],
    params: dict[str, str],
    profile: str,
    folder: Path,
    store_uri: str,
) -> str:
    """Log what the finished pipeline measured, and write reports/tracking.json.

    Args:
        systems: The systems of this run.
        tasks: The tasks of this run.
        params: Flat settings.
        profile: Name of the profile that ran.
        folder: The project's folder, with dvc.lock, reports, models and data.
        store_uri: An MLflow store or server.

    Returns:
        The id of the run.
    """
    reports = folder / "reports"
    results = read_results(systems, tasks, reports)
    name = run_name(profile, systems, tasks, params, folder)
    tags = origin(profile, folder)
    record = Record(
        state=pipeline_state(folder / "dvc.lock", systems, tasks, params),
        name=name,
        params=params,
        metrics=flat_metrics(results),
        tags={
            **tags,
            **source_tags(tags["git_commit"]),
            NOTE_TAG: description(name, reports / "tables"),
        },
        artifacts=[reports / name for name in SHOWN],
        histories=read_histories(systems, tasks, reports),
        models=find_models(results, folder),
        data=task_data(tasks, folder),
        shown=score_metrics(results),
    )
    run_id = log_pipeline(record, store_uri, records_folder(os.environ))
    # The run's id differs from store to store and would make DVC see a change; the state does not.
    with replace_file(reports / "tracking.json") as file:
        file.write_text(json.dumps({"pipeline_state": record.state}) + "\n", encoding="utf-8")
    return run_id


def print_comparison(found: pd.DataFrame, page: str) -> None:
    """Print what `compare` returns, one row a figure, one column a value."""
    console = Console(highlight=False, markup=False, emoji=False)
    table = Table("system and figure", *map(str, found.index), box=box.SIMPLE_HEAD)
    for figure, values in found.items():
        cells = ("-" if math.isnan(value) else f"{value:.3f}" for value in values)
        table.add_row(str(figure), *cells)
    console.print(f"runs that differ in {found.index.name} alone", table, sep="\n")
    print(f"in MLflow (`make ui`): {page}")


def main(action: str = "", key: str = "") -> str:
    """Log the pipeline in the working directory, create the store alone, or compare runs."""
    if action not in ("", "store", "compare"):
        raise InputError(f"argument: unknown, got {action!r}; known: store, compare")
    if action == "store":
        uri = backend_uri(os.environ)
        require_address(uri, "MLFLOW_BACKEND_STORE_URI")
        with opened(uri, served=True) as (_, experiment):
            page = scores_page(server_of(""), experiment)
        return f"the store is {printable_address(uri)}, its scores will be at {page}"
    if action == "compare":
        found, page = compare(choose_store(os.environ), key)
        print_comparison(found, page)
        return f"compared {len(found)} runs"
    systems, tasks = read_param("systems", list[str]), read_param("tasks", list[str])
    profile, store = read_param("profile", str), choose_store(os.environ)
    settings = all_settings(profile, systems, tasks, read_yaml)
    run_id = track(systems, tasks, settings, profile, Path(), store)
    return f"logged run {run_id} in {printable_address(store)}"


if __name__ == "__main__":
    run(main)
