"""Read one file of sentences and labels: GLUE's TSV, and CSV, TSV, JSONL or Parquet.

A reader finds the columns by name and keeps where each row stood, so that whatever is found wrong
later can be named by file and line. It changes no value.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.progress import track

from tinybert.errors import InputError
from tinybert.tasks import Columns

MAX_LISTED = 10  # problems of one file that are printed
SHOW_PROGRESS_FROM = 100_000  # rows; fewer take less than a second
Row = tuple[int, Sequence[object]]  # its number, and its fields


@dataclass(frozen=True)
class Table:
    """A split as it was read, not yet checked; one entry per row in every list."""

    place: str  # the file, for messages
    unit: str  # what `numbers` counts: "line" or "row"
    numbers: list[int]
    sentence1: list[object]
    sentence2: list[object] | None  # None: the task has no pairs
    label: list[object] | None  # None: the file has no such column
    malformed: dict[int, str]  # rows that do not have the header's columns: number -> problem

    def where(self, number: int) -> str:
        """Return the place of a row, as in train.tsv:17."""
        return place_of(self.place, self.unit, number)


def place_of(place: str, unit: str, number: int) -> str:
    """Return `place:number` for lines, which editors can jump to, and say `row` otherwise."""
    return f"{place}:{number}" if unit == "line" else f"{place}: row {number}"


def listed(place: str, problems: Sequence[str], cure: str) -> InputError:
    """Return the error for all problems of a file, cut after ten with the number of the others."""
    more = len(problems) - MAX_LISTED
    rest = [f"{place}: and {more} more like these, got {len(problems)} in all; {cure}"]
    return InputError(*problems[:MAX_LISTED], *(rest if more > 0 else []))


def read_table(file: Path, columns: Columns, labelled: bool) -> Table:
    """Read a user's file by its extension; CSV and TSV are quoted as usual.

    Args:
        file: A .csv, .tsv, .jsonl or .parquet file.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there; otherwise it may.

    Raises:
        InputError: Another extension, or anything in the file that keeps it from being read.
    """
    kind = file.suffix.lower()
    if kind in (".csv", ".tsv"):
        rows = _quoted_rows(file, "," if kind == ".csv" else "\t")
        return collect(str(file), "line", _header(rows), rows, columns, labelled)
    if kind == ".jsonl":
        return _read_jsonl(file, columns, labelled)
    if kind == ".parquet":
        return _read_parquet(file, columns, labelled)
    raise InputError(
        f"{file}: unknown kind of file, got {kind or 'no extension'}; "
        f"write it as .csv, .tsv, .jsonl or .parquet"
    )


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
    names = list(header) if header else _header(rows)
    return collect(str(file), "line", names, rows, columns, labelled, "tabs")


def _with_progress(file: Path, lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    if len(lines) < SHOW_PROGRESS_FROM:
        return iter(lines)
    return iter(track(lines, description=f"reading {file.parent.name}/{file.name}"))


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    r"""Return the numbered lines of a UTF-8 file, cut at \n or \r\n only.

    `str.splitlines` would also cut at characters such as U+2028, which sentences contain.
    """
    return enumerate(
        (line.removesuffix("\r") for line in read_text(file).rstrip("\r\n").split("\n")), start=1
    )


def read_text(file: Path) -> str:
    """Decode a UTF-8 file, with or without a byte-order mark.

    Raises:
        InputError: It cannot be read, is empty, or has lines that are not UTF-8.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read, got {error.strerror}; put the file there"
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise listed(str(file), _undecodable(file, data), "save the file as UTF-8") from error
    if not text.strip():
        raise InputError(f"{file}: is empty, got {len(data)} bytes; write a header and rows")
    return text


def _undecodable(file: Path, data: bytes) -> list[str]:
    problems = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            byte = f"byte 0x{line[error.start]:02x} at {error.start + 1}"
            problems.append(f"{file}:{number}: not UTF-8, got {byte}; save the file as UTF-8")
    return problems


def _header(rows: Iterator[Row]) -> list[str]:
    _, names = next(rows)  # `read_text` has refused an empty file
    return [str(name) for name in names]


def _quoted_rows(file: Path, delimiter: str) -> Iterator[Row]:
    """Yield CSV records with the line each begins on."""
    text = io.StringIO(read_text(file).rstrip("\r\n"), newline="")
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    while True:
        begins = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{file}:{begins}: wrong quoting, got {error}; a field that holds a quote, a "
                f'line break or the separator is written "in quotes", its own quotes doubled'
            ) from error
        yield begins, fields


def _read_jsonl(file: Path, columns: Columns, labelled: bool) -> Table:
    objects: list[tuple[int, dict[str, object]]] = []
    malformed: dict[int, str] = {}
    for number, line in read_lines(file):
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            malformed[number] = f'not JSON, got {error}; write {{"column": "value", ...}}'
            continue
        if isinstance(found, dict):
            objects.append((number, found))
        else:
            malformed[number] = f"not an object, got {line[:40]!r}; write {{...}}"
    names = list(dict.fromkeys(name for _, found in objects for name in found))
    if malformed and not objects:
        problems = [f"{file}:{number}: {problem}" for number, problem in malformed.items()]
        raise listed(str(file), problems, "write one object a line")
    rows = ((number, [found.get(name) for name in names]) for number, found in objects)
    table = collect(str(file), "line", names, rows, columns, labelled)
    table.malformed.update(malformed)
    return table


def _read_parquet(file: Path, columns: Columns, labelled: bool) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{file}: cannot be read, got {reason}; write it as Parquet") from error
    names = list(table.column_names)
    wanted = [name for name in names if name in columns.model_dump().values()]
    # Columns that are not needed may hold anything, and a lot of it: they stay in Arrow.
    values = {name: table.column(name).to_pylist() for name in wanted if names.count(name) == 1}
    nothing = [None] * table.num_rows
    rows = enumerate(zip(*(values.get(name, nothing) for name in names), strict=True), start=1)
    return collect(str(file), "row", names, rows, columns, labelled)


def collect(
    place: str,
    unit: str,
    header: Sequence[str],
    rows: Iterable[Row],
    columns: Columns,
    labelled: bool,
    separator: str = "the separator",
) -> Table:
    """Pick the wanted columns of rows that have as many fields as the header.

    Raises:
        InputError: A wanted column is missing or stands there twice.
    """
    first, second, third = _positions(place, header, columns, labelled)
    table = Table(
        place,
        unit,
        numbers=[],
        sentence1=[],
        sentence2=None if second is None else [],
        label=None if third is None else [],
        malformed={},
    )
    for number, fields in rows:
        if len(fields) != len(header):
            table.malformed[number] = (
                f"wrong number of columns, got {len(fields)}; {len(header)} are right, "
                f"parted by {separator}"
            )
            continue
        table.numbers.append(number)
        table.sentence1.append(fields[first])
        if table.sentence2 is not None and second is not None:
            table.sentence2.append(fields[second])
        if table.label is not None and third is not None:
            table.label.append(fields[third])
    return table


def _positions(
    place: str, header: Sequence[str], columns: Columns, labelled: bool
) -> tuple[int, int | None, int | None]:
    wanted = [columns.sentence1, columns.sentence2, columns.label if labelled else None]
    found = ", ".join(header) or "none"
    problems = [
        f"{place}: column {name!r} is missing, got {found}; name the right one under `columns` "
        f"of the task's file"
        for name in wanted
        if name is not None and name not in header
    ]
    problems += [
        f"{place}: column {name!r} stands there {header.count(name)} times, got {found}; "
        f"give each column its own name"
        for name in {columns.sentence1, columns.sentence2, columns.label}
        if name is not None and header.count(name) > 1
    ]
    if problems:
        raise InputError(*problems)
    label = header.index(columns.label) if columns.label in header else None
    second = None if columns.sentence2 is None else header.index(columns.sentence2)
    return header.index(columns.sentence1), second, label
