"""The MLflow store or server: where it is, that it answers, that one process at a time makes it."""

import glob
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tinybert.errors import InputError

EXPERIMENT = "tinybert"
PROBE_SECONDS = 3.0
LOCK_SECONDS = 120.0


def store_uri(environment: Mapping[str, str]) -> str:
    """Return where to log: MLFLOW_TRACKING_URI, else mlflow.db in the main checkout.

    MLflow's own default hangs on the working directory, which DVC throws away after a queued
    experiment; DVC_ROOT is the main checkout there.
    """
    root = Path(environment.get("DVC_ROOT") or Path.cwd())
    return environment.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.absolute() / 'mlflow.db'}"


def backend_uri(environment: Mapping[str, str]) -> str:
    """Return what a server started here serves: MLFLOW_BACKEND_STORE_URI, else mlflow.db."""
    local = {"DVC_ROOT": environment.get("DVC_ROOT", "")}
    return environment.get("MLFLOW_BACKEND_STORE_URI") or store_uri(local)


def open_store(uri: str, probe_seconds: float = PROBE_SECONDS) -> Any:
    """Return MLflow's client for a store or server; a local store is created first.

    Raises:
        InputError: The tracking server does not answer.
    """
    require_server(uri, probe_seconds)
    create_store(uri)
    from mlflow import MlflowClient

    registry = os.environ.get("MLFLOW_REGISTRY_URI") or uri
    return MlflowClient(tracking_uri=uri, registry_uri=registry)


def create_store(uri: str) -> None:
    """Create a local store that does not exist: two processes at once would corrupt it for good.

    It is made under another name, so that a killed process leaves no half one.
    """
    _be_brief()
    file = _local_file(uri)
    if file is None or file.is_file():
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
        if file.is_file():
            return
        from mlflow import MlflowClient

        partial = file.absolute().with_name(f"{file.name}.{os.getpid()}.partial")
        for left in partial.parent.glob(f"{glob.escape(file.name)}.*.partial*"):
            left.unlink()  # under the lock, so whoever made it was killed
        artifacts = (file.absolute().parent / "mlartifacts").as_uri()
        client = MlflowClient(tracking_uri=f"sqlite:///{partial}")
        client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        partial.replace(file)


def experiment_id(client: Any) -> str:
    """Return the id of the project's experiment, which is created if the server has none."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        with suppress(MlflowException):  # another process was first
            return str(client.create_experiment(EXPERIMENT))
        found = client.get_experiment_by_name(EXPERIMENT)
    return str(found.experiment_id)


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time look for a run and create it, where the store is local."""
    file = _local_file(uri)
    if file is None:
        yield
        return
    from filelock import FileLock

    with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
        yield


def require_server(uri: str, seconds: float = PROBE_SECONDS) -> None:
    """Check that a tracking server listens; MLflow itself would try for more than a minute.

    Raises:
        InputError: It does not.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https"):
        return
    place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(place, timeout=seconds).close()
    except OSError as error:
        raise no_server(uri, error) from error


def no_server(uri: str, error: Exception) -> InputError:
    """Say that a server does not answer, and what to start."""
    return InputError(
        f"MLFLOW_TRACKING_URI: cannot log to {uri}, got {reason_of(error)}; start the server with "
        "`make ui`, or unset the variable to log to mlflow.db"
    )


def reason_of(error: Exception) -> str:
    """Return the start of an error's first line; a failed request's goes on and on."""
    return (str(error).splitlines() or [""])[0][:300] or type(error).__name__


@contextmanager
def server_errors(uri: str) -> Iterator[None]:
    """Turn what goes wrong at a server into one line; on this machine it would be our fault."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if _local_file(uri) is None:
            raise no_server(uri, error) from error
        raise


def milliseconds() -> int:
    """Return the time as MLflow wants it."""
    return int(time.time() * 1000)


def _be_brief() -> None:
    import logging

    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")  # if it is not imported yet
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for name in ("alembic", "mlflow"):  # a line per table while a store is created
        logging.getLogger(name).setLevel(logging.WARNING)


def _local_file(uri: str) -> Path | None:
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
