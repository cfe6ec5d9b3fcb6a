"""Decode the bytes of a table: UTF-8, or lines that say what they look like instead.

Text that an earlier conversion has spoilt is found too, and only named: what is lost stays lost.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path

from tinybert.runtime.errors import InputError
from tinybert.tasks.tables import Table, listed

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

# What converters write for what they cannot read; in GBK two of it are three characters.
LOST = re.compile("\ufffd|\u951f\u65a4\u62f7")
WORD = re.compile(r"[^\s\x00-\x7f][^\s]*|[^\s]*[^\s\x00-\x7f][^\s]*")
# As what UTF-8 is often read: Western, Cyrillic and Apple's.
READ_AS = {"cp1252": "WINDOWS-1252", "cp1251": "WINDOWS-1251", "mac_roman": "MACINTOSH"}
SHOWN = 30  # characters of a word


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


def row_key(sentences: Iterable[str]) -> str:
    """Return what rows that count as the same have alike.

    They differ in case, white space or compatible forms of characters alone, and a pair may be the
    other way round.
    """
    return "\0".join(sorted(map(_plain, sentences)))


def _plain(text: str) -> str:
    composed = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(composed.casefold().split())


def spoilt_text(table: Table) -> list[str]:
    """Return a line for lost characters, and one for each encoding that UTF-8 was misread as."""
    lost: list[int] = []
    misread: dict[str, list[tuple[int, str, str]]] = {}
    for number, text in _texts(table):
        if LOST.search(text):
            lost.append(number)
        elif found := _misread(text):
            misread.setdefault(found[0], []).append((number, *found[1:]))
    total = len(table.numbers)
    lines = []
    if lost:
        lines.append(
            f"{len(set(lost))} of {total} rows hold U+FFFD, where an earlier conversion lost "
            f"characters, the first at {table.where(lost[0])}; export them again from their "
            "source, in UTF-8"
        )
    for encoding, rows in misread.items():
        number, word, meant = rows[0]
        lines.append(
            f"{len({row[0] for row in rows})} of {total} rows hold UTF-8 that was read as "
            f"{READ_AS[encoding]}, such as {word!r} for {meant!r} at {table.where(number)}; export "
            f"them again, or `iconv -f UTF-8 -t {READ_AS[encoding]}` mends the file"
        )
    return lines


def _texts(table: Table) -> Iterator[tuple[int, str]]:
    for values in (table.sentence1, table.sentence2 or []):
        for number, text in zip(table.numbers, values, strict=False):
            if isinstance(text, str) and not text.isascii():
                yield number, text


def _misread(text: str) -> tuple[str, str, str] | None:
    """Return the encoding, a word as it stands and as it was meant, if its bytes are UTF-8."""
    for word in WORD.findall(text):
        for encoding in READ_AS:
            try:
                meant = word.encode(encoding).decode("utf-8")
            except UnicodeError:
                continue
            return encoding, word[:SHOWN], meant[:SHOWN]
    return None
