"""The project's experiment and its runs: found, restored where a person deleted them, or made."""

from contextlib import suppress
from typing import Any

from tinybert.tracking.failures import local_file, say

EXPERIMENT = "tinybert"
OWN_TAG = "pipeline"  # = EXPERIMENT: the experiment is found by it where it was renamed
KIND_TAG = "mlflow.experimentKind"
KIND = "custom_model_development"  # "Model training" in MLflow's pages; without it, GenAI
UNDECIDED = ("", "genai_development_inferred", "no_inferred_type")  # what the pages set by guess
DELETED = "deleted"
ARTIFACTS = "mlartifacts"  # the folder of a local store's files
SERVED_ARTIFACTS = "mlflow-artifacts:/tinybert"  # what a server keeps for its clients


def experiment_id(client: Any, *, served: bool = False) -> str:
    """Return the id of the project's experiment; a deleted one is restored, a missing one made.

    Args:
        client: Of MLflow.
        served: Whether other machines will come to the client's store through a server.
    """
    found = client.get_experiment_by_name(EXPERIMENT) or _renamed(client) or _made(client, served)
    if found.lifecycle_stage == DELETED:
        client.restore_experiment(found.experiment_id)
        say(f"the deleted experiment {found.name!r} is restored, with its runs")
    wanted = {OWN_TAG: EXPERIMENT}
    if found.tags.get(KIND_TAG, "") in UNDECIDED:
        wanted[KIND_TAG] = KIND
    for name, value in wanted.items():
        if found.tags.get(name) != value:
            client.set_experiment_tag(found.experiment_id, name, value)
    return str(found.experiment_id)


def _renamed(client: Any) -> Any | None:
    from mlflow.entities import ViewType

    query = f"tags.{OWN_TAG} = '{EXPERIMENT}'"
    found = client.search_experiments(view_type=ViewType.ALL, filter_string=query)
    return min(found, key=lambda each: bool(each.lifecycle_stage == DELETED), default=None)


def _made(client: Any, served: bool) -> Any:
    from mlflow.exceptions import MlflowException

    place = artifacts_beside(client.tracking_uri)
    if place is None and served:  # a database's default is a folder of this machine
        place = SERVED_ARTIFACTS
    with suppress(MlflowException):  # another process was first
        client.create_experiment(EXPERIMENT, artifact_location=place)
    return client.get_experiment_by_name(EXPERIMENT)


def artifacts_beside(uri: str) -> str | None:
    """Return where a local store's files stand; MLflow's default is the working directory."""
    file = local_file(uri)
    return None if file is None else (file.absolute().parent / ARTIFACTS).as_uri()


def find_runs(client: Any, experiment: str, query: str) -> list[Any]:
    """Return the runs that a query matches, deleted ones too, which come last."""
    from mlflow.entities import ViewType

    found = client.search_runs([experiment], query, run_view_type=ViewType.ALL)
    return sorted(found, key=lambda run: bool(run.info.lifecycle_stage == DELETED))


def find_run(client: Any, experiment: str, query: str) -> Any | None:
    """Return the run that a query matches, if there is one; a deleted one is restored."""
    found = find_runs(client, experiment, query)
    return restored(client, found[0]) if found else None


def restored(client: Any, run: Any) -> Any:
    """Return a run, restored if a person deleted it: its state is tracked again."""
    if run.info.lifecycle_stage == DELETED:
        client.restore_run(run.info.run_id)
        say(f"the deleted run {run.info.run_name!r} is restored")
        return client.get_run(run.info.run_id)
    return run


def is_there(client: Any, run_id: str) -> bool:
    """Return whether a run is neither deleted nor gone for good."""
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage != DELETED)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False
