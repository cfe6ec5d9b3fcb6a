"""Files of one task that do not fit each other, or not the task's file: one line says how."""

import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.refused import refused
from tests.fixtures.tables import table_of
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse
from tinybert.tasks.rows import Prepared, prepare
from tinybert.tasks.sources import Sources, read_splits
from tinybert.tasks.task_file import TaskFile
from tinybert.tasks.text import spoilt_text

COLUMNS = {"sentence1": "text", "label": "label"}
TRAIN = {"files": {"train": "train.csv"}}
WITH_DEV = {"files": {"train": "train.csv", "dev": "dev.csv"}}
WITH_TEST = {"files": {"train": "train.csv", "test": "test.csv"}}


def rows(*labels: str, first: int = 0) -> str:
    """Return a CSV file of twenty rows that take the labels in turn."""
    lines = [f"row {first + n},{labels[n % len(labels)]}" for n in range(20)]
    return "\n".join(["text,label", *lines]) + "\n"


def read(folder: Path, task: dict[str, Any], **texts: str) -> Prepared:
    for name, text in texts.items():
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    parsed = parse(TaskFile, {"columns": COLUMNS, **task}, "params/tasks/t.yaml")
    tables = read_splits(parsed, Sources(folder, "folder", "glue"), 1)
    return prepare("t", parsed, tables, 1, None)


refusal = partial(refused, read)


@pytest.mark.parametrize(("split", "task"), [("dev", WITH_DEV), ("test", WITH_TEST)])
def test_a_split_with_none_of_trains_labels_gets_one_line_with_both_sets(tmp_path, split, task):
    other = rows("neg", "pos", first=50)
    line = refusal(tmp_path, task, train=rows("bad", "good"), **{split: other})
    assert f"{split}.csv: no row has a known label, got 'neg', 'pos' in 20 rows" in line
    assert "known: bad, good; " in line
    assert 'label_words: {"neg": ?, "pos": ?}' in line
    assert ("leave the column 'label' out" in line) == (split == "test")


def test_labels_of_the_tasks_file_that_train_has_not_get_one_line(tmp_path):
    task = {**TRAIN, "labels": ["Neg", "Pos", "other"]}
    line = refusal(tmp_path, task, train=rows("neg", "pos"))
    assert "train.csv: no row has a known label" in line
    assert 'label_words: {"neg": "Neg", "pos": "Pos"}' in line


def test_true_and_1_are_one_label_until_they_are_listed(tmp_path):
    with pytest.raises(InputError, match='got "1" in 5 rows and "true" in 5 rows'):
        read(tmp_path, TRAIN, train=rows("1", "true", "0", "false"))
    (tmp_path / "a.jsonl").write_text(
        "".join(
            f'{{"text": "{n}", "label": {["1", "true", "0", "false"][n % 4]}}}\n' for n in range(20)
        )
    )
    with pytest.raises(InputError, match='got "1" in 5 rows and "true" in 5 rows'):
        read(tmp_path, {"files": {"train": "a.jsonl"}})
    listed = ["0", "1", "false", "true"]
    assert read(tmp_path, {**TRAIN, "labels": listed}).info.labels == listed
    read(tmp_path, TRAIN, train=rows("true", "false"))
    read(tmp_path, TRAIN, train=rows("yes", "no"))


@pytest.mark.parametrize("name", ["./train.csv", "sub/../train.csv", "link.csv", "hard.csv"])
def test_one_file_as_two_splits_is_refused_under_any_name(tmp_path, name):
    (tmp_path / "train.csv").write_text(rows("bad", "good"))
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.csv").symlink_to("train.csv")
    os.link(tmp_path / "train.csv", tmp_path / "hard.csv")
    line = refusal(tmp_path, {"files": {"train": "train.csv", "dev": name}})
    assert "each split must have a file of its own" in line


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("folder", "is a folder, got part.csv in it; name one file a split"),
        ("*.csv", "a pattern is not read: join the files to one"),
        ("TRAIN.csv", "did you mean 'train.csv'?"),
        ("data/raw/tasks/train.csv", "write train.csv"),
        ("https://host/train.csv", "an address is not read: download it"),
        ("dangling.csv", "leads nowhere, got a link to gone.csv; link it anew"),
        ("", "each split must name a file, got ''"),
        ("/etc/train.csv", "outside sources.tasks"),
        ("other.csv", "put the file there, or correct `files`"),
    ],
)
def test_what_is_no_file_is_said_with_its_cure(tmp_path, name, expected):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part.csv").touch()
    (tmp_path / "dangling.csv").symlink_to("gone.csv")
    line = refusal(tmp_path, {"files": {"train": name}}, train=rows("bad", "good"))
    assert expected in line


@pytest.mark.parametrize("header", ["Text", " text", "TEXT ", "te_xt", "texts"])
def test_a_column_spelt_otherwise_is_suggested(tmp_path, header):
    task = {**TRAIN, "columns": {"sentence1": "te xt", "label": "label"}}
    text = rows("bad", "good").replace("text,", f"{header},", 1)
    line = refusal(tmp_path, task, train=text)
    assert f"did you mean {header.strip()!r}?" in line


def test_a_quote_that_swallows_rows_of_an_unlabelled_file_is_refused(tmp_path):
    test = 'id,text\n1,"Great film\n2,row b\n3,row c\n4,the end"\n5,row d\n'
    line = refusal(tmp_path, WITH_TEST, train=rows("bad", "good"), test=test)
    assert "test.csv:2: one row of several" in line
    verse = 'id,text\n1,"Roses are red,\nviolets blue,\nend"\n2,row c\n'
    assert read(tmp_path, WITH_TEST, test=verse).info.num_rows["test"] == 2


def spoilt(*texts: str) -> list[str]:
    return spoilt_text(table_of([(text, None) for text in texts], "t.csv"))


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("cp1252", "WINDOWS-1252"), ("cp1251", "WINDOWS-1251"), ("mac_roman", "MACINTOSH")],
)
def test_utf8_read_as_something_else_is_counted_with_what_it_was_read_as(encoding, name):
    meant = "caf\u00e9" if encoding != "cp1251" else "\u043c\u0435\u043d\u0443"
    seen = meant.encode().decode(encoding)
    (line,) = spoilt("plain", f"a {seen} b", f"{seen} c")
    assert line.startswith(f"2 of 3 rows hold UTF-8 that was read as {name}, such as {seen!r}")
    assert f"for {meant!r} at t.csv:3" in line


def test_lost_characters_are_counted():
    (line,) = spoilt("caf\ufffd", "plain", "\u951f\u65a4\u62f7")
    assert line.startswith("2 of 3 rows hold U+FFFD")
    assert "the first at t.csv:2; export" in line


@pytest.mark.parametrize(
    "text",
    [
        "caf\u00e9 \u201cna\u00efve\u201d \u2013 \u00bfqu\u00e9? \u00c3O \u00c2ngela",
        "20 \u00b0C \u00a3 \u20ac5",
        "\u041f\u0440\u0438\u0432\u0435\u0442, \u00ab\u043c\u0438\u0440\u00bb",
        "\u2014 \u0401\u0436\u0438\u043a",
        "\u6587\u5b57 \u0e44\u0e17\u0e22 \u05e9\u05dc\u05d5\u05dd \U0001f600",
    ],
)
def test_text_of_many_languages_is_not_taken_for_spoilt(text):
    assert spoilt(text) == []
