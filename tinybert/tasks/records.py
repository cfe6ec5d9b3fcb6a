"""Read tables whose values have types: JSONL and Parquet."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.tasks.tables import (
    QuestionColumns,
    Table,
    collect,
    further_columns,
    listed,
    wanted_columns,
)
from tinybert.tasks.task_file import Columns
from tinybert.tasks.text import read_lines

ONE_A_LINE = (
    "python -c \"import json; print(*map(json.dumps, json.load(open('{name}'))), sep='\\n')\""
    " > rows.jsonl"
)


def read_jsonl(file: Path, columns: Columns, labelled: bool) -> Table:
    """Read a file of one JSON object a line.

    Raises:
        InputError: It is one JSON array, no line is an object, or a column is missing.
    """
    objects: list[tuple[int, dict[str, object]]] = []
    malformed: dict[int, str] = {}
    lines = list(read_lines(file))
    written = [(number, line) for number, line in lines if line.strip()]
    _refuse_array(file, written)
    for number, line in written:
        found = _parsed(line)
        if isinstance(found, str):
            malformed[number] = found
        else:
            objects.append((number, found))
    names = list(dict.fromkeys(name for _, found in objects for name in found))
    if malformed and not objects:
        problems = [f"{file}:{number}: {problem}" for number, problem in malformed.items()]
        raise listed(str(file), problems, "write one object a line")
    rows = ((number, [found.get(name) for name in names]) for number, found in objects)
    table = collect(str(file), "line", names, rows, columns, labelled)
    table.malformed.update(malformed)
    if blank := len(lines) - len(written):
        table.notes.append(f"{len(lines)} lines hold {len(written)} rows: {blank} blank")
    return table


def _refuse_array(file: Path, lines: list[tuple[int, str]]) -> None:
    """Refuse JSON that goes over several lines, or one array, before its parts are bad rows."""
    number, first = lines[0]
    if first.lstrip().startswith("[") or first.strip() == "{":
        raise InputError(
            f"{file}:{number}: not one object a line, got JSON that begins with {first[:20]!r}; "
            f"write an array's objects one a line: `{ONE_A_LINE.format(name=file.name)}`"
        )


def _parsed(line: str) -> dict[str, object] | str:
    """Return a line's object, or what is wrong with it."""
    twice: list[str] = []

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice.append(", ".join(name for name, _ in pairs))
        return found

    try:
        found = json.loads(line, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # also numbers of 4,300 digits, 1,000 brackets
        return f'not JSON, got {error}; write {{"column": "value", ...}}'
    if not isinstance(found, dict):
        return f"not an object, got {line[:40]!r}; write {{...}}"
    if twice:
        return f"a key stands there twice, got {twice[0]}; keep one"
    return found


def read_parquet(file: Path, columns: Columns, labelled: bool, lists: bool = False) -> Table:
    """Read a Parquet file.

    Args:
        file: The file.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there.
        lists: Columns may hold lists.

    Raises:
        InputError: It is damaged, or a column is missing or holds no text, number or truth value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(file).read()
    except (OSError, pa.ArrowException) as error:
        reason = in_one_line(error)
        raise InputError(f"{file}: cannot be read, got {reason}; write it as Parquet") from error
    return arrow_table(str(file), table, columns, labelled, {}, lists)


def arrow_table(
    place: str,
    table: Any,
    columns: Columns,
    labelled: bool,
    names: Mapping[str, Sequence[str]],
    lists: bool = False,
) -> Table:
    """Take the wanted columns out of an Arrow table.

    Args:
        place: For messages.
        table: Columns that are not needed may hold anything, and a lot of it: they stay in Arrow.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there.
        names: Columns of numbers that stand for names.
        lists: Columns may hold lists, also of names' numbers.
    """
    header = list(table.column_names)
    known = {*wanted_columns(columns, labelled=True), *further_columns(columns)}
    nested = columns.labels if isinstance(columns, QuestionColumns) else []
    values = {
        name: _values(place, name, table.column(name), names.get(name, ()), lists or name in nested)
        for name in header
        if name in known and header.count(name) == 1
    }
    nothing = [None] * table.num_rows
    rows = enumerate(zip(*(values.get(name, nothing) for name in header), strict=True), start=1)
    return collect(place, "row", header, rows, columns, labelled)


def _values(place: str, name: str, column: Any, names: Sequence[str], lists: bool) -> list[object]:
    """Return a column's values; with `lists` also lists and structures."""
    import pyarrow as pa

    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    known = "string large_string string_view bool null double float halffloat".split()
    simple = str(kind) in known or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
    if not simple and not (lists and pa.types.is_nested(kind)):
        raise InputError(
            f"{place}: column {name!r} holds no text, number or truth value, got Arrow's type "
            f"{kind}; write it as a column of strings"
        )
    try:
        column.validate(full=True)  # Parquet does not promise that its strings are UTF-8
    except pa.ArrowException as error:
        reason = in_one_line(error)
        raise InputError(
            f"{place}: column {name!r} is damaged, got {reason}; write its text in UTF-8"
        ) from error
    found: list[object] = column.to_pylist()
    return [_named(value, names) for value in found]


def _named(value: object, names: Sequence[str]) -> object:
    """Return the name that a number stands for; of a list, those of its numbers."""
    if isinstance(value, list):
        return [_named(each, names) for each in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value
