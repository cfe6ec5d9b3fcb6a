"""Log the pipeline's parameters, scores and report to MLflow, one run per pipeline state.

python -m stages.track
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from stages import run
from tinybert.outputs import replace_file
from tinybert.results import read_results
from tinybert.settings import PARAMS, profile_file, read_param, read_yaml
from tinybert.tracking import Record, flat, flat_metrics, log_pipeline, origin, pipeline_state
from tinybert.tracking import store_uri as choose_store

REPORTS = Path("reports")
SHOWN = ("tables", "plots", "submission", "index.html")


def track(
    systems: Sequence[str],
    tasks: Sequence[str],
    params: dict[str, str],
    profile: str,
    lock: Path,
    reports: Path,
    store_uri: str,
) -> str:
    """Log what the finished pipeline measured, and write tracking.json.

    Args:
        systems: The systems of this run.
        tasks: The tasks of this run.
        params: Flat settings.
        profile: Name of the profile that ran.
        lock: The path of dvc.lock.
        reports: The folder with what was measured.
        store_uri: An MLflow store or server.

    Returns:
        The id of the run.
    """
    state = pipeline_state(lock, systems, tasks, params)
    record = Record(
        state=state,
        params=params,
        metrics=flat_metrics(read_results(systems, tasks, reports)),
        tags=origin(profile),
        artifacts=[reports / name for name in SHOWN],
    )
    run_id = log_pipeline(record, store_uri)
    # The run's id differs from store to store and would make DVC see a change; the state does not.
    with replace_file(reports / "tracking.json") as file:
        file.write_text(json.dumps({"pipeline_state": state}) + "\n", encoding="utf-8")
    return run_id


def main() -> str:
    """Log the pipeline in the working directory."""
    settings = flat(read_yaml(PARAMS)) | flat(read_yaml(profile_file()), "profile.")
    store = choose_store(os.environ)
    run_id = track(
        read_param("systems", list[str]),
        read_param("tasks", list[str]),
        settings,
        read_param("profile", str),
        Path("dvc.lock"),
        REPORTS,
        store,
    )
    return f"logged run {run_id} in {store}"


if __name__ == "__main__":
    run(main)
