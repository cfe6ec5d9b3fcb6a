"""The MLflow store or server: where it is, that it answers, that one process at a time makes it."""

import glob
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tinybert.core.errors import InputError
from tinybert.tracking.experiment import EXPERIMENT, artifacts_beside
from tinybert.tracking.failures import (
    NOT_MLFLOW,
    VARIABLE,
    local_file,
    require_address,
    server_line,
    server_place,
    store_errors,
)
from tinybert.tracking.moved import follow_files

PROBE_SECONDS = 3.0
LOCK_SECONDS = 120.0


def store_uri(environment: Mapping[str, str]) -> str:
    """Return where to log: MLFLOW_TRACKING_URI, else mlflow.db in the main checkout.

    MLflow's own default hangs on the working directory, which DVC throws away after a queued
    experiment; DVC_ROOT is the main checkout there.
    """
    root = Path(environment.get("DVC_ROOT") or Path.cwd()).absolute()
    uri = environment.get(VARIABLE, "").strip() or "sqlite:///mlflow.db"
    file = local_file(uri)
    if file is None or file.is_absolute() or file.name in ("", ":memory:"):
        return uri
    return f"sqlite:///{root / file}"


def backend_uri(environment: Mapping[str, str]) -> str:
    """Return what a server started here serves: MLFLOW_BACKEND_STORE_URI, else mlflow.db."""
    local = {"DVC_ROOT": environment.get("DVC_ROOT", "")}
    return environment.get("MLFLOW_BACKEND_STORE_URI") or store_uri(local)


def open_store(uri: str, probe_seconds: float = PROBE_SECONDS) -> Any:
    """Return MLflow's client for a store or server; a local store is created first.

    Raises:
        InputError: The tracking server does not answer, or the store cannot be used.
    """
    require_server(uri, probe_seconds)
    with store_errors(uri):
        create_store(uri)
        from mlflow import MlflowClient

        registry = os.environ.get("MLFLOW_REGISTRY_URI") or uri
        client = MlflowClient(tracking_uri=uri, registry_uri=registry)
        found = client.get_experiment_by_name(EXPERIMENT)  # or the store would be opened later
        follow_files(uri)
    if found is not None and found.name != EXPERIMENT:
        got = "an answer without an experiment"
        raise InputError(f"{VARIABLE}: cannot log to {uri}, got {got}; {NOT_MLFLOW}")
    return client


def create_store(uri: str) -> None:
    """Create a local store that does not exist: two processes at once would corrupt it for good.

    It is made under another name, so that a killed process leaves no half one.
    """
    _be_brief()
    file = local_file(uri)
    if file is None or _has_content(file):
        return
    from filelock import FileLock

    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
        if _has_content(file):
            return
        from mlflow import MlflowClient

        partial = file.absolute().with_name(f"{file.name}.{os.getpid()}.partial")
        for left in partial.parent.glob(f"{glob.escape(file.name)}.*.partial*"):
            left.unlink()  # under the lock, so whoever made it was killed
        client = MlflowClient(tracking_uri=f"sqlite:///{partial}")
        client.create_experiment(EXPERIMENT, artifact_location=artifacts_beside(uri))
        partial.replace(file)


def _has_content(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0  # `touch` makes an empty one


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Let one process at a time look for a run and create it, where the store is local."""
    file = local_file(uri)
    if file is None:
        yield
        return
    from filelock import FileLock

    with FileLock(f"{file}.lock", timeout=LOCK_SECONDS):
        yield


def require_server(uri: str, seconds: float = PROBE_SECONDS) -> None:
    """Check that a tracking server listens; MLflow itself would try for more than a minute.

    Raises:
        InputError: It does not, or the URI is none.
    """
    require_address(uri)
    place = server_place(uri)
    if place is None:
        return
    try:
        socket.create_connection(place, timeout=seconds).close()
    except OSError as error:
        raise InputError(server_line(uri, error)) from error


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
