"""What can be wrong with a tracking store that nobody's code is to blame for, in one line each."""

import errno
import re
import sqlite3
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from tinybert.runtime.errors import InputError

VARIABLE = "MLFLOW_TRACKING_URI"
RIGHT = (
    "right are http://host:5000, sqlite:////folder/mlflow.db, postgresql://user@host/name, "
    "or no value for mlflow.db in this folder"
)
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# By what sqlite says: what it means, and what mends it. {file} is the store.
SQLITE = (
    ("locked", "is locked by another process", "end what holds it (`fuser {file}` names it)"),
    ("is full", "cannot be written", "make room on its disk"),
    ("readonly", "cannot be written", "make it and its folder writable"),
    ("unable to open", "cannot be opened", "make it and its folder writable"),
    ("disk I/O", "cannot be written", "make room on its disk and see that it is writable"),
)
NOT_MLFLOW = "is that an MLflow server, of version 3 or newer? `make ui` starts one"
DAMAGED = "is no database of MLflow, or a damaged one"
AWAY = "`mv {file} {file}.broken` moves it away, and a new one is made"
ON_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
GONE = ("RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


def require_address(uri: str, variable: str = VARIABLE) -> None:
    """Check that a URI is one that MLflow logs to; MLflow takes much else for a folder's name.

    Args:
        uri: An MLflow store or server.
        variable: The environment variable that named it.

    Raises:
        InputError: It is not.
    """
    if not _is_address(uri):
        got = printable_address(uri)
        raise InputError(f"{variable}: is no address of an MLflow store, got {got!r}; {RIGHT}")


def printable_address(uri: str) -> str:
    """Return an address without the password in it: what is printed is logged and shown."""
    return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", uri)


def _is_address(uri: str) -> bool:
    scheme, colon, rest = uri.partition(":")
    if scheme in ("http", "https"):
        try:
            return rest.startswith("//") and bool(urlsplit(uri).hostname) and _port(uri) >= 0
        except ValueError:  # a port that is no number
            return False
    if scheme == "sqlite":
        file = local_file(uri)
        return file is not None and file.name not in ("", ":memory:") and not file.is_dir()
    if scheme == "databricks":
        return not colon or rest.startswith("//")
    return scheme.partition("+")[0] in DATABASES and rest.startswith("//")


def _port(uri: str) -> int:
    parts = urlsplit(uri)
    return parts.port or (443 if parts.scheme == "https" else 80)


def server_place(uri: str) -> tuple[str, int] | None:
    """Return a tracking server's host and port; None for a store without server."""
    parts = urlsplit(uri)
    return (parts.hostname or "", _port(uri)) if parts.scheme in ("http", "https") else None


def local_file(uri: str) -> Path | None:
    """Return the file of a local store."""
    return Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None


@contextmanager
def store_errors(uri: str) -> Iterator[None]:
    """Turn what is wrong with a store or server into one line; what is wrong here crashes."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        line = explain(uri, error)
        if line is None:
            raise
        raise InputError(line) from error


def explain(uri: str, error: Exception) -> str | None:
    """Say in one line what is wrong with a store and what mends it; None if the code is wrong."""
    file, uri = local_file(uri), printable_address(uri)
    if isinstance(error, ModuleNotFoundError):
        reason = f"cannot be used, got no Python package {error.name!r}"
        return f"{VARIABLE}: {uri} {reason}; install it, or {RIGHT}"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return None  # the stage has a line of its own for a full disk
    line = _lock_line(error) or _disk_line(error)
    if line is None:
        line = _remote_line(uri, error) if file is None else _local_line(file, error)
    return line or _changed_line(error)


def _lock_line(error: Exception) -> str | None:
    from filelock import Timeout

    if not isinstance(error, Timeout):
        return None
    cure = f"end what holds it (`fuser {error.lock_file}` names it) and run this again"
    return f"{error.lock_file}: another process has held it for two minutes, got no turn; {cure}"


def _disk_line(error: Exception) -> str | None:
    if not isinstance(error, OSError) or error.errno not in ON_DISK or error.filename is None:
        return None
    cure = f"make it writable, or set {VARIABLE} to another store"
    return f"{error.filename}: MLflow's files cannot be written, got {error.strerror}; {cure}"


def _local_line(file: Path, error: Exception) -> str | None:
    text = str(error)
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return _schema_line(file, text)
    said = next((each for each in _chain(error) if isinstance(each, sqlite3.DatabaseError)), None)
    if said is None and _is_no_text(error):
        return f"{file}: {DAMAGED}, got text that is no UTF-8; {AWAY.format(file=file)}"
    ours = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError)
    if said is None or isinstance(said, ours):
        return None
    for sign, meaning, cure in SQLITE:
        if sign in str(said):
            cure = cure.format(file=file) + f", or set {VARIABLE} to another store"
            return f"{file}: {meaning}, got {said}; {cure}, and run this again"
    return f"{file}: {DAMAGED}, got {said}; {AWAY.format(file=file)}"


def _is_no_text(error: Exception) -> bool:
    """Return whether what sqlite read for sqlalchemy is no text."""
    frames = traceback.extract_tb(error.__traceback__)
    in_sqlalchemy = bool(frames) and "sqlalchemy" in Path(frames[-1].filename).parts
    return isinstance(error, UnicodeDecodeError) and in_sqlalchemy


def _schema_line(file: Path, text: str) -> str:
    from mlflow import __file__ as package
    from mlflow import __version__ as installed

    made = _revision(file)
    versions = Path(package).parent / "store/db_migrations/versions"
    if made and any(versions.glob(f"{made}_*.py")):
        place = f"{file}: was made by an older MLflow, got schema {made}"
        return f"{place}; `cp {file} {file}.old && mlflow db upgrade sqlite:///{file}` mends it"
    place = f"{file}: was made by another MLflow than {installed}, got schema {made or text[:80]}"
    return f"{place}; install the newer one, or {AWAY.format(file=file)}"


def _revision(file: Path) -> str:
    try:
        with sqlite3.connect(file.absolute().as_uri() + "?mode=ro", uri=True) as connection:
            (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return str(revision)
    except (sqlite3.Error, TypeError):
        return ""


def _remote_line(uri: str, error: Exception) -> str | None:
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import ArgumentError, DBAPIError

    if isinstance(error, ArgumentError):
        return f"{VARIABLE}: is no address of an MLflow store, got {uri!r}; {RIGHT}"
    if not isinstance(error, MlflowException | RequestException | DBAPIError):
        return None
    if server_place(uri) is None:
        cure = "see that it answers and that its credentials are set, or " + RIGHT
        return f"{VARIABLE}: cannot log to {uri}, got {reason_of(error)}; {cure}"
    return server_line(uri, error)


def server_line(uri: str, error: Exception) -> str:
    """Say what a server's answer means, or that there is none, and what mends it."""
    uri, said = printable_address(uri), reason_of(error)
    cures = {
        "error code 401": "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or _TOKEN)",
        "error code 403": "ask for write access, or set MLFLOW_TRACKING_USERNAME to one who has it",
        "error code 404": NOT_MLFLOW,
        "valid JSON": NOT_MLFLOW,
        "too many 5": "see the server's log",
        "error code 5": "see the server's log",
    }
    start = "start the server with `make ui`"
    cure = next((cure for sign, cure in cures.items() if sign in said), start)
    cure += ", or unset the variable to log to mlflow.db"
    return f"{VARIABLE}: cannot log to {uri}, got {said}; {cure}"


def _changed_line(error: Exception) -> str | None:
    from mlflow.exceptions import MlflowException

    if not isinstance(error, MlflowException):
        return None
    if error.error_code in GONE or "must be in the 'active' state" in str(error):
        return (
            f"MLflow: what is logged was deleted meanwhile, got {reason_of(error)}; run this again"
        )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def say(line: str) -> None:
    """Print what was healed or passed over, and costs no run."""
    print(f"MLflow: {line}", file=sys.stderr, flush=True)


def reason_of(error: Exception) -> str:
    """Return the start of an error's first line; a failed request's goes on and on."""
    return (str(error).splitlines() or [""])[0][:300] or type(error).__name__
