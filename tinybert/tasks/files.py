"""Read a user's table by the extension of its file."""

from collections.abc import Sequence
from pathlib import Path

from tinybert.runtime.errors import InputError
from tinybert.tasks.delimited import read_csv, read_tsv
from tinybert.tasks.records import ONE_A_LINE, read_jsonl, read_parquet
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns

CURES = {
    ".txt": "rename it to .tsv if tabs part its columns, to .csv if commas or the like do",
    ".tab": "rename it to .tsv",
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save its sheet as CSV UTF-8"),
    ".gz": "unpack it with gunzip",
    ".zip": "unpack it",
    ".bz2": "unpack it with bunzip2",
    ".xz": "unpack it with unxz",
    ".zst": "unpack it with unzstd",
    ".ndjson": "rename it to .jsonl",
    **dict.fromkeys(
        (".conll", ".conllu", ".iob", ".iob2", ".bio"),
        "write `format: conll` under `files` of the task's file",
    ),
}


def read_table(
    file: Path,
    columns: Columns,
    labelled: bool,
    separator: str | None = None,
    header: Sequence[str] | None = None,
    lists: bool = False,
) -> Table:
    """Read a user's file by its extension.

    Args:
        file: A .csv, .tsv, .jsonl or .parquet file.
        columns: Where the sentences and the label stand.
        labelled: The label's column must be there; otherwise it may.
        separator: Of CSV and TSV; None: a comma, a tab.
        header: Names of the columns of a CSV or TSV file without a first line of them.
        lists: Columns of Parquet may hold lists.

    Raises:
        InputError: Another extension, or anything in the file that keeps it from being read.
    """
    kind = file.suffix.lower()
    if kind == ".csv":
        return read_csv(file, columns, labelled, separator or ",", header)
    if kind == ".tsv":
        return read_tsv(file, columns, labelled, separator or "\t", header)
    if kind == ".jsonl":
        return read_jsonl(file, columns, labelled)
    if kind == ".parquet":
        return read_parquet(file, columns, labelled, lists)
    cure = CURES.get(kind, "write it as .csv, .tsv, .jsonl or .parquet")
    if kind == ".json":
        cure = f"write its objects one a line: `{ONE_A_LINE.format(name=file.name)}`"
        cure += ", or `format: squad` under `files` of the task's file if it is SQuAD's"
    raise InputError(f"{file}: unknown kind of file, got {kind or 'no extension'}; {cure}")
