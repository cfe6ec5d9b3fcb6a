"""The MLflow store or server: where it is, that it answers, that one process at a time makes it.

A local store that was moved or copied has its files beside it, wherever they were.
"""

import glob
import os
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from tinybert.runtime.errors import InputError
from tinybert.tracking.experiment import ARTIFACTS, EXPERIMENT, artifacts_beside, experiment_id
from tinybert.tracking.failures import (
    NOT_MLFLOW,
    VARIABLE,
    local_file,
    printable_address,
    require_address,
    say,
    server_line,
    server_place,
    store_errors,
)

PROBE_SECONDS = 3.0
LOCK_SECONDS = 120.0
# MLflow writes whole paths into its tables, and no function of it changes them.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


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
        shown = printable_address(uri)
        raise InputError(f"{VARIABLE}: cannot log to {shown}, got {got}; {NOT_MLFLOW}")
    return client


@contextmanager
def opened(uri: str, *, served: bool = False) -> Iterator[tuple[Any, str]]:
    """Yield MLflow's client and the id of the experiment; what is wrong there gets one line.

    Args:
        uri: An MLflow store or server.
        served: Whether a server stands before the store, for other machines.

    Raises:
        InputError: As of `open_store`, and in the block.
    """
    client = open_store(uri)
    with store_errors(uri):
        yield client, experiment_id(client, served=served)


def create_store(uri: str) -> None:
    """Create a local store that does not exist: two processes at once would corrupt it for good.

    It is made under another name, so that a killed process leaves no half one.
    """
    _be_brief()
    file = local_file(uri)
    if file is None or _has_content(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(uri):
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


def follow_files(uri: str) -> None:
    """Point a local store that was moved or copied to the files beside it, and say so.

    Without it runs would be written to the folder where the store was made. A place that was
    chosen on purpose has another name, or no folder of ours beside the store, and stays.

    Args:
        uri: An MLflow store or server.
    """
    file, here = local_file(uri), artifacts_beside(uri)
    if file is None or here is None:
        return
    with closing(sqlite3.connect(file)) as store, store:
        for old in _elsewhere(store, here):
            if _folder(old).is_dir() and not _folder(here).is_dir():
                cure = f"`cp -r {_folder(old)} {_folder(here)}` gives it files of its own"
                say(f"{file}: its files are not beside it, got {_folder(old)}; {cure}")
            else:
                _rewrite(store, old, here)
                say(f"{file}: was moved or copied; its files are now those in {_folder(here)}")


def _elsewhere(store: sqlite3.Connection, here: str) -> list[str]:
    """Return the folders of our name, but for the one beside the store, by whatever path."""
    found = store.execute("SELECT DISTINCT artifact_location FROM experiments").fetchall()
    ours = [str(place) for (place,) in found if str(place).endswith(f"/{ARTIFACTS}")]
    local = [place for place in ours if place.startswith("file:/")]
    return [place for place in local if _folder(place).resolve() != _folder(here).resolve()]


def _rewrite(store: sqlite3.Connection, old: str, here: str) -> None:
    """Change what is below the old folder, but for what is only there."""
    for table, column in PLACES:
        rows = store.execute(f"SELECT rowid, {column} FROM {table}").fetchall()
        for row, place in rows:
            if place != old and not str(place).startswith(f"{old}/"):
                continue
            new = here + place.removeprefix(old)
            if place == old or _folder(new).exists() or not _folder(place).exists():
                change = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
                store.execute(change, [new, row])


def _folder(place: str) -> Path:
    return Path(unquote(urlsplit(place).path))


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
