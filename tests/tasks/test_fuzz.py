"""Whatever bytes a table or a task's file holds: rows, or lines that say what is wrong."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse
from tinybert.tasks.files import read_table
from tinybert.tasks.rows import prepare
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns, Files, TaskFile

COLUMNS = Columns(sentence1="text", label="label")
# What separates, quotes, ends and encodes, far more often than chance would have it.
PIECES = [b'"', b'""', b",", b"\t", b";", b"\n", b"\r", b"\r\n", b" ", b"a", b"good", b"bad", b"5"]
PIECES += [b"text", b"label", "é".encode(), b"\xe9", b"\xff\xfe", b"\xef\xbb\xbf", b"\0"]
PIECES += [b"{", b"}", b"[", b'"text":', b'"label":', b"NaN", b"null", b"\\ud800", b"1" * 5000]
bodies = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
heads = st.sampled_from([b"", b"text,label\n", b"label\ttext\r\n", b"text\n"]) | st.sampled_from(
    [b"text\tlabel\na\tgood\nb\tbad\n", b"text,label\na,good\nb,bad\n"]
)
jsonl = st.lists(st.sampled_from([b'{"text": "a", "label": "x"}\n', *PIECES]), max_size=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def read(file: Path, data: bytes, labelled: bool = True) -> Table | None:
    """Return the table, or nothing for a refusal whose every problem is one line with a cure."""
    file.write_bytes(data)
    try:
        table = read_table(file, COLUMNS, labelled)
        prepare("t", TASK, {"train": table}, 1, None)
    except InputError as error:
        assert error.problems
        for problem in error.problems:
            assert len(problem.splitlines()) == 1, problem
            assert problem.startswith(str(file)) or problem.startswith("params/"), problem
            assert "; " in problem, problem
            assert "got " in problem, problem
        return None
    return table


TASK = TaskFile(files=Files(train="t.csv"), columns=COLUMNS, bad_rows="drop")


def lines_below_the_header(data: bytes, name: str) -> int:
    text = data.decode("utf-8-sig").replace("\r\n", "\n")
    text = re.sub("\r+\n", "\n", text)
    if name == "t.csv" or "\n" not in text:
        text = text.replace("\r", "\n")
    return len(text.strip("\n").split("\n")) - 1


@settings(max_examples=400)
@given(heads, bodies, st.sampled_from(["t.csv", "t.tsv"]))
def test_no_row_of_any_csv_or_tsv_is_merged_or_lost_unsaid(folder, head, body, name) -> None:
    table = read(folder / name, head + body)
    if table is None:
        return
    explained = sum(map(int, re.findall(r"(\d+) (?:blank|line ends in quotes)", str(table.notes))))
    for opens, closes in re.findall(r"opens in line (\d+) and closes in line (\d+)", str(table)):
        explained += int(closes) - int(opens)
    rows = len(table.numbers) + len(table.malformed)
    assert rows + explained == lines_below_the_header(head + body, name)


@settings(max_examples=200)
@given(st.binary(max_size=200), st.sampled_from(["t.csv", "t.tsv", "t.jsonl", "t.parquet"]))
def test_any_bytes_are_rows_or_lines_that_say_why_not(folder, data, name) -> None:
    read(folder / name, data)


@settings(max_examples=200)
@given(jsonl.map(b"".join))
def test_each_line_of_jsonl_is_a_row_a_problem_or_blank(folder, data) -> None:
    table = read(folder / "t.jsonl", data)
    if table is not None:
        written = [line for line in re.split(rb"\r*\n|\r", data) if line.strip()]
        assert len(table.numbers) + len(table.malformed) == len(written)


@pytest.fixture(scope="module")
def parquet(folder) -> bytes:
    import pandas as pd

    frame = pd.DataFrame({"text": ["a", "b", "c"] * 20, "label": ["x", "y", "x"] * 20})
    frame.to_parquet(folder / "whole.parquet")
    return (folder / "whole.parquet").read_bytes()


@settings(max_examples=150)
@given(st.data())
def test_a_damaged_parquet_file_is_refused_or_has_all_its_rows(folder, parquet, data) -> None:
    damaged = bytearray(parquet)
    for at in data.draw(st.lists(st.integers(0, len(parquet) - 1), min_size=1, max_size=4)):
        damaged[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(len(parquet) // 2, len(parquet)))
    table = read(folder / "t.parquet", bytes(damaged[:end]))
    assert table is None or len(table.numbers) == 60


KEYS = ["files", "hub", "columns", "labels", "label_words", "kind", "metrics", "rows", "train", "x"]
KEYS += ["sentence1", "label", "separator", "splits", "path", "embedded", "max_length", "glue"]
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text("a:\u00e9\ud83d", max_size=5),
    st.dates(),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), scalars), inner, max_size=5),
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), st.booleans())
def test_any_values_are_a_task_or_lines_that_say_why_not(found, whole) -> None:
    if whole:
        found = {"files": {"train": "t.csv"}, "columns": {"sentence1": "a", "label": "b"}} | found
    try:
        parse(TaskFile, found, "params/tasks/t.yaml")
    except InputError as error:
        assert all(len(problem.splitlines()) == 1 for problem in error.problems), error
