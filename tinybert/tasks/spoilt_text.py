"""Find text that an earlier conversion has spoilt; what is lost stays lost, so it is said only."""

import re
from collections.abc import Iterator

from tinybert.tasks.tables import Table

# What converters write for what they cannot read; in GBK two of it are three characters.
LOST = re.compile("\ufffd|\u951f\u65a4\u62f7")
WORD = re.compile(r"[^\s\x00-\x7f][^\s]*|[^\s]*[^\s\x00-\x7f][^\s]*")
# As what UTF-8 is often read: Western, Cyrillic and Apple's.
READ_AS = {"cp1252": "WINDOWS-1252", "cp1251": "WINDOWS-1251", "mac_roman": "MACINTOSH"}
SHOWN = 30  # characters of a word


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
