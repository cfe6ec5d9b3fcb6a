"""JSONL and Parquet as people's tools write them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tinybert.core.errors import InputError
from tinybert.tasks.files import read_table
from tinybert.tasks.tables import Table
from tinybert.tasks.task import Columns

COLUMNS = Columns(sentence1="text", label="label")
GOOD = '{"text": "a", "label": "x"}\n'


def read(file: Path, text: str) -> Table:
    file.write_text(text, encoding="utf-8")
    return read_table(file, COLUMNS, True)


def parquet(file: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def refusal(file: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_table(file, COLUMNS, True)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "text", [f"[{GOOD.strip()},\n{GOOD}]", f"[{GOOD.strip()}]", '{\n  "text": "a"\n}\n']
)
def test_json_that_is_not_one_object_a_line_is_refused_whole(tmp_path: Path, text: str) -> None:
    file = tmp_path / "t.jsonl"
    file.write_text(text)
    assert "t.jsonl:1: not one object a line" in refusal(file)


def test_the_command_that_cuts_an_array_into_lines_works(tmp_path, monkeypatch) -> None:
    import subprocess

    (tmp_path / "t.json").write_text(f"[{GOOD.strip()},\n{GOOD}]")
    command = refusal(tmp_path / "t.json").split("`")[1].replace("python", "python3", 1)
    monkeypatch.chdir(tmp_path)
    subprocess.run(command, shell=True, check=True)
    assert read_table(tmp_path / "rows.jsonl", COLUMNS, True).sentence1 == ["a", "a"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('{"text": "a", "label": "x", "label": "y"}', "a key stands there twice"),
        ('{"text": "a", "label": ' + "1" * 5000 + "}", "not JSON, got Exceeds the limit"),
        ("[" * 100_000, "not JSON"),
        ('"text"', "not an object"),
    ],
)
def test_a_line_that_cannot_be_a_row_is_a_bad_row(tmp_path: Path, line: str, problem: str) -> None:
    assert problem in read(tmp_path / "t.jsonl", f"{GOOD}{line}\n{GOOD}").malformed[2]


def test_blank_lines_of_jsonl_are_no_rows_and_are_said(tmp_path: Path) -> None:
    table = read(tmp_path / "t.jsonl", f"{GOOD}\n  \n{GOOD}")
    assert table.numbers == [1, 4]
    assert table.notes == ["4 lines hold 2 rows: 2 blank"]


def test_every_arrow_type_of_text_is_text(tmp_path: Path) -> None:
    plain = pa.array(["a", "b"])
    for texts in (plain, plain.cast(pa.large_string()), plain.dictionary_encode()):
        file = parquet(tmp_path / "t.parquet", text=texts, label=pa.array([1.0, 2.0]))
        assert read_table(file, COLUMNS, True).sentence1 == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (pa.array([["x"], ["y"]]), "list<"),
        (pa.array([b"x", b"y"]), "binary"),
        (pa.array([1, 2], pa.timestamp("ns")), "timestamp"),
        (pa.array([{"a": 1}, {"a": 2}]), "struct"),
    ],
)
def test_a_column_of_another_type_is_one_line(tmp_path: Path, labels: pa.Array, kind: str) -> None:
    file = parquet(tmp_path / "t.parquet", text=["a", "b"], label=labels)
    assert f"column 'label' holds no text, number or truth value, got Arrow's type {kind}" in (
        refusal(file)
    )


def test_parquet_text_that_is_not_utf8_or_cut_off_is_one_line(tmp_path: Path) -> None:
    offsets = pa.array(["a", "b"]).buffers()[:2]
    broken = pa.Array.from_buffers(pa.string(), 2, [*offsets, pa.py_buffer(b"\xff\xfe")])
    file = parquet(tmp_path / "t.parquet", text=broken, label=["x", "y"])
    assert "column 'text' is damaged, got" in refusal(file)
    file.write_bytes(file.read_bytes()[:-20])
    assert "cannot be read" in refusal(file)
