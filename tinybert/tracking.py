"""Log a finished pipeline to MLflow: one run per state of the pipeline.

This is the one file that imports mlflow. A stage that DVC restores from its cache logs nothing, so
nothing is logged while stages run: the last stage logs what their files say.
"""

import hashlib
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinybert.errors import InputError
from tinybert.results import Results, build_table
from tinybert.settings import read_yaml

EXPERIMENT = "tinybert"
STATE_TAG = "pipeline_state"
# What they read are results, with measured milliseconds among them; the state is what made these.
SHOWING = ("report", "track")
COSTS = ("parameters", "gflops", "size_mb", "speedup", "average", "share_of_teacher")
PROBE_SECONDS = 3.0
LOCK_SECONDS = 120.0
BATCH = 100  # parameters; an MLflow server takes no more at once


@dataclass(frozen=True)
class Record:
    """What is logged of a pipeline.

    Args:
        state: Of `pipeline_state`.
        params: Flat settings.
        metrics: Flat figures.
        tags: Where it comes from.
        artifacts: Files and folders of the report; one that does not exist is left out.
    """

    state: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Sequence[Path]


def pipeline_state(
    lock: Path, systems: Sequence[str], tasks: Sequence[str], params: Mapping[str, str]
) -> str:
    """Hash the dependencies and parameters of every stage that made the results.

    Args:
        lock: The path of dvc.lock.
        systems: The systems of this run; dvc.lock remembers others too, which do not count.
        tasks: The tasks of this run, likewise.
        params: What is logged: MLflow never changes a run's parameters, so other ones are
            another state.

    Raises:
        InputError: There is no dvc.lock.
    """
    if not lock.is_file():
        raise InputError(f"{lock}: is missing, got no finished pipeline; run `dvc repro`")
    items = {*systems, *tasks, *(f"{system}-{task}" for system in systems for task in tasks)}
    stages = {}
    for name, stage in read_yaml(lock).get("stages", {}).items():
        stage_name, _, item = name.partition("@")
        if stage_name not in SHOWING and (not item or item in items):
            deps = sorted(
                (str(dep["path"]), str(dep.get("md5", dep))) for dep in stage.get("deps", [])
            )
            stages[name] = {"deps": deps, "params": stage.get("params", {})}
    text = json.dumps([stages, dict(params)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings: {"loss": {"attn_weight": 1.0}} gives {"loss.attn_weight": "1.0"}."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def flat_metrics(results: Results) -> dict[str, float]:
    """Return `<system>/<task>/<split>/<metric>` and `<system>/<cost>` for all that was measured."""
    found = {
        f"{system}/{task}/{split}/{metric}": value
        for (system, task), scores in results.scores.items()
        for split, metrics in scores.metrics.items()
        for metric, value in metrics.items()
    }
    table = build_table(results)
    for cost in COSTS:
        found |= {f"{row}/{cost}": float(value) for row, value in table[cost].dropna().items()}
    return found


def origin(profile: str) -> dict[str, str]:
    """Say where a run comes from: profile, git commit, and DVC's experiment if there is one."""
    tags = {"profile": profile, "git_commit": _git_commit()}
    experiment = os.environ.get("DVC_EXP_NAME")
    return tags | ({"dvc_experiment": experiment} if experiment else {})


def _git_commit() -> str:
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def store_uri(environment: Mapping[str, str]) -> str:
    """Return where to log: MLFLOW_TRACKING_URI, else mlflow.db in the main checkout.

    MLflow's own default hangs on the working directory, which DVC throws away after a queued
    experiment; DVC_ROOT is the main checkout there.
    """
    root = Path(environment.get("DVC_ROOT") or Path.cwd())
    return environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


def log_pipeline(record: Record, uri: str) -> str:
    """Log a pipeline, or update its run if this state was logged before.

    Returns:
        The run's id.

    Raises:
        InputError: The tracking server does not answer.
    """
    require_server(uri)
    _be_brief()
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    with _server_errors(uri):
        client = mlflow.MlflowClient(tracking_uri=uri)
        with _creation_lock(uri):
            run = _find_or_create_run(client, record.state, uri)
        run_id = str(run.info.run_id)
        known = run.data.metrics
        now = int(time.time() * 1000)
        metrics = [Metric(k, v, now, 0) for k, v in record.metrics.items() if known.get(k) != v]
        params = [Param(name, value) for name, value in record.params.items()]
        client.log_batch(run_id, tags=[RunTag(k, v) for k, v in record.tags.items()])
        for start in range(0, max(len(metrics), len(params)), BATCH):
            part = slice(start, start + BATCH)
            client.log_batch(run_id, metrics=metrics[part], params=params[part])
        for path in record.artifacts:
            if path.is_dir():
                client.log_artifacts(run_id, str(path), path.name)
            elif path.is_file():
                client.log_artifact(run_id, str(path))
        client.set_terminated(run_id)
    return run_id


def require_server(uri: str) -> None:
    """Check that a tracking server listens; MLflow itself would try for more than a minute.

    Raises:
        InputError: It does not.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(place, timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise _no_server(uri, error) from error


def _no_server(uri: str, error: Exception) -> InputError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return InputError(
        f"MLFLOW_TRACKING_URI: cannot log to {uri}, got {reason}; start the server with "
        "`make ui`, or unset the variable to log to mlflow.db"
    )


@contextmanager
def _server_errors(uri: str) -> Iterator[None]:
    """Turn what goes wrong at a server into one line; on this machine it would be our fault."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if _local_file(uri) is None:
            raise _no_server(uri, error) from error
        raise


def _be_brief() -> None:
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for name in ("alembic", "mlflow"):  # a line per table while a store is created
        logging.getLogger(name).setLevel(logging.WARNING)


def _creation_lock(uri: str) -> Any:
    """Let one process at a time create a local store: two at once corrupt it for good."""
    file = _local_file(uri)
    if file is None:
        return nullcontext()
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(f"{file}.lock", timeout=LOCK_SECONDS)


def _local_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


def _find_or_create_run(client: Any, state: str, uri: str) -> Any:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    file = _local_file(uri)
    if experiment is not None:
        experiment_id = experiment.experiment_id
    else:
        artifacts = None if file is None else (file.absolute().parent / "mlartifacts").as_uri()
        experiment_id = client.create_experiment(EXPERIMENT, artifact_location=artifacts)
    found = client.search_runs([experiment_id], f"tags.{STATE_TAG} = '{state}'", max_results=1)
    if found:
        return found[0]
    return client.create_run(experiment_id, run_name=state[:12], tags={STATE_TAG: state})
