"""Log parameters, scores, curves, models and report to MLflow, one run per pipeline state.

python -m stages.track
python -m stages.track store    # only creates the store that a server started here will serve
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from stages import run
from tinybert.errors import InputError
from tinybert.outputs import replace_file
from tinybert.results import read_results
from tinybert.settings import PARAMS, profile_file, read_param, read_yaml
from tinybert.tracking.children import records_folder
from tinybert.tracking.histories import read_histories
from tinybert.tracking.models import find_models
from tinybert.tracking.pipeline import log_pipeline
from tinybert.tracking.record import (
    PROFILE,
    Record,
    flat,
    flat_metrics,
    origin,
    pipeline_state,
    run_name,
)
from tinybert.tracking.store import backend_uri, create_store
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
    record = Record(
        state=pipeline_state(folder / "dvc.lock", systems, tasks, params),
        name=run_name(profile, params, folder),
        params=params,
        metrics=flat_metrics(results),
        tags=origin(profile, folder),
        artifacts=[reports / name for name in SHOWN],
        histories=read_histories(systems, tasks, reports),
        models=find_models(results, folder),
    )
    run_id = log_pipeline(record, store_uri, records_folder(os.environ))
    # The run's id differs from store to store and would make DVC see a change; the state does not.
    with replace_file(reports / "tracking.json") as file:
        file.write_text(json.dumps({"pipeline_state": record.state}) + "\n", encoding="utf-8")
    return run_id


def main(action: str = "") -> str:
    """Log the pipeline in the working directory, or with `store` create the store alone."""
    if action not in ("", "store"):
        raise InputError(f"argument: unknown, got {action!r}; known: store")
    if action == "store":
        create_store(backend_uri(os.environ))
        return f"the store is {backend_uri(os.environ)}"
    settings = flat(read_yaml(PARAMS)) | flat(read_yaml(profile_file()), PROFILE)
    store = choose_store(os.environ)
    run_id = track(
        read_param("systems", list[str]),
        read_param("tasks", list[str]),
        settings,
        read_param("profile", str),
        Path(),
        store,
    )
    return f"logged run {run_id} in {store}"


if __name__ == "__main__":
    run(main)
