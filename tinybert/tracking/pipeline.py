"""Write the run of a pipeline state: settings, figures, curves, report, trainings, models."""

from pathlib import Path
from typing import Any

from tinybert.tracking.children import adopt
from tinybert.tracking.display import HEADING, NOTE_TAG, STATE_TAG, log_data, save_view
from tinybert.tracking.experiment import find_run
from tinybert.tracking.histories import Curves, changed, points
from tinybert.tracking.record import Record
from tinybert.tracking.registry import register
from tinybert.tracking.store import one_at_a_time, opened


def log_pipeline(record: Record, uri: str, records: Path) -> str:
    """Log a pipeline, or update its run if this state was logged before.

    Args:
        record: What to log.
        uri: An MLflow store or server.
        records: Of `children.records_folder`.

    Returns:
        The run's id.

    Raises:
        InputError: The store cannot be used.
    """
    with opened(uri) as (client, experiment):
        with one_at_a_time(uri):
            run = find_state(client, experiment, record.state) or client.create_run(
                experiment, run_name=record.name, tags={STATE_TAG: record.state}
            )
        run_id = str(run.info.run_id)
        _log_values(client, run, record)
        log_data(client, run_id, record.data)
        save_view(client, experiment, record.shown)
        curves = Curves(client, run)
        for history in record.histories:
            curves.add(points(history.frame, f"{history.stage}/{history.item}/"))
        with one_at_a_time(uri):  # or two pipelines would adopt one training
            for history in record.histories:
                adopt(client, experiment, run_id, history, record, records)
        for path in record.artifacts:
            if path.is_dir():
                client.log_artifacts(run_id, str(path), path.name)
            elif path.is_file():
                client.log_artifact(run_id, str(path))
        register(client, run_id, record.models)
        client.set_terminated(run_id)
    return run_id


def find_state(client: Any, experiment: str, state: str) -> Any | None:
    """Return the run of a pipeline state, if it was logged; a deleted one is restored."""
    return find_run(client, experiment, f"tags.{STATE_TAG} = '{state}'")


def _log_values(client: Any, run: Any, record: Record) -> None:
    from mlflow.entities import Param, RunTag

    params = [Param(name, value) for name, value in record.params.items()]
    ours = (run.data.tags.get(NOTE_TAG) or HEADING).startswith(HEADING)
    shown = {name: value for name, value in record.tags.items() if name != NOTE_TAG or ours}
    tags = [RunTag(name, value) for name, value in shown.items()]
    client.log_batch(run.info.run_id, changed(run, record.metrics), params, tags)
