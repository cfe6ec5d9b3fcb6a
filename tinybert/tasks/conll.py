r"""Read files with a word and its tags a line, and a blank line after each sentence.

Columns are parted by tabs where most lines hold one, and a word may hold spaces then; otherwise by
spaces. A no-break space parts nothing. Left out, and counted in a note, are

- `-DOCSTART-` lines, which part documents;
- comments: `#begin` and `#end` of a document, and lines before a sentence's first word that begin
  with `#` and have another number of columns, or in the place of the tag what no other line has
  there: a `#` may be a word;
- of CoNLL-U, with its ten columns, the lines of several words (`1-2`) and of none (`8.1`).
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tinybert.runtime.errors import InputError
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns
from tinybert.tasks.text import read_lines

DOCUMENT = "-DOCSTART-"
COMMENT = re.compile(r"#\s*(?:begin|end) document\b|#(?:begin|end)\b")
BLANKS = re.compile(r"[ \t]+")
UNIVERSAL = 10  # columns of CoNLL-U
NO_WORD = re.compile(r"\d+[-.]\d+")
COUNT = "count columns from 0, or from the last one, -1, under `columns` of the task's file"


class Line(NamedTuple):
    """A line that is not blank."""

    number: int
    fields: list[str]
    text: str


def read_conll(file: Path, columns: Columns, labelled: bool) -> Table:
    """Read a file of CoNLL's kind.

    Args:
        file: Text in UTF-8.
        columns: Numbers of the columns of the words and of their tags.
        labelled: There must be tags; otherwise there may.

    Returns:
        `sentence1` has a list of words a row, `label` one of tags; `numbers` is the line of a
        sentence's first word. A sentence with a line of another number of columns is malformed.

    Raises:
        InputError: It cannot be decoded, has no words, or a column is no number or not there.
    """
    sentences, notes = _sentences(file, columns)
    if not sentences:
        raise InputError(f"{file}: is empty, got no words; write a word and its tags a line")
    width = _width([line for sentence in sentences for line in sentence])
    word_at = _position(file, columns.sentence1, "sentence1", width)
    label_at = _position(file, str(columns.label), "label", width) if columns.label else word_at
    if word_at is None or (labelled and label_at in (None, word_at)):
        lacking = columns.sentence1 if word_at is None else columns.label
        raise InputError(
            f"{file}: column {lacking} {'is missing' if word_at is None else 'of tags is missing'}"
            f", got {width} columns; {COUNT}"
        )
    tags: list[object] | None = None if label_at in (None, word_at) else []
    table = Table(str(file), "line", [], [], None, tags, word_lines=[])
    assert table.word_lines is not None
    for sentence in sentences:
        if wrong := [line for line in sentence if len(line.fields) != width]:
            table.malformed[wrong[0].number] = _width_problem(wrong, width)
            continue
        table.numbers.append(sentence[0].number)
        table.sentence1.append([line.fields[word_at] for line in sentence])
        table.word_lines.append([line.number for line in sentence])
        if table.label is not None and label_at is not None:
            table.label.append([line.fields[label_at] for line in sentence])
    table.notes.extend(notes)
    return table


def _width(lines: list[Line]) -> int:
    """Return how many columns most lines have."""
    counts = Counter(len(line.fields) for line in lines)
    return counts.most_common(1)[0][0] if counts else 0


def _width_problem(wrong: list[Line], width: int) -> str:
    more = f", and {len(wrong) - 1} more lines of its sentence" if len(wrong) > 1 else ""
    return (
        f"wrong number of columns, got {len(wrong[0].fields)} in {wrong[0].text[:40]!r}{more}; "
        f"{width} are right, as in most lines of the file"
    )


def _position(file: Path, name: str, key: str, width: int) -> int | None:
    """Return a column's place from the left; nothing if there are fewer columns."""
    if not re.fullmatch(r"[+-]?\d{1,4}", name):
        raise InputError(f"{file}: column of {key} is no number, got {name!r}; {COUNT}")
    number = int(name)
    place = number + width if number < 0 else number
    return place if 0 <= place < width else None


def _sentences(file: Path, columns: Columns) -> tuple[list[list[Line]], list[str]]:
    """Return the lines of each sentence, and notes on what was left out."""
    numbered = list(read_lines(file))
    tabs = sum("\t" in text for _, text in numbered if text.strip())
    by_tab = 2 * tabs > sum(bool(text.strip()) for _, text in numbered)
    groups = list(_groups(numbered, by_tab))
    left_out = Counter[str]()
    groups = [_without_documents(group, left_out) for group in groups]
    groups = _without_comments(groups, columns, left_out)
    notes = [f"{count} {what} were left out" for what, count in left_out.items() if count]
    return [group for group in groups if group], notes


def _groups(numbered: list[tuple[int, str]], by_tab: bool) -> Iterator[list[Line]]:
    """Yield the lines between blank ones; a line that begins a document ends a sentence too."""
    group: list[Line] = []
    for number, text in numbered:
        fields = text.split("\t") if by_tab else BLANKS.split(text.strip(" \t"))
        if not text.strip():
            yield group
            group = []
            continue
        group.append(Line(number, fields, text))
        if DOCUMENT in fields:
            yield group
            group = []
    yield group


def _without_documents(group: list[Line], left_out: Counter[str]) -> list[Line]:
    kept = [line for line in group if DOCUMENT not in line.fields]
    left_out[f"{DOCUMENT} lines"] += len(group) - len(kept)
    return kept


def _without_comments(
    groups: list[list[Line]], columns: Columns, left_out: Counter[str]
) -> list[list[Line]]:
    words = [line for group in groups for line in group if not line.text.startswith("#")]
    width = _width(words)
    number = str(columns.label)
    at = int(number) if re.fullmatch(r"[+-]?\d{1,4}", number) and width > 1 else None
    tags = {
        line.fields[at]
        for line in words
        if at is not None and len(line.fields) == width and -width <= at < width
    }

    def is_comment(line: Line) -> bool:
        if not line.text.startswith("#"):
            return False
        if COMMENT.match(line.text) or len(line.fields) != width:
            return True
        return bool(tags) and at is not None and line.fields[at] not in tags

    found = []
    for group in groups:
        first = next((i for i, line in enumerate(group) if not is_comment(line)), len(group))
        kept = [line for line in group[first:] if not COMMENT.match(line.text)]
        left_out["comments"] += len(group) - len(kept)
        single = [line for line in kept if width != UNIVERSAL or not NO_WORD.match(line.text)]
        left_out["lines of several words or none"] += len(kept) - len(single)
        found.append(single)
    return found
