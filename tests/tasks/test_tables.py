"""Tables of every kind as people's tools write them: each row where it stood, or what is wrong."""

import json
import subprocess
from functools import partial
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.fixtures.refused import problems_of, refused
from tinybert.tasks.delimited import read_glue_table
from tinybert.tasks.files import read_table
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns
from tinybert.tasks.text import read_lines

SINGLE = Columns(sentence1="text", label="label")
PAIR = Columns(sentence1="a", sentence2="b", label="same")
GOOD = '{"text": "a", "label": "x"}\n'
refusal = partial(refused, read_table, columns=SINGLE, labelled=True)
problems = partial(problems_of, read_table, columns=SINGLE, labelled=True)


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return file


def read(file: Path, text: str | bytes) -> Table:
    return read_table(write(file, text), SINGLE, labelled=True)


def glue(folder: Path, text: str | bytes) -> Table:
    return read_glue_table(write(folder / "train.tsv", text), None, PAIR, labelled=True)


def parquet(file: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), file)
    return file


def test_a_stray_double_quote_of_glue_is_a_character_like_any_other(tmp_path: Path) -> None:
    table = glue(tmp_path, 'a\tb\tsame\n"One\tTwo"\t1\nThree "\t"\t0\n')
    assert table.sentence1 == ['"One', 'Three "']
    assert table.sentence2 == ['Two"', '"']
    assert table.numbers == [2, 3]


def test_a_byte_order_mark_does_not_belong_to_the_first_column(tmp_path: Path) -> None:
    table = glue(tmp_path, b"\xef\xbb\xbfsame\ta\tb\r\n1\tx\ty\r\n")
    assert (table.label, table.sentence2) == (["1"], ["y"])


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "one\u2028still one\x0b\x85\r\ntwo\n\n")
    assert [number for number, _ in read_lines(file)] == [1, 2]


def test_columns_are_found_by_name_in_any_order_among_others(tmp_path: Path) -> None:
    table = glue(tmp_path, "id\tsame\tb\tx\ta\n7\t0\tB\t-\tA\n")
    assert (table.sentence1, table.sentence2, table.label) == (["A"], ["B"], ["0"])


def test_a_row_with_too_many_or_too_few_fields_keeps_its_line(tmp_path: Path) -> None:
    table = glue(tmp_path, "a\tb\tsame\n1\t2\t0\n1\t2\n1\t2\t3\t0\n")
    assert sorted(table.malformed) == [3, 4]
    assert "got 2; 3 are right" in table.malformed[3]


def test_csv_fields_may_hold_quotes_separators_and_line_breaks(tmp_path: Path) -> None:
    table = read(tmp_path / "t.csv", 'text,label\n"He said ""no"", then\nleft",x\nplain,y\n')
    assert table.sentence1 == ['He said "no", then\nleft', "plain"]
    assert table.numbers == [2, 4]  # the first record takes lines 2 and 3


def test_an_open_quote_names_the_line_it_begins_on(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", 'text,label\na,x\n"b,y\nc,z\n')
    assert problems(file)[0].startswith(f"{file}:3: wrong quoting")


def test_jsonl_and_parquet_hold_the_same_as_csv(tmp_path: Path) -> None:
    rows = [{"text": "eins", "label": 1, "more": None}, {"text": "zwei", "label": 0, "more": 2}]
    jsonl = write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    for file in (jsonl, tmp_path / "t.parquet"):
        table = read_table(file, SINGLE, labelled=True)
        assert (table.sentence1, table.label) == (["eins", "zwei"], [1, 0])


def test_a_line_that_is_no_json_object_is_a_bad_row(tmp_path: Path) -> None:
    table = read(tmp_path / "t.jsonl", '{"text": "a", "label": "x"}\n{"text": \n[1]\n')
    assert sorted(table.malformed) == [2, 3]


def test_every_undecodable_line_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", b"text,label\ncaf\xe9,x\nok,x\nna\xefve,y\n")
    first, second = problems(file)
    assert first.startswith(f"{file}:2: not UTF-8, got byte 0xe9 at 4; save the file as UTF-8")
    assert "Windows-1252: `iconv -f WINDOWS-1252 -t UTF-8 t.csv > utf8.csv`" in first
    assert second.startswith(f"{file}:4: not UTF-8, got byte 0xef at 3;")


def test_more_than_ten_problems_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", b"text,label\n" + b"\xff,x\n" * 13)
    found = problems(file)
    assert len(found) == 11
    assert "and 3 more like these, got 13 in all" in found[-1]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "t.csv", text)
    assert "is empty, got" in problems(file)[0]
    assert "bytes" in problems(file)[0]


def test_missing_columns_are_listed_beside_those_found(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "Text,Label\na,x\n")
    found = problems(file)
    assert len(found) == 2
    assert "column 'text' is missing, got Text, Label;" in found[0]


def test_only_files_of_separated_fields_are_asked_for_a_line_of_names(tmp_path: Path) -> None:
    csv = write(tmp_path / "t.csv", "Great film,good\n")
    records = write(tmp_path / "t.jsonl", '{"Great film": 0, "good": 1}\n')
    assert "`header: [...]`" in problems(csv)[0] and "`header: [...]`" not in problems(records)[0]
    named = problems_of(read_table, csv, SINGLE, labelled=True, header=["words", "verdict"])
    assert "is missing, got words, verdict;" in named[0] and "`header: [...]`" not in named[0]
    of_glue = problems_of(read_glue_table, csv, None, SINGLE, labelled=True)
    assert "write a first line of names" in of_glue[0] and "`header: [...]`" not in of_glue[0]


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "text,text,label\na,b,x\n")
    assert "'text' stands there 2 times" in problems(file)[0]


@pytest.mark.parametrize("name", ["t.pkl", "t.pickle", "t.xlsx", "t"])
def test_a_pickle_or_an_unknown_extension_is_refused_unread(tmp_path: Path, name: str) -> None:
    assert "unknown kind of file" in problems(tmp_path / name)[0]


@pytest.mark.parametrize(("name", "form"), [("t.conll", "conll"), ("t.json", "squad")])
def test_the_cure_of_an_extension_names_its_format(tmp_path: Path, name: str, form: str) -> None:
    assert f"`format: {form}` under `files`" in problems(tmp_path / name)[0]


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", "text,label\n")
    assert "cannot be read" in problems(file)[0]


def test_a_test_file_needs_no_label(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "text\na\n")
    assert read_table(file, SINGLE, labelled=False).label is None


@pytest.mark.parametrize(
    "text", [f"[{GOOD.strip()},\n{GOOD}]", f"[{GOOD.strip()}]", '{\n  "text": "a"\n}\n']
)
def test_json_that_is_not_one_object_a_line_is_refused_whole(tmp_path: Path, text: str) -> None:
    assert "t.jsonl:1: not one object a line" in refusal(write(tmp_path / "t.jsonl", text))


def test_the_command_that_cuts_an_array_into_lines_works(tmp_path, monkeypatch) -> None:
    file = write(tmp_path / "t.json", f"[{GOOD.strip()},\n{GOOD}]")
    command = refusal(file).split("`")[1].replace("python", "python3", 1)
    monkeypatch.chdir(tmp_path)
    subprocess.run(command, shell=True, check=True)
    assert read_table(tmp_path / "rows.jsonl", SINGLE, labelled=True).sentence1 == ["a", "a"]


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
        assert read_table(file, SINGLE, labelled=True).sentence1 == ["a", "b"]


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
