"""A file of sentences and labels as it was read, its columns found by name.

Readers (`delimited`, `records`) keep where each row stood, so that whatever is found
wrong later can be named by file and line. They change no value.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import ClassVar

from tinybert.runtime.errors import InputError
from tinybert.tasks.task_file import Columns

MAX_LISTED = 10  # problems of one file that are printed
Row = tuple[int, Sequence[object]]  # its number, and its fields


@dataclass(frozen=True)
class Table:
    """A split as it was read, not yet checked; one entry per row in every list."""

    place: str  # the file, for messages
    unit: str  # what `numbers` counts: "line" or "row"
    numbers: list[int]
    sentence1: list[object]
    sentence2: list[object] | None = None  # None: the task has no pairs
    label: list[object] | None = None  # None: the file has no such column
    # Rows that do not have the header's columns: number -> problem.
    malformed: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)  # about its reading, to be printed
    # Lines of each row's words, where a word has a line of its own.
    word_lines: list[list[int]] | None = None
    further: dict[str, list[object]] = field(default_factory=dict)  # other columns by their names

    def where(self, number: int) -> str:
        """Return `place:number` for lines, which editors can jump to, and say `row` otherwise."""
        return f"{self.place}:{number}" if self.unit == "line" else f"{self.place}: row {number}"


class QuestionColumns(Columns):
    """The columns of questions, of which a label is a list of answers."""

    FURTHER: ClassVar[tuple[str, ...]] = ("id", "is_impossible")  # read where they are there


def further_columns(columns: Columns) -> tuple[str, ...]:
    """Return the columns that are read beside the wanted ones where a file has them."""
    return columns.FURTHER if isinstance(columns, QuestionColumns) else ()


def listed(place: str, problems: Sequence[str], cure: str) -> InputError:
    """Return the error for all problems of a file, cut after ten with the number of the others."""
    more = len(problems) - MAX_LISTED
    rest = [f"{place}: and {more} more like these, got {len(problems)} in all; {cure}"]
    return InputError(*problems[:MAX_LISTED], *(rest if more > 0 else []))


def collect(
    place: str,
    unit: str,
    header: Sequence[str],
    rows: Iterable[Row],
    columns: Columns,
    labelled: bool,
    separator: str = "the separator",
    nameless: str = "",
) -> Table:
    """Pick the wanted columns of rows that have as many fields as the header.

    `nameless` is a further cure where the header has none of the columns: it may be a row.

    Raises:
        InputError: A wanted column is missing or stands there twice.
    """
    first, second, labels = _positions(place, header, columns, labelled, nameless)
    sentence2: list[object] | None = None if second is None else []
    label: list[object] | None = [] if labels else None
    further = {name: header.index(name) for name in further_columns(columns) if name in header}
    columns_of: dict[str, list[object]] = {name: [] for name in further}
    table = Table(place, unit, [], [], sentence2, label, further=columns_of)
    for number, fields in rows:
        if len(fields) != len(header):
            table.malformed[number] = _width_problem(fields, len(header), separator)
            continue
        table.numbers.append(number)
        table.sentence1.append(fields[first])
        if table.sentence2 is not None and second is not None:
            table.sentence2.append(fields[second])
        if table.label is not None:
            several = isinstance(columns.label, list)
            one: dict[str, object] = {name: fields[at] for name, at in labels.items()}
            table.label.append(one if several else next(iter(one.values())))
        for name, at in further.items():
            table.further[name].append(fields[at])
    return table


def _width_problem(fields: Sequence[object], width: int, separator: str) -> str:
    hint = ""
    if len(fields) == width + 1 and fields[-1] == "":
        hint = "; remove the separator at the end of the line"
    elif any(str(value).startswith(' "') for value in fields):
        hint = "; a quote must follow the separator without a space"
    got = f"wrong number of columns, got {len(fields)}; {width} are right, parted by {separator}"
    return got + hint


def wanted_columns(columns: Columns, labelled: bool) -> list[str]:
    """Return the names of the columns that a file must have."""
    texts = [name for name in (columns.sentence1, columns.sentence2) if name is not None]
    return [*texts, *(columns.labels if labelled else [])]


def _missing_columns(
    place: str, header: Sequence[str], columns: Columns, labelled: bool, nameless: str
) -> list[str]:
    """Return a problem for each wanted column that a header lacks."""
    found = ", ".join(header) or "none"
    found = found if len(found) < 200 else f"{found[:200]}..."
    labelled = labelled or any(name in header for name in columns.labels)  # some or all of them
    missing = [name for name in wanted_columns(columns, labelled) if name not in header]
    alike = {_bare(name): name for name in header}
    headless = len(missing) == len(wanted_columns(columns, labelled))
    problems = []
    for name in missing:
        near = alike.get(_bare(name)) or next(iter(get_close_matches(name, header, n=1)), None)
        cure = f"did you mean {near!r}? " if near else ""
        cure += f"name the right one under `{columns.KEY}` of the task's file"
        if headless and not near:
            cure += nameless
        problems.append(f"{place}: column {name!r} is missing, got {found}; {cure}")
    return problems


def _bare(name: str) -> str:
    return re.sub(r"[\W_]+", "", name).casefold()


def _positions(
    place: str, header: Sequence[str], columns: Columns, labelled: bool, nameless: str
) -> tuple[int, int | None, dict[str, int]]:
    problems = _missing_columns(place, header, columns, labelled, nameless)
    found = ", ".join(header)
    problems += [
        f"{place}: column {name!r} stands there {header.count(name)} times, got {found}; "
        f"give each column its own name"
        for name in sorted(set(wanted_columns(columns, labelled=True)))
        if header.count(name) > 1
    ]
    if problems:
        raise InputError(*problems)
    there = all(name in header for name in columns.labels)
    labels = {name: header.index(name) for name in columns.labels} if there else {}
    second = None if columns.sentence2 is None else header.index(columns.sentence2)
    return header.index(columns.sentence1), second, labels
