"""Trainings as child runs: found, completed from the CSV files, and put under a pipeline's run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinybert.runtime.outputs import replace_file
from tinybert.tracking.display import log_data, source_tags
from tinybert.tracking.experiment import find_run, find_runs, is_there, restored
from tinybert.tracking.histories import Curves, History, points
from tinybert.tracking.record import Record

PARENT_TAG = "mlflow.parentRunId"
HISTORY_TAG = "history"
TRAINING_TAG = "training_id"
FINISHED = "FINISHED"


def records_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder with one record per finished training, beside the checkpoints."""
    return Path(environment.get("DVC_ROOT") or ".") / "checkpoints/tracking"


def write_record(folder: Path, sha256: str, training_id: str) -> None:
    """Remember which training made a history: its child run may lack the tag that says so."""
    with replace_file(folder / f"{sha256}.json") as file:
        file.write_text(json.dumps({TRAINING_TAG: training_id}) + "\n", encoding="utf-8")


def find_training(client: Any, experiment: str, stage: str, training_id: str) -> Any | None:
    """Return the child run of a training, which may have been cut off, or deleted."""
    query = f"tags.{TRAINING_TAG} = '{training_id}' and tags.stage = '{stage}'"
    return find_run(client, experiment, query)


def adopt(
    client: Any,
    experiment: str,
    parent: str,
    history: History,
    record: Record,
    records: Path,
) -> None:
    """See to it that a training is one complete child run of the first pipeline run that had it.

    A child run of another pipeline run stays there, unless that one is gone; this one's tag
    `shared/<stage>/<item>` names it.

    Args:
        client: MLflow's.
        experiment: Id of the experiment.
        parent: Id of the pipeline's run.
        history: The training.
        record: The pipeline's, which says what it trained on and where it comes from.
        records: Of `records_folder`.
    """
    run = _find(client, experiment, parent, history, records)
    tags = {"stage": history.stage, **history.names, HISTORY_TAG: history.sha256}
    if run is None:
        tags |= {"profile": record.tags["profile"], PARENT_TAG: parent}
        run = client.create_run(experiment, run_name=history.phase, tags=tags)
    Curves(client, run).add(points(history.frame))
    run_id = str(run.info.run_id)
    others = run.data.tags.get(PARENT_TAG, parent)
    if others != parent and not is_there(client, others):
        others = parent
    if others != parent:
        client.set_tag(parent, f"shared/{history.stage}/{history.item}", run_id)
    source = source_tags(record.tags["git_commit"], history.stage)
    missing = {name: value for name, value in source.items() if name not in run.data.tags}
    for name, value in {**missing, **tags, PARENT_TAG: others}.items():
        if run.data.tags.get(name) != value:
            client.set_tag(run_id, name, value)
    log_data(
        client, run_id, [each for each in record.data if each.task == history.names.get("task")]
    )
    if run.info.status != FINISHED:
        client.set_terminated(run_id)


def _find(client: Any, experiment: str, parent: str, history: History, records: Path) -> Any | None:
    """Return the training's run: this pipeline's, else nobody's, else another pipeline's."""
    same = f"tags.{HISTORY_TAG} = '{history.sha256}' and tags.stage = '{history.stage}'"
    found = [
        run
        for run in find_runs(client, experiment, same)
        if all(run.data.tags.get(name) == value for name, value in history.names.items())
    ]
    partial = _recorded(client, experiment, history, records)
    if partial is not None and partial.info.run_id not in {run.info.run_id for run in found}:
        found.append(partial)
    order = {parent: 0, "": 1}
    best = min(found, key=lambda run: order.get(run.data.tags.get(PARENT_TAG, ""), 2), default=None)
    return None if best is None else restored(client, best)


def _recorded(client: Any, experiment: str, history: History, records: Path) -> Any | None:
    file = records / f"{history.sha256}.json"
    if not file.is_file():
        return None
    training_id = json.loads(file.read_text(encoding="utf-8"))[TRAINING_TAG]
    return find_training(client, experiment, history.stage, training_id)
