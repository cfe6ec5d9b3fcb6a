import json
from pathlib import Path

import pytest

from tinybert.core.errors import InputError
from tinybert.tasks.delimited import read_glue_table
from tinybert.tasks.files import read_table
from tinybert.tasks.task import Columns
from tinybert.tasks.text import read_lines

SINGLE = Columns(sentence1="text", label="topic")
PAIR = Columns(sentence1="a", sentence2="b", label="same")


def write(file: Path, text: str | bytes) -> Path:
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return file


def problems(file: Path, columns: Columns = SINGLE) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        read_table(file, columns, labelled=True)
    return caught.value.problems


def test_a_stray_double_quote_of_glue_is_a_character_like_any_other(tmp_path: Path) -> None:
    file = write(tmp_path / "train.tsv", 'a\tb\tsame\n"One\tTwo"\t1\nThree "\t"\t0\n')
    table = read_glue_table(file, None, PAIR, labelled=True)
    assert table.sentence1 == ['"One', 'Three "']
    assert table.sentence2 == ['Two"', '"']
    assert table.numbers == [2, 3]


def test_a_byte_order_mark_does_not_belong_to_the_first_column(tmp_path: Path) -> None:
    file = write(tmp_path / "train.tsv", b"\xef\xbb\xbfsame\ta\tb\r\n1\tx\ty\r\n")
    table = read_glue_table(file, None, PAIR, labelled=True)
    assert (table.label, table.sentence2) == (["1"], ["y"])


def test_a_line_ends_at_a_line_feed_and_nowhere_else(tmp_path: Path) -> None:
    file = write(tmp_path / "a.tsv", "one\u2028still one\x0b\x85\r\ntwo\n\n")
    assert [number for number, _ in read_lines(file)] == [1, 2]


def test_columns_are_found_by_name_in_any_order_among_others(tmp_path: Path) -> None:
    file = write(tmp_path / "train.tsv", "id\tsame\tb\tx\ta\n7\t0\tB\t-\tA\n")
    table = read_glue_table(file, None, PAIR, labelled=True)
    assert (table.sentence1, table.sentence2, table.label) == (["A"], ["B"], ["0"])


def test_a_row_with_too_many_or_too_few_fields_keeps_its_line(tmp_path: Path) -> None:
    file = write(tmp_path / "train.tsv", "a\tb\tsame\n1\t2\t0\n1\t2\n1\t2\t3\t0\n")
    table = read_glue_table(file, None, PAIR, labelled=True)
    assert sorted(table.malformed) == [3, 4]
    assert "got 2; 3 are right" in table.malformed[3]


def test_csv_fields_may_hold_quotes_separators_and_line_breaks(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", 'text,topic\n"He said ""no"", then\nleft",x\nplain,y\n')
    table = read_table(file, SINGLE, labelled=True)
    assert table.sentence1 == ['He said "no", then\nleft', "plain"]
    assert table.numbers == [2, 4]  # the first record takes lines 2 and 3


def test_an_open_quote_names_the_line_it_begins_on(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", 'text,topic\na,x\n"b,y\nc,z\n')
    assert problems(file)[0].startswith(f"{file}:3: wrong quoting")


def test_jsonl_and_parquet_hold_the_same_as_csv(tmp_path: Path) -> None:
    import pandas as pd

    rows = [{"text": "eins", "topic": 1, "more": None}, {"text": "zwei", "topic": 0, "more": 2}]
    jsonl = write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)))
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")
    for file in (jsonl, tmp_path / "t.parquet"):
        table = read_table(file, SINGLE, labelled=True)
        assert (table.sentence1, table.label) == (["eins", "zwei"], [1, 0])


def test_a_line_that_is_no_json_object_is_a_bad_row(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"text": "a", "topic": "x"}\n{"text": \n[1]\n')
    table = read_table(file, SINGLE, labelled=True)
    assert sorted(table.malformed) == [2, 3]


def test_every_undecodable_line_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", b"text,topic\ncaf\xe9,x\nok,x\nna\xefve,y\n")
    first, second = problems(file)
    assert first.startswith(f"{file}:2: not UTF-8, got byte 0xe9 at 4; save the file as UTF-8")
    assert "Windows-1252: `iconv -f WINDOWS-1252 -t UTF-8 t.csv > utf8.csv`" in first
    assert second.startswith(f"{file}:4: not UTF-8, got byte 0xef at 3;")


def test_more_than_ten_problems_are_counted(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", b"text,topic\n" + b"\xff,x\n" * 13)
    found = problems(file)
    assert len(found) == 11
    assert "and 3 more like these, got 13 in all" in found[-1]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "t.csv", text)
    assert "is empty, got" in problems(file)[0]
    assert "bytes" in problems(file)[0]


def test_missing_columns_are_listed_beside_those_found(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "Text,Topic\na,x\n")
    found = problems(file)
    assert len(found) == 2
    assert "column 'text' is missing, got Text, Topic;" in found[0]


def test_a_column_that_stands_there_twice_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "text,text,topic\na,b,x\n")
    assert "'text' stands there 2 times" in problems(file)[0]


@pytest.mark.parametrize("name", ["t.pkl", "t.pickle", "t.xlsx", "t"])
def test_a_pickle_or_an_unknown_extension_is_refused_unread(tmp_path: Path, name: str) -> None:
    assert "unknown kind of file" in problems(tmp_path / name)[0]


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path / "t.parquet", "text,topic\n")
    assert "cannot be read" in problems(file)[0]


def test_a_test_file_needs_no_label(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "text\na\n")
    assert read_table(file, SINGLE, labelled=False).label is None
