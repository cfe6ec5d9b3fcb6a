"""Decode the bytes of a table: UTF-8, or lines that say what they look like instead."""

import re
from collections.abc import Iterator
from pathlib import Path

from tinybert.core.errors import InputError
from tinybert.tasks.tables import listed

# How files begin that are no text, whatever they are called.
PACKED = {
    b"\x1f\x8b": ("a file packed by gzip", "unpack it with gunzip"),
    b"PK\x03\x04": ("a zip or an Excel workbook", "unpack it, or save the sheet as CSV UTF-8"),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook", "save the sheet as CSV UTF-8"),
    b"PAR1": ("Parquet", "rename it to .parquet"),
    b"\xfd7zXZ\x00": ("a file packed by xz", "unpack it with unxz"),
    b"\x28\xb5\x2f\xfd": ("a file packed by zstd", "unpack it with unzstd"),
}
MARKED_16 = (b"\xff\xfe", b"\xfe\xff")
HIGH = re.compile(rb"[\x80-\xff]+")


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    r"""Return the numbered lines of a UTF-8 file, cut at \n or \r\n only.

    `str.splitlines` would also cut at characters such as U+2028, which sentences contain.
    """
    return enumerate(read_text(file).rstrip("\n").split("\n"), start=1)


def read_text(file: Path) -> str:
    r"""Decode a UTF-8 file, with or without a byte-order mark; its lines end in \n.

    A file in which lines end in \r alone is read like any other; beside \n, a lone \r stays.

    Raises:
        InputError: It cannot be read, is empty, packed, or has lines that are not UTF-8.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read, got {error.strerror}; put the file there"
        ) from error
    _refuse_other_kinds(file, data)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise listed(str(file), _undecodable(file, data), "save the file as UTF-8") from error
    if not text.strip():
        raise InputError(f"{file}: is empty, got {len(data)} bytes; write a header and rows")
    # Windows tools that convert twice end lines in \r\r\n.
    text = re.sub(r"\r+\n", "\n", text)
    return text if "\n" in text else text.rstrip("\r").replace("\r", "\n")


def _refuse_other_kinds(file: Path, data: bytes) -> None:
    for start, (what, cure) in PACKED.items():
        if data.startswith(start):
            raise InputError(f"{file}: is no text, got {what}; {cure}")
    # Half of the bytes of Western text in UTF-16 are NUL, which is no character of any sentence.
    half = max(data[:4096:2].count(0), data[1:4096:2].count(0))
    if data.startswith(MARKED_16) or half * 4 > len(data[:4096]) > 1:
        raise InputError(
            f"{file}: not UTF-8, got what looks like UTF-16; save it as UTF-8: "
            f"{_conversion(file, 'UTF-16' if data.startswith(MARKED_16) else 'UTF-16LE')}"
        )
    if b"\0" in data:
        problems = [
            f"{file}:{number}: holds a NUL, got {line[:40]!r}; remove it"
            for number, line in enumerate(data.split(b"\n"), start=1)
            if b"\0" in line
        ]
        raise listed(str(file), problems, "save the file again as text")


def _undecodable(file: Path, data: bytes) -> list[str]:
    bad: dict[int, tuple[bytes, int]] = {}
    mixed = False
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            mixed |= not line.decode("utf-8").lstrip("\ufeff").isascii()
        except UnicodeDecodeError as error:
            bad[number] = (line, error.start)
    cure = "save the file as UTF-8" + _looks_like(file, [line for line, _ in bad.values()])
    if mixed:
        cure = "write that line in UTF-8, as other lines of the file are"
    return [
        f"{file}:{number}: not UTF-8, got byte 0x{line[at]:02x} at {at + 1}; {cure}"
        for number, (line, at) in bad.items()
    ]


def _looks_like(file: Path, lines: list[bytes]) -> str:
    """Guess an encoding: accented letters stand alone, other scripts make runs of high bytes."""
    runs = [len(run) for line in lines for run in HIGH.findall(line)]
    if sum(runs) < 1.5 * len(runs):
        return f"; it looks like Windows-1252: {_conversion(file, 'WINDOWS-1252')}"
    return f"; it looks like GBK, Shift_JIS or the like: {_conversion(file, '<ENCODING>')}"


def _conversion(file: Path, encoding: str) -> str:
    return f"`iconv -f {encoding} -t UTF-8 {file.name} > utf8{file.suffix}`"
