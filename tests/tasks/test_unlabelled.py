"""Rows without labels: where they are read from, which are taken, and what is refused."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.prepare_task import prepare_task
from tests.fixtures.refused import problems_of, refused
from tests.fixtures.tables import hub_parquet
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse
from tinybert.tasks.phase_rows import read_rows
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.task import read_info, read_unlabelled
from tinybert.tasks.task_file import TaskFile

SETTINGS = PrepareTaskSettings(
    glue="folder", glue_hub="nyu-mll/glue", max_train_rows=None, sampled_pairs=0
)
TRAIN = "text,topic\n" + "".join(f"train {i},{'xy'[i % 2]}\n" for i in range(4))
DEV, TEST = "text,topic\ndev 0,x\ndev 1,y\n", "text\ntest 0\n"
SINGLE = {
    "files": {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"},
    "columns": {"sentence1": "text", "label": "topic"},
}
PAIRS = {
    "files": {"train": "pairs.tsv", "dev": "pairs_dev.tsv"},
    "columns": {"sentence1": "one", "sentence2": "two", "label": "same"},
}
PAIR_ROWS = "one\ttwo\tsame\na\tb\t0\nc\td\t1\n"


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Return a folder with the labelled files of both tasks."""
    files = {"train.csv": TRAIN, "dev.csv": DEV, "test.csv": TEST}
    files |= {"pairs.tsv": PAIR_ROWS, "pairs_dev.tsv": "one\ttwo\tsame\ne\tf\t0\n"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def prepared(raw: Path, task: Mapping[str, Any], unlabelled: Any, **further: Any) -> pd.DataFrame:
    """Prepare a task and return its unlabelled rows."""
    seed = further.pop("seed", 1)
    file = parse(TaskFile, {**task, "unlabelled": unlabelled, **further}, "task")
    prepare_task("mine", file, raw, SETTINGS, seed, raw / "out")
    return read_unlabelled(raw / "out", read_info(raw / "out"))


refusal = partial(refused, prepared)


def texts(raw: Path, unlabelled: Any, **further: Any) -> set[str]:
    return set(prepared(raw, SINGLE, unlabelled, **further)["sentence1"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("more.csv", "text\nu\nv\n"),
        ("more.tsv", "topic\ttext\nnone\tu\n\tv\n"),
        ("more.jsonl", '{"text": "u"}\n{"text": "v"}\n'),
        ("more.txt", "u\n\n v \n"),
    ],
)
def test_every_kind_of_file_gives_its_texts(raw, name, content):
    (raw / name).write_text(content)
    assert texts(raw, {"files": name}) == {"u", "v"}


@pytest.mark.parametrize("of", ["more.txt", ["more.txt"], {"files": ["more.txt"]}])
def test_a_name_or_a_list_of_names_stands_for_files(raw, of):
    (raw / "more.txt").write_text("u\n")
    assert texts(raw, of) == {"u"}


def test_several_files_with_columns_and_a_separator_of_their_own(raw):
    (raw / "one.csv").write_text("body;date\nu;1\n")
    (raw / "two.txt").write_text("v\n")
    of = {"files": ["one.csv", "two.txt"], "separator": ";", "columns": {"sentence1": "body"}}
    assert texts(raw, of) == {"u", "v"}


def test_a_file_without_a_line_of_names_has_them_in_header(raw):
    (raw / "one.csv").write_text("1,u\n2,v\n")
    (raw / "two.txt").write_text("w\n")
    assert texts(raw, {"files": ["one.csv", "two.txt"], "header": ["date", "text"]}) == set("uvw")
    (raw / "one.csv").write_text("date,text\n1,u\n")
    line = refusal(raw, SINGLE, {"files": "one.csv", "header": ["date", "text"]})
    assert "one.csv:1: the first line must be a row, since the task's `header` gives" in line
    for header, why in ((["a", "a"], "must be different"), (["a"], "is of CSV and TSV")):
        files = "one.csv" if len(header) > 1 else "two.txt"
        line = refused(
            parse, TaskFile, {**SINGLE, "unlabelled": {"files": files, "header": header}}, "t"
        )
        assert f"header {why}" in line


def test_a_folder_in_the_hubs_layout_gives_one_split_and_no_label(raw):
    columns = {"text": ["u", "v"], "label": [0, 1]}
    hub_parquet(raw / "some/set/plain/unsupervised-0.parquet", columns, ["x", "y"])
    hub = {"path": "some/set", "name": "plain", "split": "unsupervised"}
    rows = prepared(raw, SINGLE, {"hub": hub, "columns": {"sentence1": "text"}})
    assert (set(rows["sentence1"]), list(rows)) == ({"u", "v"}, ["sentence1"])


def test_pairs_are_read_as_pairs(raw):
    (raw / "more.tsv").write_text("one\ttwo\nu\tv\n")
    rows = prepared(raw, PAIRS, {"files": "more.tsv"})
    assert rows.to_dict("list") == {"sentence1": ["u"], "sentence2": ["v"]}


def test_rows_of_other_splits_and_duplicates_are_left_out_and_counted(raw, capsys):
    # Of 9 rows: one of dev and one of test, one of train, a duplicate, and u, v, w, of which 2.
    # Rows that differ in case, white space or Unicode's forms alone count as the same.
    more = ["DEV  0", "test\u00a00", "Train 1", "u", "U ", "v", "ﬁne", "fine", "dev 0"]
    (raw / "more.txt").write_text("\n".join(more) + "\n")
    found = texts(raw, {"files": "more.txt", "max_rows": 2})
    assert len(found) == 2
    assert found < {"u", "U", "v", "ﬁne", "fine"}
    assert (
        "mine unlabelled: 2 of 9 rows, seed 1; left out: 0 bad, 3 in dev or test, 1 in train, "
        "2 duplicates, 1 beyond max_rows"
    ) in capsys.readouterr().out


def test_rows_set_aside_as_dev_or_cut_from_train_are_told_apart(raw, capsys):
    rows = [f"row {i},{'xy'[i % 2]}" for i in range(40)]
    (raw / "train.csv").write_text("\n".join(["text,topic", *rows]) + "\n")
    task = parse(
        TaskFile,
        {**SINGLE, "files": {"train": "train.csv"}, "unlabelled": {"files": "train.csv"}},
        "task",
    )
    settings = SETTINGS.model_copy(update={"max_train_rows": 10})
    info = prepare_task("mine", task, raw, settings, 1, raw / "out")
    # A tenth of 40 is dev; of the other 36, 10 stay in train and 26 have lost their label.
    assert (info.num_rows, info.num_unlabelled) == ({"train": 10, "dev": 4}, 26)
    assert "0 bad, 4 in dev or test, 10 in train, 0 dup" in capsys.readouterr().out
    rows = read_rows("unlabelled", raw / "out", raw / "none", info)
    assert rows["sentence1"].nunique() == 36


def test_a_pair_of_dev_the_other_way_round_is_left_out(raw):
    (raw / "more.tsv").write_text("one\ttwo\nF\te\nu\tv\n")
    assert prepared(raw, PAIRS, {"files": "more.tsv"})["sentence1"].tolist() == ["u"]


def test_the_same_rows_are_drawn_whatever_the_order_of_files_and_rows(raw):
    lines = [f"text {i % 150}" for i in range(200)]
    (raw / "a.txt").write_text("\n".join(lines[:80]) + "\n")
    (raw / "b.txt").write_text("\n".join(lines[80:]) + "\n")
    (raw / "c.txt").write_text("\n".join(reversed(lines)) + "\n")
    few, again, other, more = (
        prepared(raw, SINGLE, {"files": files, "max_rows": size}, seed=seed)["sentence1"].tolist()
        for files, size, seed in (
            (["a.txt", "b.txt"], 20, 1),
            (["c.txt"], 20, 1),
            (["c.txt"], 20, 2),
            (["b.txt", "a.txt"], 60, 1),
        )
    )
    assert few == again == more[:20]
    assert len(set(more)) == 60
    assert set(few) != set(other)


@pytest.mark.slow  # documentation is read twice
def test_an_embedded_task_gives_further_rows_of_trains_text(raw):
    rows = {"train": 20, "dev": 10, "test": 10}
    task = {"embedded": "similarity", "kind": "regression"}
    task |= {"columns": {"sentence1": "sentence1", "sentence2": "sentence2", "label": "label"}}
    frames = {}
    for further in (0, 30):
        file = parse(TaskFile, {**task, "rows": {**rows, "unlabelled": further}}, "task")
        info = prepare_task("mine", file, raw, SETTINGS, 1, raw / "out")
        assert info.num_rows == rows
        assert info.num_unlabelled == further
        frames[further] = pd.read_parquet(raw / "out" / "train.parquet")
    assert frames[0].equals(frames[30])
    unlabelled = read_unlabelled(raw / "out", info)
    assert not set(unlabelled["sentence1"]) & set(frames[30]["sentence1"])


def test_bad_rows_are_refused_or_dropped_as_the_task_says(raw, capsys):
    (raw / "more.csv").write_text("text,other\nu,1\n,2\nv,3\n")
    assert "more.csv:3: sentence 1 is no text, got" in refusal(raw, SINGLE, {"files": "more.csv"})
    assert texts(raw, {"files": "more.csv"}, bad_rows="drop") == {"u", "v"}
    printed = capsys.readouterr().out
    assert "mine unlabelled: dropped 1 bad rows of 3 (33%), the first at" in printed
    assert "2 of 3 rows, seed 1; left out: 1 bad, " in printed


WRONG = {
    "an empty file": ("more.txt", "", "more.txt: is empty, got 0 bytes; write one text a line"),
    "blank lines": ("more.txt", "\n\n", "more.txt: is empty, got 2 bytes; write one"),
    "a header alone": ("more.csv", "text\n", "more.csv: is empty, got no rows; write some"),
    "no column": (
        "more.csv",
        "body\nu\n",
        "column 'text' is missing, got body; name the right one under `unlabelled: columns`",
    ),
    "rows of dev": (
        "more.txt",
        "dev 0\nDev 1\n",
        "more.txt: no unlabelled row is left, got 2: 0 bad, 2 in dev or test, 0 in train, 0 dupl",
    ),
    "no text": ("more.pdf", "u\n", "more.pdf: unknown kind of file, got .pdf; write it as"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_files_without_rows_to_train_on_are_refused_in_a_line(raw, wrong):
    name, content, line = WRONG[wrong]
    (raw / name).write_text(content)
    assert line in refusal(raw, SINGLE, {"files": name})
    assert not (raw / "out").exists()


@pytest.mark.parametrize("split", ["dev", "test"])
def test_the_file_of_dev_or_test_is_refused(raw, split):
    (raw / "link.csv").symlink_to(raw / f"{split}.csv")
    line = refusal(raw, SINGLE, {"files": ["link.csv"]})
    assert f"link.csv: is the task's {split}, got it as unlabelled rows too; name another" in line


def test_a_missing_file_is_refused_with_what_is_there(raw):
    line = refusal(raw, SINGLE, {"files": "Train.csv"})
    assert "Train.csv: missing, got" in line
    assert "did you mean 'train.csv'?" in line


def test_single_texts_for_a_task_of_pairs_are_refused(raw):
    (raw / "more.tsv").write_text("one\tid\nu\t1\n")
    assert "column 'two' is missing" in refusal(raw, PAIRS, {"files": "more.tsv"})
    assert "have two columns, got more.txt, which has" in refusal(raw, PAIRS, {"files": "more.txt"})
    of = {"files": "more.tsv", "columns": {"sentence1": "one"}}
    assert "got columns without sentence2; name it" in refusal(raw, PAIRS, of)


def test_pairs_for_a_task_of_single_texts_are_refused(raw):
    of = {"files": "more.tsv", "columns": {"sentence1": "one", "sentence2": "two"}}
    assert "got columns with sentence2; take it out" in refusal(raw, SINGLE, of)


@pytest.mark.parametrize(
    ("of", "line"),
    [
        ({}, "exactly one of files, hub must be given, got none; keep one"),
        ({"files": "a.txt", "hub": {"path": "b"}}, "must be given, got both; keep one"),
        ({"files": ["a.txt", "a.txt"]}, "files must be different, got"),
        ({"files": "a.txt", "separator": ";"}, "separator is of CSV and TSV, got none of them"),
        ({"file": "a.txt"}, "did you mean 'files'?"),
        ({"files": "a.txt", "max_rows": 0}, "max_rows: wrong value, got 0"),
    ],
)
def test_a_task_file_that_names_no_one_source_is_refused(of, line):
    found = problems_of(parse, TaskFile, {**SINGLE, "unlabelled": of}, "task")
    assert any(line in problem for problem in found)


def test_a_hubs_split_of_that_name_is_refused_with_the_key_that_is_meant():
    hub = {"path": "some/set", "splits": {"train": "train", "unlabelled": "unsupervised"}}
    with pytest.raises(InputError, match=r"unlabelled: \{hub: \{path: some/set, split: unsuper"):
        parse(TaskFile, {"hub": hub, "columns": SINGLE["columns"]}, "task")


def test_a_table_with_unnamed_columns_gives_its_texts(raw):
    (raw / "more.csv").write_text(",text,\n0,x one,\n1,x two,\n")
    assert texts(raw, "more.csv") == {"x one", "x two"}


def test_what_is_wrong_with_a_file_names_the_key_that_names_it(raw):
    (raw / "more.csv").write_text("number;text\n1;x one\n")
    line = refusal(raw, SINGLE, "more.csv")
    assert 'write `separator: ";"` under `unlabelled` of the task\'s file' in line
    assert "name each file, and correct `unlabelled`" in refusal(raw, SINGLE, "more*.csv")
    (raw / "more").mkdir()
    assert "name each file, correct `unlabelled`" in refusal(raw, SINGLE, "more")
