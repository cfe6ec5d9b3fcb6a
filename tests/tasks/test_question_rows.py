"""Questions are checked against their passages, and set aside by passage."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.prepare_task import prepare_task
from tests.fixtures.refused import problems_of, refused
from tinybert.settings.reader import parse
from tinybert.tasks.question_rows import describe_questions, prepare_questions
from tinybert.tasks.rows import Prepared
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.tables import Table
from tinybert.tasks.task import read_info, read_split, read_unlabelled
from tinybert.tasks.task_file import TaskFile

PASSAGE = "  A cat\nsat  on\u2028a mat. "
CAT = {"text": ["cat"], "answer_start": [4]}
NONE: dict[str, list[Any]] = {"text": [], "answer_start": []}
Row = tuple[object, object, object, object]  # id, question, passage, answers


def table_of(
    rows: list[Row], place: str = "train.jsonl", marks: list[object] | None = None
) -> Table:
    ids, questions, passages, labels = map(list, zip(*rows, strict=True))
    further = {"id": ids, **({} if marks is None else {"is_impossible": marks})}
    numbers = list(range(1, len(rows) + 1))
    return Table(place, "line", numbers, questions, passages, labels, further=further)


def task_of(**settings: object) -> TaskFile:
    return parse(TaskFile, {"kind": "span", "files": {"train": "t.jsonl"}, **settings}, "task")


def prepared(tables: dict[str, Table], limit: int | None = None, **settings: object) -> Prepared:
    return prepare_questions("mine", task_of(**settings), tables, seed=3, max_train_rows=limit)


GOOD: list[Row] = [("1", " Who? ", PASSAGE, CAT), ("2", "Why?", PASSAGE, NONE)]
DEV = table_of([("1", "What?", "A dog", NONE)], "dev.jsonl")


def problems(*rows: Row, marks: list[object] | None = None, **settings: object) -> tuple[str, ...]:
    return problems_of(
        prepared, {"train": table_of(list(rows), marks=marks), "dev": DEV}, **settings
    )


def test_a_passage_keeps_every_character_and_a_question_loses_outer_space():
    squad = [{"text": "mat", "answer_start": 18}, {"text": " mat", "answer_start": 17}]
    rows = [*GOOD, (3, "On?", PASSAGE, squad)]
    found = prepared({"train": table_of(rows), "dev": DEV})
    frame = found.splits["train"]
    assert frame["sentence1"].tolist() == ["Who?", "Why?", "On?"]
    assert set(frame["sentence2"]) == {PASSAGE}
    assert frame["id"].tolist() == ["1", "2", "3"]
    answers = [{"start": 18, "text": "mat"}, {"start": 17, "text": " mat"}]
    assert frame["label"].tolist() == [[{"start": 4, "text": "cat"}], [], answers]
    assert (found.info.labels, found.info.pair) == ([], True)
    assert found.info.metrics == ["squad_f1", "exact_match"]


@pytest.mark.parametrize(
    ("text", "start", "expected"),
    [
        ("cat", 5, "answer 'cat' does not stand at 5, got 'at\\n'; it stands at 4: write"),
        ("a", 10, "does not stand at 10, got 't'; it stands at 9: write"),  # the nearest of three
        ("a", 14, "does not stand at 14, got 'n'; it stands at 16: write"),
        ("cat", -2, "does not stand at -2, got a passage of 23 characters; it stands at 4: write"),
        ("cat", 99, "does not stand at 99, got a passage of 23 characters; it stands at 4: write"),
        ("Cat", 4, "does not stand at 4, got 'cat'; it stands nowhere in the passage: copy it"),
        ("sat on", 8, "got 'sat  o'; it stands nowhere in the passage"),
        (" \n", 6, "answer is no text, got ' \\n'; take it out"),
        ("", 6, "answer is no text, got ''; take it out"),
        (None, 6, "answer is no text, got None; take it out"),
        ("cat", "4", "answer_start is no whole number, got '4'; write the place"),
        ("cat", None, "answer_start is no whole number, got None; write the place"),
        ("cat", True, "answer_start is no whole number, got True; write the place"),
    ],
)
def test_an_answer_that_does_not_stand_at_its_place_is_named(text, start, expected):
    answers = {"text": ["cat", text], "answer_start": [4, start]}
    (line,) = problems(*GOOD, ("3", "Who?", PASSAGE, answers))
    assert line.startswith("train.jsonl:3: ")
    assert expected in line


@pytest.mark.parametrize("answers", ["cat", 3, None, {"text": ["a"]}, {"text": "a"}, ["a"]])
def test_answers_of_another_layout_are_named(answers):
    (line,) = problems(*GOOD, ("3", "Who?", PASSAGE, answers))
    assert "answers are no lists of texts and their places, got" in line
    assert 'write {"text": ["..."], "answer_start": [0]}, empty where the passage has none' in line


def test_places_and_texts_must_be_as_many():
    (line,) = problems(*GOOD, ("3", "Who?", PASSAGE, {"text": ["cat"], "answer_start": []}))
    assert "answers are no lists of texts and their places" in line


def test_every_bad_row_is_named_by_its_line():
    rows: list[Row] = [
        (None, "Who?", PASSAGE, CAT),
        ("1", "Who?", PASSAGE, CAT),
        ("4", " ", PASSAGE, CAT),
        ("5", "Who?", " \n", NONE),
        ("6", "Who?", "\ud800", NONE),
        ("7", "Who?", None, CAT),
        (True, "Who?", PASSAGE, CAT),
    ]
    assert problems(*GOOD, *rows) == (
        "train.jsonl:3: id is missing, got none; give each question one of its own, in `id`",
        "train.jsonl:4: id stands there twice, got '1' at train.jsonl:1 too; give each question "
        "its own",
        "train.jsonl:5: sentence 1 is no text, got an empty field; write one",
        "train.jsonl:6: passage is no text, got an empty field; write its text",
        "train.jsonl:7: passage has half a character, got '\\ud800'; write its text",
        "train.jsonl:8: passage is no text, got an empty field; write its text",
        "train.jsonl:9: id is missing, got True; give each question one of its own, in `id`",
    )


def test_a_file_without_ids_is_refused():
    table = table_of(GOOD)
    table.further.clear()
    assert len(problems_of(prepared, {"train": table, "dev": DEV})) == 2


def test_marks_must_agree_with_the_answers():
    rows = [
        *GOOD,
        ("3", "On?", PASSAGE, CAT),
        ("4", "At?", PASSAGE, NONE),
        ("5", "?", PASSAGE, CAT),
    ]
    found = problems(*rows, marks=[False, True, True, False, "perhaps"])
    assert [line.split(";")[0] for line in found] == [
        "train.jsonl:3: is_impossible, but has answers, got 'cat'",
        "train.jsonl:4: answerable without an answer, got is_impossible false and no answers",
        "train.jsonl:5: is_impossible must be true or false, got 'perhaps'",
    ]


def test_bad_rows_are_dropped_and_counted_where_the_task_says_so():
    rows = [*GOOD, ("3", "Who?", PASSAGE, {"text": ["dog"], "answer_start": [4]})]
    found = prepared({"train": table_of(rows), "dev": DEV}, bad_rows="drop")
    assert found.splits["train"]["id"].tolist() == ["1", "2"]
    assert found.info.dropped_rows == 1
    assert found.notes[0].startswith("train: dropped 1 bad rows of 3 (33%), the first at train")


def test_a_row_of_an_unlabelled_test_split_is_never_dropped():
    def test_rows(*rows: Row) -> dict[str, Table]:
        return {"train": table_of(GOOD), "dev": DEV, "test": table_of(list(rows), "test.jsonl")}

    empty = test_rows(("a", "Who?", " ", NONE), ("b", "", "A cat", None))
    found = prepared(empty, bad_rows="drop")
    assert found.splits["test"].to_dict("list") == {
        "id": ["a", "b"],
        "sentence1": ["Who?", ""],
        "sentence2": ["", "A cat"],
    }
    assert "test: kept 2 rows with an empty question or passage in test.jsonl" in found.notes
    nameless = test_rows(("a", "Who?", "b", NONE), ("a", "Who?", "b", NONE))
    assert "twice" in refused(prepared, nameless, bad_rows="drop")


def test_a_test_split_that_is_marked_or_answered_keeps_its_answers():
    splits = {"train": table_of(GOOD), "dev": DEV}
    rows: list[Row] = [("a", "Who?", "A cat", NONE)]
    assert "label" not in prepared({**splits, "test": table_of(rows)}).splits["test"]
    marked = prepared({**splits, "test": table_of(rows, marks=[True])}).splits["test"]
    assert marked["label"].tolist() == [[]]
    rows.append(("b", "What?", PASSAGE, CAT))
    assert "label" in prepared({**splits, "test": table_of(rows)}).splits["test"]


def test_train_without_any_answer_is_refused():
    assert "some question must have an answer, got none in 1 rows" in problems(GOOD[1])[0]


def many(passages: int, questions: int) -> list[Row]:
    """Questions of passages, of which the last of each has no answer."""
    return [
        (
            f"{p}-{q}",
            f"Who {q}?",
            f"   {p} cat",
            NONE if q == questions - 1 else {"text": ["cat"], "answer_start": [4 + len(str(p))]},
        )
        for p in range(passages)
        for q in range(questions)
    ]


def test_without_dev_passages_with_a_tenth_of_the_questions_are_set_aside():
    found = prepared({"train": table_of(many(20, 4))})
    train, dev = found.splits["train"], found.splits["dev"]
    # A tenth of 80 questions are 8, those of 2 passages of 4.
    assert (len(train), len(dev), dev["sentence2"].nunique()) == (72, 8, 2)
    assert not set(train["sentence2"]) & set(dev["sentence2"])
    assert sorted([*train["id"], *dev["id"]]) == sorted(str(row[0]) for row in many(20, 4))
    assert found.notes[-1] == (
        "dev: 8 of train's 80 rows, those of 2 of its 20 passages, were set aside, with seed 3"
    )
    assert prepared({"train": table_of(many(20, 4))}).splits["dev"].equals(dev)


def test_a_passage_stays_in_train_however_few_there_are():
    assert prepared({"train": table_of(many(2, 3))}).info.num_rows == {"train": 3, "dev": 3}
    (line,) = problems_of(prepared, {"train": table_of(many(1, 3))})
    assert "too few passages to set some aside for dev, got 1" in line


def test_passages_set_aside_may_not_take_all_answers():
    rows: list[Row] = [("1", "a?", "b cat", {"text": ["cat"], "answer_start": [2]})]
    rows += [(str(n), "a?", f"{n} dog", NONE) for n in range(2, 4)]
    found = [problems_of_seed(rows, seed) for seed in range(8)]
    assert any(found) and not all(found)


def problems_of_seed(rows: list[Row], seed: int) -> bool:
    try:
        prepare_questions("mine", task_of(), {"train": table_of(rows)}, seed, None)
    except Exception as error:
        assert "too few answers, got none in train once passages were set aside" in str(error)
        return True
    return False


def test_a_subset_of_train_keeps_the_share_of_unanswerable_questions():
    found = prepared({"train": table_of(many(20, 4)), "dev": DEV}, limit=12)
    # A quarter of 12 are 3.
    assert sum(not answers for answers in found.splits["train"]["label"]) == 3
    assert found.info.num_rows == {"train": 12, "dev": 1}


def test_questions_of_dev_in_train_and_other_shares_are_named():
    dev = table_of([("9", "Who?", PASSAGE, CAT)], "dev.jsonl")
    notes = prepared({"train": table_of(GOOD), "dev": dev}).notes
    assert notes[0].startswith("dev: 0% of the questions are unanswerable, in train 50%:")
    assert notes[1].startswith("dev: 1 of 1 rows of dev.jsonl stand in train too")


def test_a_task_of_answerable_questions_alone_is_right():
    dev = table_of([("9", "Where?", PASSAGE, CAT)], "dev.jsonl")
    assert prepared({"train": table_of(GOOD[:1]), "dev": dev}).notes == []


def test_rows_are_described_by_their_answers():
    frame = prepared({"train": table_of(GOOD), "dev": DEV}).splits["train"]
    assert describe_questions(frame) == (
        "2 rows about 1 passages, 1 unanswerable (50%), answers of 3 characters on average"
    )
    assert describe_questions(frame.drop(columns="label")) == (
        "2 rows about 1 passages, without answers"
    )


SETTINGS = PrepareTaskSettings(
    glue="folder", glue_hub="nyu-mll/glue", max_train_rows=None, sampled_pairs=0
)
SQUAD = (
    '{"data": [{"paragraphs": [{"context": " A  cat\\n", "qas": [{"id": "1", "question": "Who?", '
    '"answers": [{"text": "cat", "answer_start": 4}]}, {"id": "2", "question": "Why?", '
    '"answers": [], "is_impossible": true}]}]}]}'
)


@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_a_task_becomes_a_prepared_folder_with_unlabelled_questions(tmp_path: Path, kind, capsys):
    (tmp_path / "train.json").write_text(SQUAD)
    (tmp_path / "dev.json").write_text(SQUAD.replace("cat", "dog"))
    more = '{"question": "%s", "context": " A  cat\\n"}\n'
    lines = more % "How?" + more % "WHO?"
    if kind == "json":
        lines = SQUAD.replace("Why?", "How?").replace('"id": "2", ', "")
    (tmp_path / f"more.{kind}").write_text(lines)
    files = {"format": "squad", "train": "train.json", "dev": "dev.json"}
    task = task_of(files=files, unlabelled=f"more.{kind}")
    prepare_task("mine", task, tmp_path, SETTINGS, 1, tmp_path / "out")
    train = read_split(tmp_path / "out", "train")
    assert train["sentence2"].tolist() == [" A  cat\n"] * 2
    assert [list(answers) for answers in train["label"]] == [[{"start": 4, "text": "cat"}], []]
    assert isinstance(train["label"][0], np.ndarray)
    rows = read_unlabelled(tmp_path / "out", read_info(tmp_path / "out"))
    # "Who?" stands in train already.
    assert rows.to_dict("list") == {"sentence1": ["How?"], "sentence2": [" A  cat\n"]}
    printed = capsys.readouterr().out
    assert "mine train: 2 rows about 1 passages, 1 unanswerable (50%)" in printed


def test_an_unlabelled_question_must_have_its_texts(tmp_path: Path):
    (tmp_path / "train.json").write_text(SQUAD)
    (tmp_path / "dev.json").write_text(SQUAD)
    (tmp_path / "more.jsonl").write_text('{"question": "a", "context": ""}\n')
    files = {"format": "squad", "train": "train.json", "dev": "dev.json"}
    call = partial(prepare_task, "mine", task_of(files=files, unlabelled="more.jsonl"))
    line = refused(call, tmp_path, SETTINGS, 1, tmp_path / "out")
    assert "more.jsonl:1: passage is no text, got an empty field" in line
