"""The user's text files: every file is read, named as left out, or refused; every line too."""

import gzip
import hashlib
import io
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, cast

from tinybert.runtime.errors import InputError
from tinybert.text.shards import Document
from tinybert.text.wrong_files import BYTES_TO_JUDGE, describe_wrong_file

ENDINGS = (".txt", ".txt.gz")
MAX_LINE = 2**27  # bytes of a line, and so of a paragraph; a document is held in memory
NAMES_SHOWN = 5


def find_text_files(path: Path) -> list[Path]:
    """Return the text files of a folder and of those in it, in the order of their names.

    Args:
        path: A folder, or one file.

    Raises:
        InputError: There is none.
    """
    if path.is_file() and (path.suffix in ("", ".gz") or path.name.endswith(ENDINGS)):
        return [path]
    files = [file for file in _files_in(path) if file.name.endswith(ENDINGS)]
    if not files:
        others = [] if path.is_file() else _files_in(path)
        got = _names(others) or ("an empty folder" if path.is_dir() else "nothing")
        raise InputError(
            f"{printable(path)}: no .txt or .txt.gz files, got "
            f"{printable(path.name) if path.is_file() else got}; "
            "put UTF-8 text into .txt files there (a paragraph a line, a blank line between "
            "documents), set "
            "sources.corpus, or run `make glue CORPUS=...`"
        )
    return files


def describe_text_files(path: Path) -> list[str]:
    """Say which files of a folder are read, which are not, and which are there twice."""
    files = find_text_files(path)
    lines = [f"reads {len(files):,} files"]
    if others := [file for file in _files_in(path) if file not in files]:
        lines[0] += f", leaves out {len(others):,} that are no .txt or .txt.gz: {_names(others)}"
    if links := [file for file in _entries(path) if file.is_symlink() and file.is_dir()]:
        lines[0] += f", follows no linked folder: {_names(links)}"
    for first, *copies in _same_files(files):
        lines.append(
            f"doubt: {printable(first)} is there {1 + len(copies)} times, as {_names(copies)}; "
            "its text counts as often, remove what is too much"
        )
    return lines


def read_text_files(path: Path) -> Iterator[Document]:
    """Read every text file of a folder, or one file: a paragraph a line, a blank line a document.

    Raises:
        InputError: There is none, one is empty, or is no UTF-8 text.
    """
    files = find_text_files(path)
    for file in files:  # before hours are spent on the others
        if file.is_file() and not file.stat().st_size:
            raise _empty(file)
    for file in files:
        found = False
        try:
            with _opened(file) as stream:
                for document in _documents_of(file, stream):
                    found = True
                    yield document
        except (OSError, EOFError, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            raise InputError(
                f"{printable(file)}: cannot be read to its end, got {reason or error}; "
                "repair or remove it"
            ) from error
        if not found:
            raise _empty(file)


def _empty(file: Path) -> InputError:
    return InputError(f"{printable(file)}: holds no text, got an empty file; remove it or fill it")


def _opened(file: Path) -> IO[bytes]:
    with file.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    return cast(IO[bytes], io.BufferedReader(gzip.open(file))) if packed else file.open("rb")


def _documents_of(file: Path, stream: IO[bytes]) -> Iterator[Document]:
    paragraphs: list[str] = []
    for number, raw in enumerate(iter(lambda: stream.readline(MAX_LINE), b""), start=1):
        _require_text(file, number, raw)
        # A carriage return alone ends a line too; two before a line's end are one.
        for line in _decode(file, number, raw.strip(b"\r\n")).split("\r"):
            if line := line.strip():
                paragraphs.append(line)
            elif paragraphs:
                yield paragraphs
                paragraphs = []
    if paragraphs:
        yield paragraphs


def _require_text(file: Path, number: int, raw: bytes) -> None:
    if number == 1 and (wrong := describe_wrong_file(raw[:BYTES_TO_JUDGE])):
        what, cure = wrong
        raise InputError(f"{printable(file)}: holds no plain text, got {what}; {cure}")
    if b"\0" in raw:
        raise InputError(
            f"{printable(file)}:{number}: holds no plain text, got byte 0x00 at column "
            f"{raw.index(0) + 1}; convert UTF-16 (`iconv -f UTF-16LE -t UTF-8`), or repair the file"
        )
    if len(raw) == MAX_LINE:
        raise InputError(
            f"{printable(file)}:{number}: too long a line, got {MAX_LINE:,} bytes and more; write "
            "a paragraph a line and a blank line between documents"
        )


def _decode(file: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{printable(file)}:{number}: not valid UTF-8, got byte 0x{raw[error.start]:02x} at "
            f"column {error.start + 1}; convert the file to UTF-8 (`iconv -f LATIN1 -t UTF-8`)"
        ) from error


def _entries(path: Path) -> list[Path]:
    found = sorted(path.rglob("*"), key=os.fsencode) if path.is_dir() else []
    for folder in (path, *found):  # rglob passes over them in silence
        if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
            raise InputError(
                f"{printable(folder)}: cannot be read, got no permission; run `chmod u+rx` on it, "
                "or move it away"
            )
    return found


def _files_in(path: Path) -> list[Path]:
    """Return what is no folder; a broken link is refused later, where it should be read."""
    return [file for file in _entries(path) if not file.is_dir() and not file.name.startswith(".")]


def _same_files(files: Iterable[Path]) -> list[list[Path]]:
    """Group files of the same content; those of a size of their own are not read."""
    by_size: dict[int, list[Path]] = defaultdict(list)
    for file in files:
        if file.is_file() and os.access(file, os.R_OK):
            by_size[file.stat().st_size].append(file)
    groups: dict[str, list[Path]] = defaultdict(list)
    for file in (file for same in by_size.values() if len(same) > 1 for file in same):
        with file.open("rb") as stream:
            groups[hashlib.file_digest(stream, "sha256").hexdigest()].append(file)
    return [group for group in groups.values() if len(group) > 1]


def _names(files: list[Path]) -> str:
    names = [printable(file.name) for file in files[:NAMES_SHOWN]]
    return ", ".join([*names, "..."] if len(files) > NAMES_SHOWN else names)


def printable(path: Path | str) -> str:
    """Return a name as it can be printed, where it is not UTF-8 too."""
    name = str(path)
    strange = any("\ud800" <= char <= "\udfff" or char in "\r\n" for char in name)
    return ascii(name)[1:-1] if strange else name
