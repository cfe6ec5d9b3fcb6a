"""What a quote, a line end and a separator mean in CSV and TSV: no row is merged or lost."""

from pathlib import Path

import pytest

from tests.fixtures.refused import problems_of
from tinybert.tasks.files import read_table
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns, Files

COLUMNS = Columns(sentence1="text", label="label")


def read(file: Path, text: str | bytes, separator: str | None = None) -> Table:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(file, COLUMNS, True, separator)


def refusal(file: Path, text: str | bytes, separator: str | None = None) -> str:
    return "\n".join(problems_of(read, file, text, separator))


def test_a_bare_quote_of_a_tsv_swallows_no_row(tmp_path: Path) -> None:
    rows = [f"film {number}\tgood" for number in range(30)]
    rows[3], rows[13] = '"Great film\tgood', 'a 5" screen "they said"\tbad'
    rows[14] = 'so "good"\tgood"'
    table = read(tmp_path / "t.tsv", "\n".join(["text\tlabel", *rows]))
    assert table.sentence1 == [row.split("\t")[0] for row in rows]
    assert table.numbers == list(range(2, 32))
    (note,) = table.notes
    assert "quotes are read as characters" in note
    assert note.endswith(f"the first at {tmp_path / 't.tsv'}:5")


def test_a_tsv_whose_quotes_are_all_csvs_is_unquoted_as_pandas_wrote_it(tmp_path: Path) -> None:
    import pandas as pd

    texts = ['He said "no"', '"all" quoted', "plain", 'inches 5"']
    frame = pd.DataFrame({"text": texts, "label": ["x", "y", "x", "y"]})
    frame.to_csv(tmp_path / "t.tsv", sep="\t", index=False)
    assert read(tmp_path / "t.tsv", (tmp_path / "t.tsv").read_bytes()).sentence1 == texts


@pytest.mark.parametrize(
    ("rows", "lines", "what"),
    [
        ('"a\tb"\tx\n', (2, 2), "a tab"),
        ('ok\ty\n"a\nb"\tx\n', (3, 4), "a line end"),
        ('"a\n\nb ""c""\nd"\tx\nok\ty\n', (2, 5), "a line end"),
        ('ok\t"x\ny"\nok\ty\n', (2, 3), "a line end"),
    ],
)
def test_a_cell_of_a_tsv_with_a_tab_or_a_line_end_names_both_lines(
    tmp_path: Path, rows: str, lines: tuple[int, int], what: str
) -> None:
    table = read(tmp_path / "t.tsv", f"text\tlabel\n{rows}")
    (problem,) = table.malformed.values()
    assert list(table.malformed) == [lines[0]]
    assert f"a cell holds {what}" in problem
    assert f"opens in line {lines[0]} and closes in line {lines[1]}" in problem
    assert set(table.sentence1) <= {"ok"}


def test_a_carriage_return_inside_a_line_of_a_tsv_is_a_bad_row(tmp_path: Path) -> None:
    table = read(tmp_path / "t.tsv", "text\tlabel\na\rb\tx\nc\ty\n")
    assert "a carriage return in the line, got 'a\\rb\\tx'" in table.malformed[2]


@pytest.mark.parametrize("end", ["\r", "\r\n", "\r\r\n", "\n"])
@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_lines_may_end_as_any_system_ends_them(tmp_path: Path, name: str, end: str) -> None:
    separator = "," if name == "t.csv" else "\t"
    rows = [("text", "label"), ("a", "x"), ("b", "y")]
    table = read(tmp_path / name, "".join(separator.join(row) + end for row in rows))
    assert (table.sentence1, table.label, table.numbers) == (["a", "b"], ["x", "y"], [2, 3])
    assert not (table.malformed or table.notes)


def test_quoted_line_ends_of_a_csv_explain_its_count_of_rows(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    table = read(file, 'text,label\na,x\n"b\r\nc\nd",y\n\n"e\nf",x\n')
    # Below the header: lines 2 to 8; three rows, 2 + 1 line ends in quotes, one blank line.
    assert table.notes == [
        f"7 lines hold 3 rows: 3 line ends in quotes, the first at {file}:3, 1 blank"
    ]
    assert table.numbers == [2, 3, 7]


def test_a_bare_quote_of_a_csv_that_swallows_rows_is_refused_with_both_lines(tmp_path) -> None:
    text = 'text,label\nfine,good\n"Great film,good\nso so,bad\nthe "end",bad\nlast",good\nx,bad\n'
    found = refusal(tmp_path / "t.csv", text.replace('the "end"', "the end"))
    assert "t.csv:3: one row of several" in found
    assert "opens in line 3 and closes in line 6" in found
    assert "t.csv:3: wrong quoting, got" in refusal(tmp_path / "t.csv", text)
    assert "in line 5" in refusal(tmp_path / "t.csv", text)


def test_text_of_several_lines_with_commas_is_no_row_of_several(tmp_path: Path) -> None:
    text = 'text,label\n"Hello, world\nBye, all\nsee, you",x\nb,y\n'
    assert read(tmp_path / "t.csv", text).sentence1 == ["Hello, world\nBye, all\nsee, you", "b"]
    first = 'label,text\nx,"Great film\nreally nice"\ny,b\nx,c\n'
    assert read(tmp_path / "t.csv", first).sentence1 == ["Great film\nreally nice", "b", "c"]


def test_a_cell_larger_than_the_csv_modules_limit_is_read(tmp_path: Path) -> None:
    long = "word " * 40_000
    assert read(tmp_path / "t.csv", f'text,label\n"{long}",x\n').sentence1 == [long]


@pytest.mark.parametrize(
    ("name", "text", "setting"),
    [
        ("t.csv", "text;label\na;x\n", '";"'),
        ("t.csv", '"text";"label"\n"a";"x"\n', '";"'),
        ("t.csv", "text\tlabel\na\tx\n", '"\\t"'),
        ("t.csv", "id|text|label\n1|a|x\n", '"|"'),
        ("t.csv", "Review;Verdict\na;x\n", '";"'),
        ("t.tsv", "text,label\na,x\n", '","'),
    ],
)
def test_another_separator_is_named_with_its_setting(
    tmp_path: Path, name: str, text: str, setting: str
) -> None:
    import yaml

    (found,) = refusal(tmp_path / name, text).splitlines()
    assert f"write `separator: {setting}` under `files`" in found
    if "Review" not in text:
        separator = yaml.safe_load(f"separator: {setting}")["separator"]
        assert read(tmp_path / name, text, separator).sentence1 == ["a"]
        assert Files(train=name, separator=separator).separator == separator


def test_the_first_line_that_excel_writes_names_the_separator(tmp_path: Path) -> None:
    table = read(tmp_path / "t.csv", 'sep=;\r\ntext;label\r\n"a;\r\nb";x\r\nc;y\r\n')
    assert (table.sentence1, table.numbers) == (["a;\nb", "c"], [3, 5])


@pytest.mark.parametrize("separator", ["", ";;", "a", "1", '"', "\n", "\\t", "\0"])
def test_a_separator_is_one_character_that_can_part_columns(separator: str) -> None:
    with pytest.raises(ValueError, match="separator must be one character"):
        Files(train="t.csv", separator=separator)


def test_a_separator_without_a_csv_or_one_file_for_two_splits_is_refused() -> None:
    with pytest.raises(ValueError, match="separator is of CSV and TSV"):
        Files(train="t.jsonl", separator=";")
    with pytest.raises(ValueError, match="a file of its own"):
        Files(train="t.csv", dev="t.csv")


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ("a,x,", "remove the separator at the end of the line"),
        ('x, "a, b"', "a quote must follow the separator without a space"),
        ("a", "got 1; 2 are right"),
    ],
)
def test_a_row_of_another_width_says_what_may_be_the_cause(tmp_path, row: str, hint: str) -> None:
    assert hint in read(tmp_path / "t.csv", f"text,label\n{row}\nb,y\n").malformed[2]


def test_space_around_names_and_blank_lines_before_them_do_not_matter(tmp_path: Path) -> None:
    assert read(tmp_path / "t.csv", "\n text , label\na,x\n").sentence1 == ["a"]
    assert read(tmp_path / "t.tsv", "\n text \t label\na\tx\n\nb\ty\n").notes == [
        "3 lines hold 2 rows: 1 blank"
    ]


def test_a_file_without_a_header_is_told_so(tmp_path: Path) -> None:
    found = refusal(tmp_path / "t.csv", "Great film,good\nBad film,bad\n")
    assert "or write `header: [...]` beside the file if it has no line of names" in found
    assert "did you mean 'Text'?" in refusal(tmp_path / "t.csv", "Text,label\na,x\n")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        ("text,label\na,x\n".encode("utf-16"), "UTF-16; save it as UTF-8: `iconv -f UTF-16 "),
        ("text,label\na,x\n".encode("utf-16-le"), "`iconv -f UTF-16LE -t UTF-8 t.csv"),
        ("text,label\nдля,x\n".encode("cp1251"), "GBK, Shift_JIS or the like"),
        (b"text,label\n\xc3\xa9t\xe9,x\n\xc3\xa9,y\n", "write that line in UTF-8, as other"),
        (b"\x1f\x8b\x08\x00", "packed by gzip; unpack it with gunzip"),
        (b"PK\x03\x04rest", "an Excel workbook"),
        (b"text,label\na\0b,x\n", "t.csv:2: holds a NUL"),
    ],
)
def test_bytes_that_are_no_utf8_text_are_called_what_they_look_like(tmp_path, data, what) -> None:
    found = refusal(tmp_path / "t.csv", data)
    assert what in found
    assert len(found.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("t.txt", "rename it to .tsv if tabs"),
        ("t.xlsx", "save its sheet as CSV UTF-8"),
        ("t.csv.gz", "unpack it with gunzip"),
        ("t.json", "one a line: `python -c"),
    ],
)
def test_another_extension_is_told_what_would_be_right(
    tmp_path: Path, name: str, cure: str
) -> None:
    assert cure in refusal(tmp_path / name, "text,label\na,x\n")


def test_a_quote_that_swallows_rows_is_found_by_their_values_too(tmp_path) -> None:
    rows = 'text,label\n"good one,1.23\nb one,2.34\nc one",3.45\nd one,4.56\ne,5.67\n'
    assert "t.csv:2: one row of several" in refusal(tmp_path / "t.csv", rows)
    whole = rows.replace('"good one,1.23', '"good one').replace("b one,2.34", "b, one")
    assert read(tmp_path / "t.csv", whole).numbers == [2, 5, 6]


def test_names_in_another_case_above_a_file_with_a_header_of_its_own_are_no_row(tmp_path) -> None:
    (tmp_path / "t.csv").write_text("Text,Label\na,x\nb,y\n")
    found = problems_of(read_table, tmp_path / "t.csv", COLUMNS, True, None, ["text", "label"])
    assert "remove `header`" in found[0]
