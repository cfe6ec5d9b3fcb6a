"""Write beside and rename at the end, so that a killed stage leaves no half output.

Of several processes that train together the first one writes; what the others write is thrown away.
"""

import errno
import glob
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import rank

# Errors of a place, and their cures; any other one is the code's.
UNWRITABLE = {
    errno.EACCES: "give yourself the right to (`chmod -R u+rwX` its folder)",
    errno.EPERM: "give yourself the right to (`chmod -R u+rwX` its folder)",
    errno.EROFS: "make the file system writable, or work in a copy elsewhere",
    errno.ENOTDIR: "move the file away that stands where a folder should",
    errno.EISDIR: "move the folder away that stands where a file should",
    errno.ENAMETOOLONG: "shorten the name",
}


@contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of `folder` once the block has succeeded.

    Side effects: `<folder>.partial` exists during the block and is removed if the block fails;
        one that a killed process left is removed first.
    """
    if rank():
        with tempfile.TemporaryDirectory() as thrown_away:
            yield Path(thrown_away)
        return
    partial = folder.with_name(folder.name + ".partial")
    old = folder.with_name(folder.name + ".old.partial")
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        with disk_space_guard(folder):
            partial.mkdir(parents=True)
            yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if folder.is_dir():  # renamed before it is removed, so that no half of it is ever there
        folder.replace(old)
    partial.replace(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Yield a path that takes the place of `file` once the block has succeeded.

    Several processes may write the same file at once: each writes its own, and the last one
    to end wins.

    Side effects: `<file>.<process>.partial` exists during the block and is removed if the
        block fails; those that killed processes left are removed first.
    """
    if rank():
        with tempfile.TemporaryDirectory() as thrown_away:
            yield Path(thrown_away) / file.name
        return
    for left in file.parent.glob(f"{glob.escape(file.name)}.*.partial"):
        number = left.suffixes[-2][1:]
        if number.isdecimal() and not _is_running(number):
            left.unlink(missing_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with disk_space_guard(file):
            file.parent.mkdir(parents=True, exist_ok=True)
            yield partial
    except BaseException:
        with suppress(OSError):  # it may be that nothing could be written there
            partial.unlink()
        raise
    partial.replace(file)


def write_json(values: Any, file: Path) -> None:
    """Write values as indented JSON."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8", errors="backslashreplace")


def _is_running(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def disk_space_guard(place: Path) -> Iterator[None]:
    """Turn "no space left on device", and a place that forbids writing, into a line that names it.

    safetensors and pyarrow raise errors of their own for it, so the text is read as well.

    Raises:
        InputError: The disk, or the quota on it, is full; or a file may not be written.
    """
    try:
        yield
    except Exception as error:
        numbers = (errno.ENOSPC, errno.EDQUOT)
        full = isinstance(error, OSError) and error.errno in numbers
        if full or "No space left on device" in str(error):
            free = _free_megabytes(place)
            raise InputError(
                f"{place}: no disk space left, got {free} MB free; free some and run again"
            ) from error
        if isinstance(error, OSError) and error.errno in UNWRITABLE and error.filename:
            raise InputError(
                f"{error.filename}: cannot be written or read, got {error.strerror}; "
                f"{UNWRITABLE[error.errno]}, and run again"
            ) from error
        raise


def _free_megabytes(place: Path) -> int:
    existing = next(parent for parent in [place, *place.absolute().parents] if parent.exists())
    return shutil.disk_usage(existing).free // 1_000_000
