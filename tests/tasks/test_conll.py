"""Files of a word a line are read as people have them."""

from pathlib import Path

import pytest

from tests.fixtures.refused import refused
from tinybert.tasks.conll import read_conll
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns

COLUMNS = Columns(sentence1="0", label="-1")


def read(tmp_path: Path, text: str, labelled: bool = True, **columns: str) -> Table:
    file = tmp_path / "t.conll"
    file.write_bytes(text.encode())
    return read_conll(file, Columns(**{**COLUMNS.model_dump(), **columns}), labelled)


def test_blank_lines_part_sentences_and_lines_are_kept(tmp_path):
    text = "-DOCSTART- -X- O\n\nEU NNP B\nrejects VBZ O\n \t\n\n\n. . O\n\n\n"
    table = read(tmp_path, text)
    assert table.sentence1 == [["EU", "rejects"], ["."]]
    assert table.label == [["B", "O"], ["O"]]
    assert (table.numbers, table.word_lines) == ([3, 8], [[3, 4], [8]])
    assert table.notes == ["1 -DOCSTART- lines were left out"]


@pytest.mark.parametrize("text", ["-DOCSTART- -X- O\n\n", "#begin document x\n\n"])
def test_a_file_without_a_word_is_empty(tmp_path, text):
    assert "t.conll: is empty, got no words; write a word and" in refused(read, tmp_path, text)


def test_a_line_that_begins_a_document_ends_a_sentence(tmp_path):
    table = read(tmp_path, "a O\n-DOCSTART- O\nb O\n")
    assert table.sentence1 == [["a"], ["b"]]


@pytest.mark.parametrize(
    "text", ["a\tO\r\n\r\nb\tO\r\n", "\ufeffa O\n\nb O", "a  \t O  \n\n b O\n", "a\tO\r\r\n\nb\tO"]
)
def test_line_ends_marks_and_runs_of_blanks_do_not_count(tmp_path, text):
    table = read(tmp_path, text)
    assert (table.sentence1, table.label) == ([["a"], ["b"]], [["O"], ["O"]])


def test_tabs_keep_spaces_and_no_break_spaces_part_nothing(tmp_path):
    assert read(tmp_path, "New York\tB\nnow\tO\n").sentence1 == [["New York", "now"]]
    assert read(tmp_path, "10\u00a0000 O\nnow O\n").sentence1 == [["10\u00a0000", "now"]]
    long = "x" * 100_000
    assert read(tmp_path, f"{long} O\n").sentence1 == [[long]]


def test_columns_are_counted_from_either_end(tmp_path):
    text = "1 a NN B\n2 b VB O\n"
    assert read(tmp_path, text, sentence1="1", label="2").label == [["NN", "VB"]]
    assert read(tmp_path, text, sentence1="-3", label="3").sentence1 == [["a", "b"]]


def test_comments_are_left_out_and_counted_and_a_hash_may_be_a_word(tmp_path):
    text = "#begin document (a); part 000\n# id 1\n# O\na O\n# O\n\n#end document\n"
    table = read(tmp_path, text)
    assert table.sentence1 == [["#", "a", "#"]]
    assert table.notes == ["3 comments were left out"]
    # Of as many columns as words have, but no line has this tag.
    table = read(tmp_path, "# id 12 domain=en\na _ _ B-X\n# _ _ O\nb _ _ O\n")
    assert table.sentence1 == [["a", "#", "b"]]
    assert table.notes == ["1 comments were left out"]


def test_words_of_conll_u_are_its_single_ones(tmp_path):
    def line(number: str, word: str, tag: str) -> str:
        return "\t".join([number, word, "_", tag, *["_"] * 6]) + "\n"

    text = "# text = don't\n" + line("1-2", "don't", "_") + line("1", "do", "AUX")
    table = read(tmp_path, text + line("2", "n't", "PART"), sentence1="1", label="3")
    assert (table.sentence1, table.label) == ([["do", "n't"]], [["AUX", "PART"]])
    assert "1 lines of several words or none were left out" in table.notes


def test_a_line_of_another_width_spoils_its_sentence_alone(tmp_path):
    table = read(tmp_path, "a O\nb c d O\ne\n\nf O\ng O\n")
    assert table.sentence1 == [["f", "g"]]
    assert table.malformed == {
        2: "wrong number of columns, got 4 in 'b c d O', and 1 more lines of its sentence; 2 are "
        "right, as in most lines of the file"
    }


def test_a_test_file_may_have_words_alone(tmp_path):
    table = read(tmp_path, "a\nb\n\nc\n", labelled=False)
    assert (table.sentence1, table.label) == ([["a", "b"], ["c"]], None)
    assert "of tags is missing, got 1 columns" in refused(read, tmp_path, "a\nb\n")


def test_a_column_that_is_not_there_is_refused(tmp_path):
    assert "column 4 is missing, got 2 columns" in refused(read, tmp_path, "a O\n", sentence1="4")
    assert "is no number, got 'tokens'" in refused(read, tmp_path, "a O\n", sentence1="tokens")
