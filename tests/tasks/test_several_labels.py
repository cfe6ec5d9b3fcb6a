"""Rows with several labels, or none: read from lists, from text, from columns of 0 and 1."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score

from tests.fixtures.refused import problems_of, refused
from tinybert.settings.reader import parse
from tinybert.tasks.files import read_table
from tinybert.tasks.metrics import multi_hot, score_task
from tinybert.tasks.rows import prepare
from tinybert.tasks.task import TaskInfo
from tinybert.tasks.task_file import TaskFile

TEXTS = ["a fine day", "a bad day", "a day", "bad but fine"]


def task(**changes) -> TaskFile:
    given = {"files": {"train": "t.csv"}, "columns": {"sentence1": "text", "label": "labels"}}
    return TaskFile(**{**given, "kind": "multilabel", **changes})


def prepared(tmp_path, name: str, content: str, of: TaskFile):
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    table = read_table(file, of.columns, True)
    return prepare("mine", of, {"train": table, "dev": table}, 0, None)


def labels_of(found) -> list[list[int]]:
    return [list(map(int, row)) for row in found.splits["train"]["label"]]


FILES = {
    "text.csv": 'text,labels\na fine day,joy\na bad day,"anger, fear"\na day,\nb,"joy,fear,joy"\n',
    "lists.jsonl": '{"text": "a fine day", "labels": ["joy"]}\n'
    '{"text": "a bad day", "labels": ["fear", "anger"]}\n{"text": "a day", "labels": []}\n'
    '{"text": "b", "labels": ["joy", "fear"]}\n',
}


@pytest.mark.parametrize("name", FILES)
def test_labels_are_numbered_sorted_and_a_row_may_have_none(tmp_path, name):
    found = prepared(tmp_path, name, FILES[name], task())
    assert found.info.labels == ["anger", "fear", "joy"]
    assert labels_of(found) == [[2], [0, 1], [], [1, 2]]
    assert found.info.num_outputs == 3
    assert found.info.shares == [1 / 4, 2 / 4, 2 / 4]
    assert any("label 'anger' has a single row" in note for note in found.notes)


def test_columns_of_0_and_1_are_the_labels(tmp_path):
    columns = {"sentence1": "text", "label": ["joy", "anger"]}
    rows = "text,anger,joy\na,0,1\nb,1,1\nc,0,0\nd,true,FALSE\n"
    found = prepared(tmp_path, "t.csv", rows, task(columns=columns))
    assert found.info.labels == ["anger", "joy"]
    assert labels_of(found) == [[1], [0, 1], [], [0]]


def test_numbers_lead_to_names_and_the_separator_is_named(tmp_path):
    words = {"0": "joy", "1": "anger"}
    of = task(labels=["joy", "anger"], label_words=words, label_separator="|")
    found = prepared(tmp_path, "t.csv", "text,labels\na,0\nb,0|1\n", of)
    assert labels_of(found) == [[0], [0, 1]]


def test_a_frame_of_lists_goes_through_parquet(tmp_path):
    frame = pd.DataFrame({"text": TEXTS[:3], "labels": [["b"], [], ["a", "b"]]})
    frame.to_parquet(tmp_path / "t.parquet")
    of = task()
    table = read_table(tmp_path / "t.parquet", of.columns, True, lists=True)
    assert labels_of(prepare("m", of, {"train": table, "dev": table}, 0, None)) == [[1], [], [0, 1]]


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ("a,joy\nb,jy\nc,fear", r":3: unknown label, got 'jy'; known: joy, fear"),
        ('a,joy\nb,"joy,Joy"\nc,fear', r'got "joy" in 4 rows and "Joy" in 2 rows'),
    ],
)
def test_an_unknown_label_of_several_is_named_with_its_line(tmp_path, rows, line):
    of = task(labels=["joy", "fear"])
    assert line.replace("\\", "") in refused(
        prepared, tmp_path, "t.csv", "text,labels\n" + rows, of
    )


def test_every_wrong_cell_of_0_and_1_is_named(tmp_path):
    columns = {"sentence1": "text", "label": ["joy", "anger"]}
    rows = "text,anger,joy\na,0,1\nb,2,1\nc,,x\n"
    found = problems_of(prepared, tmp_path, "t.csv", rows, task(columns=columns))
    assert [line.partition("t.csv")[2] for line in found] == [
        ":3: column 'anger' must be 0 or 1, got '2'; correct it",
        ":4: column 'joy' must be 0 or 1, got 'x'; correct it; column 'anger' must be 0 or 1, got "
        "''; correct it",
    ]


def test_missing_labels_are_no_row_without_labels(tmp_path):
    rows = '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": null}\n'
    line = refused(prepared, tmp_path, "t.jsonl", rows, task())
    assert "t.jsonl:2: labels are missing, got null; write [] for a row without any" in line


def test_a_label_with_a_comma_is_refused_since_predictions_are_parted_by_it(tmp_path):
    rows = '{"text": "a", "labels": ["x, y", "z"]}\n'
    assert "must hold no comma, got 'x, y'" in refused(prepared, tmp_path, "t.jsonl", rows, task())


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"label_separator": ""}, "at least 1 character"),
        (
            {"kind": "classification", "columns": {"sentence1": "a", "label": ["b", "c"]}},
            "kind: mu",
        ),
        ({"metrics": ["matthews"]}, "f1_micro, f1_macro, accuracy"),
        ({"max_answer_length": 9}, "max_answer_length is of kind span, got it in one of kind mult"),
        ({"kind": "classification", "label_separator": ";"}, "label_separator is of kind multil"),
        ({"columns": {"sentence1": "a", "label": ["b", "a"]}}, "must name different columns"),
        (
            {"long": "head_tail", "columns": {"sentence1": "a", "sentence2": "c", "label": "b"}},
            "cut",
        ),
        ({"max_length": 64, "stride": 40}, "at most half of max_length 64, got 40; write 16"),
    ],
)
def test_a_task_file_that_does_not_fit_is_refused(changes, line):
    with pytest.raises(ValueError, match=line):
        task(**changes)


@pytest.mark.parametrize("separator", [";", "|", " "])
def test_several_labels_are_not_read_as_one(tmp_path, separator):
    rows = f"text,labels\na,joy\nb,anger\nc,joy{separator}anger\n"
    line = refused(prepared, tmp_path, "t.csv", rows, task())
    assert f'`label_separator: "{separator}"`' in line
    listed = task(labels=["joy", "anger", f"joy{separator}anger"])
    assert labels_of(prepared(tmp_path, "t.csv", rows, listed)) == [[0], [1], [2]]
    assert len(labels_of(prepared(tmp_path, "t.csv", rows, task(label_separator=separator)))) == 3
    rows += 'd,"joy,anger"\n'  # the comma parts labels, so nothing else does
    assert len(prepared(tmp_path, "t.csv", rows, task()).info.labels) == 3


def test_a_dev_split_without_a_label_is_said(tmp_path):
    (tmp_path / "t.csv").write_text("text,labels\na,joy\nb,anger\n")
    (tmp_path / "d.csv").write_text("text,labels\nc,\nd,\n")
    train, dev = (read_table(tmp_path / f"{n}.csv", task().columns, True) for n in "td")
    notes = prepare("m", task(), {"train": train, "dev": dev}, 0, None).notes
    assert "dev: no label in 2 rows, so F1 on them is 0 whatever is predicted" in notes


@pytest.mark.parametrize("label", [None, 1.5, True, {"a": "b"}, ["a", None]])
def test_what_names_no_column_is_one_line(label):
    columns = {"sentence1": "text", "label": label}
    given = {"files": {"train": "t.csv"}, "columns": columns, "kind": "multilabel"}
    assert refused(parse, TaskFile, given, "t.yaml").startswith("t.yaml: columns.label: ")


WITHHELD = {
    "t.csv": "text,joy,anger\na,,\nb,,\n",
    "u.csv": "text,joy,anger\na,-1,-1\nb,-1,-1\n",
    "v.csv": "text\na\nb\n",
}


@pytest.mark.parametrize("name", WITHHELD)
def test_a_test_split_of_columns_may_withhold_its_labels(tmp_path, name):
    of = task(columns={"sentence1": "text", "label": ["joy", "anger"]})
    (tmp_path / "train.csv").write_text("text,anger,joy\na,0,1\nb,1,1\nc,0,0\n")
    (tmp_path / name).write_text(WITHHELD[name])
    train = read_table(tmp_path / "train.csv", of.columns, True)
    test = read_table(tmp_path / name, of.columns, False)
    found = prepare("m", of, {"train": train, "dev": train, "test": test}, 0, None)
    assert "label" not in found.splits["test"]


def test_a_test_split_of_empty_lists_withholds_its_labels(tmp_path):
    (tmp_path / "t.jsonl").write_text(FILES["lists.jsonl"])
    (tmp_path / "u.jsonl").write_text('{"text": "a", "labels": []}\n')
    of = task()
    train = read_table(tmp_path / "t.jsonl", of.columns, True)
    test = read_table(tmp_path / "u.jsonl", of.columns, False)
    found = prepare("m", of, {"train": train, "dev": train, "test": test}, 0, None)
    assert "label" not in found.splits["test"]


def test_some_of_the_columns_of_labels_are_not_taken_for_none(tmp_path):
    of = task(columns={"sentence1": "text", "label": ["joy", "anger"]})
    (tmp_path / "t.csv").write_text("text,joy,angr\na,0,1\n")
    line = refused(read_table, tmp_path / "t.csv", of.columns, False)
    assert "column 'anger' is missing, got text, joy, angr; did you mean 'angr'?" in line


def test_columns_without_a_1_are_refused(tmp_path):
    of = task(columns={"sentence1": "text", "label": ["joy", "anger"]})
    line = refused(prepared, tmp_path, "t.csv", "text,joy,anger\na,0,0\nb,0,0\n", of)
    assert "must hold at least two labels, got none in every row" in line


LABELS = st.sets(st.integers(0, 2)).map(sorted)
SEVERAL = TaskInfo(
    name="m",
    kind="multilabel",
    labels=["a", "b", "c"],
    metrics=["f1_micro", "f1_macro", "accuracy"],
    pair=False,
    num_rows={"train": 1},
)


def test_scores_are_those_derived_by_hand():
    gold, named = [[0], [0, 1], [], [1]], [[0], [1], [2], [1]]
    found = score_task(SEVERAL, np.array(named, dtype=object), np.array(gold, dtype=object))
    # Of 4 gold and 4 named choices 3 are right: 2 * 3 / 8. By label: a 2/3, b 1, c 0 (no gold one).
    assert found["f1_micro"] == pytest.approx(6 / 8)
    assert found["f1_macro"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["accuracy"] == 2 / 4


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8))
def test_scores_are_scikit_learns(rows):
    pairs = zip(*rows, strict=True)
    gold, named = (np.array([*map(np.array, of), None], dtype=object)[:-1] for of in pairs)
    found = score_task(SEVERAL, named, gold)
    hot = [multi_hot(of, 3) for of in (gold, named)]
    for name in ("micro", "macro"):
        assert found[f"f1_{name}"] == pytest.approx(f1_score(*hot, average=name, zero_division=0))
    assert found["accuracy"] == accuracy_score(*hot)


def test_labels_become_0_and_1():
    assert multi_hot([[1], [], [0, 2]], 3).astype(int).tolist() == [[0, 1, 0], [0, 0, 0], [1, 0, 1]]


def test_files_of_a_format_need_its_kind():
    files = {"train": "a.json", "format": "squad"}
    with pytest.raises(ValueError, match="got none; write kind: span"):
        TaskFile(files=files)
