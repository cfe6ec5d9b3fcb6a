"""A local store that was moved or copied: its files are those beside it, wherever they were."""

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tinybert.tracking.experiment import ARTIFACTS, artifacts_beside
from tinybert.tracking.failures import local_file

# MLflow writes whole paths into its tables, and no function of it changes them.
PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)


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
                _say(f"{file}: its files are not beside it, got {_folder(old)}; {cure}")
            else:
                _rewrite(store, old, here)
                _say(f"{file}: was moved or copied; its files are now those in {_folder(here)}")


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


def _say(line: str) -> None:
    print(f"MLflow: {line}", file=sys.stderr, flush=True)
