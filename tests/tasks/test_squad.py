"""SQuAD's JSON, and questions in tables: every character stays, every fault has its place."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.fixtures.refused import problems_of, refused
from tinybert.settings.reader import parse
from tinybert.tasks.records import read_parquet
from tinybert.tasks.sources import Sources, read_splits
from tinybert.tasks.squad import read_squad
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns, TaskFile

CONTEXT = " The cat\r\nsat  on\u2028the mat. "
CAT = {"id": "1", "question": "Who?", "answers": [{"text": "cat", "answer_start": 5}]}
PLAUSIBLE = [{"text": "mat", "answer_start": 22}]
NOBODY = {"id": "2", "question": "Why?", "is_impossible": True, "plausible_answers": PLAUSIBLE}


def squad(*qas: Any, context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "v2.0", "data": [{"paragraphs": [{"context": context, "qas": list(qas)}]}]}


def written(folder: Path, content: Any, start: str = "") -> Path:
    file = folder / "train.json"
    file.write_text(start + json.dumps(content), encoding="utf-8")
    return file


def test_questions_of_all_articles_come_in_order_with_all_characters(tmp_path):
    content = squad(CAT, {**NOBODY, "answers": []})
    content["data"][0]["paragraphs"].append({"context": "b", "qas": [{**CAT, "id": "3"}]})
    content["data"].append({"title": "t", "paragraphs": [{"context": "c", "qas": [NOBODY]}]})
    table = read_squad(written(tmp_path, content, "\ufeff"), True)
    assert table.sentence1 == ["Who?", "Why?", "Who?", "Why?"]
    assert table.sentence2 == [CONTEXT, CONTEXT, "b", "c"]
    assert table.further["id"] == ["1", "2", "3", "2"]
    assert table.further["is_impossible"] == [None, True, None, True]
    assert table.label == [CAT["answers"], [], CAT["answers"], []]
    assert table.where(3).endswith("train.json: article 1, paragraph 2, question 1, id 3")
    assert table.where(4).endswith("train.json: article 2, paragraph 1, question 1, id 2")


def test_a_split_without_answers_has_no_labels_unless_it_must_have_them(tmp_path):
    file = written(tmp_path, squad({"id": 1, "question": "Who?"}))
    assert read_squad(file, False).label is None
    assert read_squad(file, True).label == [None]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([], ": no list `data`, got []; the layout is"),
        ({"dta": []}, ": no list `data`, got 'dta';"),
        ({"data": {"a": 1}}, ": no list `data`, got {'a': 1};"),
        ({"data": [[]]}, ": article 1: no object, got [];"),
        ({"data": [{"title": "t"}]}, ": article 1: no list `paragraphs`, got 'title';"),
        ({"data": [{"paragraphs": [{}]}]}, ": article 1, paragraph 1: no text `context`, got {};"),
        (squad(context=7), ": article 1, paragraph 1: no text `context`, got 7;"),
        (
            {"data": [{"paragraphs": [{"context": "a"}]}]},
            "no list `qas`, got 'context'",
        ),
        (squad({"id": "5a"}), "paragraph 1, question 1, id 5a: no `question`, got 'id';"),
        (squad("Who?\n"), "paragraph 1, question 1: no object, got 'Who?\\n';"),
    ],
)
def test_another_layout_is_named_with_its_place(tmp_path, content, expected):
    line = refused(read_squad, written(tmp_path, content), True)
    assert expected in line
    assert '{"data": [{"paragraphs": [{"context"' in line


def test_all_places_of_another_layout_are_named_at_once(tmp_path):
    found = problems_of(read_squad, written(tmp_path, squad(*[{"id": "x"}] * 12)), True)
    assert "question 2, id x" in found[1]
    assert "and 2 more like these, got 12 in all" in found[10]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"data":\n [1,,2]}', ":2: not JSON, got Expecting value at column 5; mend it there"),
        ("[" * 100_000, ": not JSON, got maximum recursion depth"),
        ('{"question": "a"}\n{"question": "b"}', "write it as .jsonl, without format"),
        ("", ": is empty, got 0 bytes"),
    ],
)
def test_what_is_no_json_is_refused_with_its_line(tmp_path, text, expected):
    (tmp_path / "train.json").write_text(text)
    assert expected in refused(read_squad, tmp_path / "train.json", True)


HUB = {
    "id": ["1", "2"],
    "title": ["t", "t"],
    "context": [CONTEXT, CONTEXT],
    "question": ["Who?", "Why?"],
    "answers": [{"text": ["cat"], "answer_start": [5]}, {"text": [], "answer_start": []}],
}


def tables(folder: Path, **settings: Any) -> dict[str, Table]:
    task = parse(TaskFile, {"kind": "span", **settings}, "task")
    return read_splits(task, Sources(folder=folder, glue="folder", glue_hub="g"), seed=1)


def write_hub(folder: Path, kind: str) -> dict[str, Any]:
    """Write the hub's rows as a kind of file; return the settings that read it."""
    frame = pd.DataFrame(HUB)
    if kind == "hub":
        (folder / "set").mkdir()
        frame.to_parquet(folder / "set/train-00000-of-00001.parquet")
        return {"hub": {"path": "set", "splits": {"train": "train"}}}
    if kind == "parquet":
        frame.to_parquet(folder / "train.parquet")
    else:
        frame.to_json(folder / "train.jsonl", orient="records", lines=True)
    return {"files": {"train": f"train.{kind}"}}


@pytest.mark.parametrize("kind", ["hub", "parquet", "jsonl"])
def test_tables_in_the_hubs_layout_are_read_with_their_usual_columns(tmp_path, kind):
    table = tables(tmp_path, **write_hub(tmp_path, kind))["train"]
    assert (table.sentence1, table.sentence2) == (HUB["question"], HUB["context"])
    assert (table.label, table.further) == (HUB["answers"], {"id": ["1", "2"]})


def test_lists_are_read_as_answers_alone(tmp_path):
    pd.DataFrame({**HUB, "question": HUB["answers"]}).to_parquet(tmp_path / "train.parquet")
    line = refused(tables, tmp_path, files={"train": "train.parquet"})
    assert "column 'question' holds no text" in line
    columns = Columns(sentence1="question", sentence2="context", label="answers")
    pd.DataFrame(HUB).to_parquet(tmp_path / "train.parquet")
    line = refused(read_parquet, tmp_path / "train.parquet", columns, True)
    assert "column 'answers' holds no text, number or truth value" in line


def test_files_of_squads_layout_are_read_as_such(tmp_path):
    file = written(tmp_path, squad(CAT))
    found = tables(tmp_path, files={"train": file.name, "format": "squad"})
    assert found["train"].sentence1 == ["Who?"]


def test_other_columns_of_squads_layout_are_refused(tmp_path):
    file = written(tmp_path, squad(CAT))
    columns = {"sentence1": "title", "sentence2": "context", "label": "answers"}
    call = partial(tables, files={"train": file.name, "format": "squad"}, columns=columns)
    assert "got title, context, answers; leave `columns` out" in refused(call, tmp_path)
