r"""Read rows of delimited fields: CSV, a user's TSV and GLUE's TSV.

What a double quote means in each:

- CSV, by RFC 4180: a field that begins with a quote goes on to the quote that closes it, over
  separators and line ends; quotes inside it are doubled. Any other quote is a character.
- TSV: a line is a row and a tab ends a cell, always. Where each cell that holds a quote is one of
  CSV's, "..." with the inner ones doubled, quotes are taken off as in CSV; otherwise every quote of
  the file is a character. Cells that hold a tab or a line end are refused.
- GLUE's TSV: a quote is a character.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from tinybert.runtime.errors import InputError
from tinybert.tasks.tables import Row, Table, collect, wanted_columns
from tinybert.tasks.task_file import Columns, UnlabelledColumns
from tinybert.tasks.text import read_lines, read_text

SHOW_PROGRESS_FROM = 100_000  # rows; fewer take less than a second
NAMELESS = ", or write `header: [...]` beside the file if it has no line of names"
SEPARATORS = ",;\t|"  # looked for where a header does not hold the columns
VALUE = re.compile(r"\s*[-+]?\d+\.\d+\s*")
QUOTED = re.compile(r'"(?:[^"]|"")*"')
MAX_CELL_LINES = 100  # of a TSV's quoted cell; beyond, a quote is taken for a stray one
csv.field_size_limit(2**31 - 1)  # 131,072 characters by default, which documents exceed


@dataclass(frozen=True)
class Record:
    """One row of a CSV file."""

    begins: int  # line
    ends: int
    fields: list[str]


def read_csv(
    file: Path,
    columns: Columns,
    labelled: bool,
    separator: str,
    header: Sequence[str] | None = None,
) -> Table:
    """Read a CSV file; its first line may be Excel's `sep=;`.

    Args:
        file: The file.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there; otherwise it may.
        separator: Between fields.
        header: Names of the columns of a file whose first line is a row already.

    Raises:
        InputError: Wrong quoting, quotes that make one row of several, or a missing column.
    """
    text = read_text(file).replace("\r", "\n").rstrip("\n")
    skipped = 0
    if found := re.match(r"sep=(.)\n", text):
        separator, skipped, text = found[1], 1, text[found.end() :]
    lines = text.split("\n")
    if header is None:
        _refuse_other_separator(file, next(filter(None, lines)), columns, labelled, separator)
    records = [r for r in _records(file, text, separator, skipped) if r.fields or r.begins > 1]
    top = next((record for record in records if record.fields), None)
    if top is None:
        raise InputError(f"{file}: has no header, got a first line alone; write a header and rows")
    names = _names(top.fields if header is None else list(header), columns)
    _refuse_both(file, top.begins, top.fields, header)
    below = records[records.index(top) + (header is None) :]
    rows = [r for r in below if r.fields] if len(names) > 1 else below
    _refuse_merged(file, rows, lines, names, columns, separator, skipped)
    numbered = ((r.begins, r.fields or [""]) for r in rows)
    cure = NAMELESS if header is None else ""
    table = collect(str(file), "line", names, numbered, columns, labelled, _called(separator), cure)
    table.notes.extend(_line_count(file, below, rows))
    return table


def _records(file: Path, text: str, separator: str, skipped: int) -> Iterator[Record]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    while True:
        begins = reader.line_num + 1 + skipped
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{file}:{begins}: wrong quoting, got {error} in line {reader.line_num + skipped}; "
                f"a field that holds a quote, a line break or the separator is written "
                f'"in quotes", its own quotes doubled'
            ) from error
        yield Record(begins, reader.line_num + skipped, fields)


def _line_count(file: Path, below: Sequence[Record], rows: Sequence[Record]) -> list[str]:
    """Explain why a file has fewer rows than lines; nothing where it has as many."""
    inside = [record for record in rows if record.ends > record.begins]
    reasons = []
    if inside:
        ends = sum(record.ends - record.begins for record in inside)
        reasons.append(f"{ends} line ends in quotes, the first at {file}:{inside[0].begins}")
    if len(rows) < len(below):
        reasons.append(f"{len(below) - len(rows)} blank")
    if not reasons:
        return []
    lines = sum(record.ends - record.begins + 1 for record in below)
    return [f"{lines} lines hold {len(rows)} rows: {', '.join(reasons)}"]


def _refuse_merged(
    file: Path,
    rows: Sequence[Record],
    lines: Sequence[str],
    names: Sequence[str],
    columns: Columns,
    separator: str,
    skipped: int,
) -> None:
    """Refuse a quote that opens in one row and closes in another.

    Text may hold line ends, so it is told by its lines: they are rows by themselves, each with a
    label that other rows have, or with a value where all others have one; without labels, each with
    a number where all other rows have one.
    """
    single = [r.fields for r in rows if r.begins == r.ends and len(r.fields) == len(names)]
    at = [names.index(name) for name in columns.labels if name in names]
    labels = {tuple(fields[i] for i in at) for fields in single} if at else set()
    numbered = [
        i for i in range(len(names)) if single and all(f[i].strip().isdigit() for f in single)
    ]
    if not labels and not numbered:
        return
    values = all(VALUE.fullmatch(label) for of in labels for label in of)

    def is_row(line: str) -> bool:
        fields = [field.strip(' "') for field in line.split(separator)]
        if len(fields) != len(names):
            return False
        if labels:
            label = tuple(fields[i] for i in at)
            return label in labels or (values and all(map(VALUE.fullmatch, label)))
        return all(fields[i].isdigit() for i in numbered)

    for row in rows:
        first, *others = lines[row.begins - 1 - skipped : row.ends - skipped]
        if others and is_row(first) and 2 * sum(map(is_row, others)) >= len(others):
            raise InputError(
                f"{file}:{row.begins}: one row of several, got a quote that opens in line "
                f"{row.begins} and closes in line {row.ends}, with rows between; write a cell that "
                f'begins with a quote as """so"" ...", or save the file as .tsv, where a line is '
                f"a row"
            )


def _refuse_both(
    file: Path, number: int, fields: Sequence[str], header: Sequence[str] | None
) -> None:
    """Refuse a first line of names where the task's file gives them too: it would be a row."""
    found = [name.strip().casefold() for name in fields]
    if header is not None and found == [name.casefold() for name in header]:
        raise InputError(
            f"{file}:{number}: the first line must be a row, since the task's `header` gives the "
            f"names, got {', '.join(header)}; remove `header`"
        )


def read_tsv(
    file: Path,
    columns: Columns,
    labelled: bool,
    separator: str,
    header: Sequence[str] | None = None,
) -> Table:
    """Read a user's TSV file; arguments as for `read_csv`.

    Raises:
        InputError: A missing column. A cell that holds a tab or a line end is a bad row.
    """
    numbered = list(_with_progress(file, list(read_lines(file))))
    blank = 0
    while not numbered[0][1]:
        del numbered[0]
    number, first = numbered[0]
    fields_of_first = _unquoted([first.split(separator)])[0]
    if header is None:
        _refuse_other_separator(file, first, columns, labelled, separator)
        del numbered[0]
    _refuse_both(file, number, fields_of_first, header)
    names = _names(fields_of_first if header is None else list(header), columns)
    if len(names) > 1:
        blank = sum(not line for _, line in numbered)
        numbered = [(number, line) for number, line in numbered if line]
    cells, split = _split_cells(numbered, len(names), separator)
    numbers, fields = [number for number, _ in cells], [fields for _, fields in cells]
    whole = [row for row in fields if len(row) == len(names)]
    plain = _unquoted(whole) is whole
    rows = zip(numbers, fields if plain else _unquoted(fields), strict=True)
    cure = NAMELESS if header is None else ""
    table = collect(str(file), "line", names, rows, columns, labelled, _called(separator), cure)
    table.malformed.update(split)
    opened = [
        number
        for number, row in cells
        if any(cell.startswith('"') and not QUOTED.fullmatch(cell) for cell in row)
    ]
    if opened:
        table.notes.append(
            f"quotes are read as characters, since {len(opened)} rows have a cell that opens one "
            f"and does not close it, the first at {table.where(opened[0])}"
        )
    if blank:
        lines = len(numbered) + blank
        table.notes.append(f"{lines} lines hold {len(numbered)} rows: {blank} blank")
    return table


def _unquoted(rows: list[list[str]]) -> list[list[str]]:
    """Take quotes off where all of them are CSV's; return the same rows otherwise."""
    with_quotes = [cell for row in rows for cell in row if '"' in cell]
    if not with_quotes or not all(map(QUOTED.fullmatch, with_quotes)):
        return rows
    return [
        [cell[1:-1].replace('""', '"') if '"' in cell else cell for cell in row] for row in rows
    ]


def _split_cells(
    numbered: list[tuple[int, str]], width: int, separator: str
) -> tuple[list[tuple[int, list[str]]], dict[int, str]]:
    """Cut lines into cells, and find cells that tabs and line ends have cut in pieces."""
    rows: list[tuple[int, list[str]]] = []
    problems: dict[int, str] = {}
    at = 0
    while at < len(numbered):
        number, line = numbered[at]
        fields = line.split(separator)
        after = numbered[at + 1][1].count(separator) + 1 if at + 1 < len(numbered) else width
        size = 0
        if '"' in line and (len(fields) != width or after != width):
            size = _quoted_lines(numbered[at : at + MAX_CELL_LINES], width, separator)
        if size > 1 or (size and len(fields) != width):
            what = "a line end" if size > 1 else _called(separator, "a")
            problems[number] = (
                f"a cell holds {what}, got a quote that opens in line {number} and closes in line "
                f"{numbered[at + size - 1][0]}; write the cell in one line without tabs, or save "
                f"the file as .csv"
            )
        elif "\r" in line:
            size = 1
            problems[number] = (
                f"a carriage return in the line, got {line[:40]!r}; end all lines alike, in LF"
            )
        else:
            size = 1
            rows.append((number, fields))
        at += size
    return rows, problems


def _quoted_lines(numbered: list[tuple[int, str]], width: int, separator: str) -> int:
    """Return how many lines CSV's quoting would make one row of; 0 if it would make none."""
    reader = csv.reader((f"{line}\n" for _, line in numbered), delimiter=separator, strict=True)
    try:
        fields = next(reader)
    except csv.Error:
        return 0
    return reader.line_num if len(fields) == width else 0


def read_glue_table(
    file: Path, header: Sequence[str] | None, columns: Columns, labelled: bool
) -> Table:
    """Read a TSV file of GLUE, where a double quote is a character like any other.

    Args:
        file: Tab-separated, with or without a byte-order mark.
        header: Names of the columns of a file whose first line is a row already.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there; otherwise it may.
    """
    lines = _with_progress(file, list(read_lines(file)))
    rows: Iterator[Row] = ((number, line.split("\t")) for number, line in lines)
    names = list(header) if header else [str(name) for name in next(rows)[1]]
    cure = "" if header else ", or write a first line of names if the file has none"
    return collect(str(file), "line", names, rows, columns, labelled, "tabs", cure)


def _with_progress(file: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    if len(lines) < SHOW_PROGRESS_FROM:
        return iter(lines)
    return iter(track(lines, description=f"reading {file.parent.name}/{file.name}"))


def _called(separator: str, article: str = "") -> str:
    if separator == "\t":
        return "a tab" if article else "tabs"
    return repr(separator)


def _names(fields: Sequence[str], columns: Columns) -> list[str]:
    """Take the space around names away, unless the task's file writes it."""
    wanted = wanted_columns(columns, labelled=True)
    return [name if name in wanted else name.strip().strip("\ufeff\u200b") for name in fields]


def _refuse_other_separator(
    file: Path, line: str, columns: Columns, labelled: bool, separator: str
) -> None:
    """Refuse a header without the columns if another separator would give them, and name it."""
    wanted = {name.strip() for name in wanted_columns(columns, labelled)}
    under = "unlabelled" if isinstance(columns, UnlabelledColumns) else "files"
    parts = {
        each: [part.strip(' "') for part in line.split(each)] for each in separator + SEPARATORS
    }
    if wanted <= set(parts[separator]):
        return
    for other, names in parts.items():
        if wanted <= set(names) or (len(parts[separator]) == 1 < len(names)):
            raise InputError(
                f"{file}: is not separated by {_called(separator)}, got the header {line[:80]!r}; "
                f"write `separator: {json.dumps(other)}` under `{under}` of the task's file"
            )
