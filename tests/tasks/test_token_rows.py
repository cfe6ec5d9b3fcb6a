"""Rows of tagged words are checked, numbered and set aside; every fault is named by its word."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from stages.prepare_task import describe, prepare_task
from tests.fixtures.refused import problems_of, refused
from tests.fixtures.tables import table_of
from tinybert.settings.reader import parse
from tinybert.tasks.rows import Prepared
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.tables import Table
from tinybert.tasks.task import read_info, read_split, read_unlabelled
from tinybert.tasks.task_file import TaskFile
from tinybert.tasks.token_rows import prepare_tokens

SETTINGS = PrepareTaskSettings(
    glue="folder", glue_hub="nyu-mll/glue", max_train_rows=None, sampled_pairs=0
)
GOOD = (["Ann", "saw", "York"], ["B-PER", "O", "B-LOC"])
CONLL = {"format": "conll", "train": "t.conll"}


def task_of(**settings: Any) -> TaskFile:
    files = settings.pop("files", {"train": "t.jsonl"})
    return parse(TaskFile, {"files": files, "kind": "tokens", **settings}, "task")


def prepared(tables: dict[str, Table], limit: int | None = None, **settings: Any) -> Prepared:
    return prepare_tokens("mine", task_of(**settings), tables, seed=3, max_train_rows=limit)


problems = partial(problems_of, prepared)


def with_dev(*rows: Any, **tables: Table) -> dict[str, Table]:
    return {"train": table_of([GOOD, *rows]), "dev": table_of([GOOD], "dev"), **tables}


def many(count: int) -> Table:
    return table_of([([f"Ann{n}", "is"], ["B-PER", "O"]) for n in range(count)])


def test_words_are_joined_and_tags_numbered_by_type():
    found = prepared(with_dev())
    assert found.info.labels == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    row = found.splits["train"].iloc[0]
    assert row["sentence1"] == "Ann saw York"
    # A-n-n is 0 to 3, s-a-w 4 to 7, York 8 to 12.
    assert row["word_starts"].tolist() == [0, 4, 8]
    assert row["word_ends"].tolist() == [3, 7, 12]
    assert row["label"].tolist() == [3, 0, 1]
    assert {str(row[name].dtype) for name in ("word_starts", "word_ends", "label")} == {"int64"}
    assert (found.info.kind, found.info.pair) == ("tokens", False)
    assert found.info.metrics == ["entity_f1", "entity_precision"]


def test_each_file_is_read_in_its_own_scheme():
    iob1 = table_of([(["New", "York", "York"], ["I-LOC", "I-LOC", "B-LOC"])], "dev")
    found = prepared({"train": table_of([GOOD]), "dev": iob1})
    assert found.splits["dev"]["label"][0].tolist() == [1, 2, 1]
    assert "train: tags are read as IOB2" in found.notes
    assert "dev: tags are read as IOB1" in found.notes


def test_plain_tags_are_sorted_with_o_first():
    rows = [(["a", "b"], ["X", "O"]), (["c"], ["N"])]
    assert prepared({"train": table_of(rows), "dev": table_of(rows)}).info.labels == ["O", "N", "X"]
    rows = [(["a", "b"], ["X", "N"])]
    assert prepared({"train": table_of(rows), "dev": table_of(rows)}).info.labels == ["N", "X"]
    assert (
        "tags with prefixes where train has none"
        in problems({"train": table_of(rows), "dev": table_of([GOOD])})[0]
    )


def test_a_single_plain_tag_teaches_nothing():
    rows = [(["a", "b"], ["N", "N"])]
    (line,) = problems({"train": table_of(rows), "dev": table_of(rows)})
    assert "train.csv: words must have at least two tags, got 'N' alone" in line


def test_a_dev_split_without_an_entity_is_said():
    tables = {"train": table_of([GOOD]), "dev": table_of([(["a"], ["O"])], "dev")}
    note = "dev: no entity in 1 rows, so F1 on them is 0 whatever is predicted"
    assert note in prepared(tables).notes
    assert note not in prepared(with_dev()).notes


def test_plain_tags_without_o_are_said_to_count():
    rows = [(["a", "b"], ["X", "N"])]
    found = prepared({"train": table_of(rows), "dev": table_of(rows)})
    note = "train: tags are read as plain, and none is O: each word counts as an entity"
    assert note in found.notes
    rows = [(["a", "b"], ["X", "O"])]
    found = prepared({"train": table_of(rows), "dev": table_of(rows)})
    assert "train: tags are read as plain" in found.notes


@pytest.mark.parametrize("name", ["O", "B-PER"])
def test_labels_of_tags_are_no_types(name):
    (line,) = problems(with_dev(), labels=[name, "PER", "LOC"])
    assert line.startswith("params/tasks/mine.yaml: labels: must be types of entities, got ")
    assert line.endswith(f"{name!r}, a tag; write their names alone: [LOC, PER]")


def test_spans_of_a_text_keep_its_places():
    rows = [("Ann  saw\nNew York", [[0, 3, "PER"], [9, 17, "LOC"]]), ("No.", [])]
    found = prepared({"train": table_of(rows), "dev": table_of(rows)}).splits["train"]
    assert found["sentence1"][0] == "Ann  saw New York"
    assert found["word_starts"][0].tolist() == [0, 5, 9, 13]
    assert found["label"][0].tolist() == [3, 0, 1, 2]
    assert found["label"][1].tolist() == [0, 0]


def test_a_type_of_several_lines_is_refused():
    rows = [("Ann saw York", [[0, 3, "PER"], [8, 12, "a\rb"]])]
    assert problems({"train": table_of(rows), "dev": table_of(rows)}) == (
        "train.csv: labels must be of one line, got 'a\\rb'; lead it to another name by "
        "`label_words` in the task's file",
    )


def test_every_fault_is_named_by_its_row_and_word():
    rows = [
        (["a", "b"], ["O"]),
        (["a", "Bo"], ["O", "I-PER"]),
        (["a", " ", 3, "x\ny", "\ud800"], ["O"] * 5),
        ([], []),
        ("a text", ["O", "O"]),
        (["a"], None),
        (["a"], [None]),
        (["a"], [7]),
        (7, ["O"]),
    ]
    assert problems(with_dev(*rows)) == (
        "train.csv:3: unequal numbers of words and tags, got 2 words and 1 tags, in 'a b'; write a "
        "tag for each word",
        "train.csv:4: word 2 'Bo': impossible order of tags, got I-PER after O in a file read as "
        "IOB2, where B- begins every entity; write B-PER",
        "train.csv:5: word 2 ' ': is empty, got ' '; take it out, with its tag",
        "train.csv:5: word 3 '3': is no text, got 3; write it in quotes",
        "train.csv:5: word 4 'x\\ny': holds a line break, got 'x\\ny'; take it out of the word",
        "train.csv:5: word 5 '\\ud800': has half a character, got '\\ud800'; mend it",
        "train.csv:6: sentence 1 has no words, got []; write some",
        "train.csv:7: label is no list of tags of words, got a text and ['O', 'O']; write a list "
        'of words and one of tags, or a text and spans such as {"start": 0, "end": 5, "label": '
        '"PER"}',
        "train.csv:8: label is no list of tags of words, got an empty field; write a list of words "
        'and one of tags, or a text and spans such as {"start": 0, "end": 5, "label": "PER"}',
        "train.csv:9: word 1 'a': tag is missing, got an empty field; write one, O for no entity",
        "train.csv: and 2 more like these, got 12 in all; mend them, or write `bad_rows: drop` in "
        "the task's file",
    )


def test_bad_rows_are_dropped_and_counted_by_row():
    bad = (["a", "", ""], ["O", "O", "O"])
    found = prepared(with_dev(GOOD, bad), bad_rows="drop")
    assert (found.info.dropped_rows, found.info.num_rows["train"]) == (1, 2)
    assert "train: dropped 1 bad rows of 3 (33%), the first at train.csv:4: word 2 ''" in str(
        found.notes
    )
    assert prepared(with_dev(GOOD, ([], [])), bad_rows="drop").info.num_rows["train"] == 2
    (line,) = problems(with_dev(bad, bad), bad_rows="drop")
    assert "too many bad rows to drop, got 2 of 3" in line


def test_types_must_be_known_and_words_lead_to_them():
    bad = (["Bo", "Xi", "it"], ["B-MISC", "I-MISC", "O"])
    (line,) = problems(with_dev(bad), labels=["PER", "LOC"])
    assert line.startswith("train.csv:3: word 1 'Bo': unknown type, got 'MISC'; known: PER, LOC;")
    found = prepared(with_dev(bad), labels=["PER", "LOC"], label_words={"MISC": "PER"})
    assert found.info.labels == ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
    assert found.splits["train"]["label"][1].tolist() == [1, 2, 0]
    # A type that is led to O is no entity.
    found = prepared(with_dev(bad), label_words={"MISC": "O"})
    assert found.splits["train"]["label"][1].tolist() == [0, 0, 0]
    # A type of dev alone cannot be learnt.
    dev = {"dev": table_of([bad], "dev")}
    assert "dev:2: word 1 'Bo': unknown type" in problems({**with_dev(), **dev})[0]


def test_numbers_need_names():
    rows = [(["Ann", "is"], [1, 0])]
    tables = {"train": table_of(rows), "dev": table_of(rows, "dev")}
    assert "tag is a number without a name, got 1" in problems(tables)[0]
    found = prepared(tables, label_words={"0": "O", "1": "B-PER"})
    assert found.splits["train"]["label"][0].tolist() == [1, 0]


def test_types_that_differ_in_spelling_alone_are_refused():
    (line,) = problems(with_dev(GOOD, (["Bo"], ["B-Per"])))
    assert 'got "PER" in 3 rows and "Per" in 1 rows' in line
    assert '`label_words: {"Per": "PER"}`' in line


def test_train_without_an_entity_is_refused_and_one_type_is_enough():
    rows = [(["a"], ["O"])]
    (line,) = problems({"train": table_of(rows), "dev": table_of(rows)})
    assert line.startswith("train.csv: must hold an entity, got none in 1 rows")
    assert prepared({"train": many(20)}).info.labels == ["O", "B-PER", "I-PER"]


@pytest.mark.parametrize("tags", [["O", "O"], [-1, -1], ["", ""], ["_", "_"], "?", None])
def test_a_test_split_without_entities_is_unlabelled(tags):
    test = table_of([(["a", "b"], tags), (["c", "d"], tags)], "test")
    found = prepared(with_dev(test=test)).splits["test"]
    assert list(found) == ["sentence1", "word_starts", "word_ends"]
    assert len(found) == 2


def test_an_unlabelled_row_without_words_is_kept_and_others_refused():
    rows = [(["a"], None), ([], None)]
    found = prepared(with_dev(test=table_of(rows, "test")), bad_rows="drop")
    assert found.splits["test"]["sentence1"].tolist() == ["a", ""]
    assert found.info.dropped_rows == 0
    (line,) = problems(with_dev(test=table_of([(["a"], None), ([""], None)], "test")),
                       bad_rows="drop")  # fmt: skip
    assert line.startswith("test:3: word 1 '': is empty")


def test_dev_is_set_aside_and_train_is_cut():
    found = prepared({"train": many(50)}, limit=10)
    assert found.info.num_rows == {"train": 10, "dev": 5}
    together = [*found.splits["dev"]["sentence1"], *found.splits["train"]["sentence1"]]
    assert len(set(together)) == 15


def test_rare_types_and_rows_of_dev_in_train_are_named():
    notes = prepared(with_dev()).notes
    assert "train: type 'PER' stands in 1 row" in notes
    assert any("dev: 1 of 1 rows of dev stand in train too" in note for note in notes)
    lacking = prepared(with_dev(), labels=["PER", "LOC", "ORG"]).notes
    assert "train: type 'ORG' stands in no row" in lacking


def write(folder: Path, **files: Any) -> None:
    for name, content in files.items():
        stem, extension = name.rsplit("_", 1)
        text = content if isinstance(content, str) else "\n".join(map(json.dumps, content))
        (folder / f"{stem}.{extension}").write_text(text + "\n")


def stage(folder: Path, **settings: Any) -> dict[str, pd.DataFrame]:
    task = task_of(**settings)
    info = prepare_task("mine", task, folder, SETTINGS, 1, folder / "out")
    frames = {split: read_split(folder / "out", split) for split in info.num_rows}
    if info.num_unlabelled:
        frames["unlabelled"] = read_unlabelled(folder / "out", read_info(folder / "out"))
    return frames


def test_a_conll_task_goes_through_the_stage(tmp_path, capsys):
    write(tmp_path, t_conll="Ann I-PER\nsaw O\n\nYork I-LOC", d_conll="Bo I-PER")
    frames = stage(tmp_path, files={**CONLL, "dev": "d.conll"})
    assert frames["train"]["label"][0].tolist() == [3, 0]
    printed = capsys.readouterr().out
    assert "mine train: 2 sentences, 3 words, 1 LOC, 1 PER" in printed
    assert "mine dev: 1 sentences, 1 words, 0 LOC, 1 PER" in printed


def test_a_fault_of_conll_names_the_line_of_the_word(tmp_path):
    write(tmp_path, t_conll="Ann B-PER\nLee I-PER\n\nbig O\nBo I-PER", d_conll="Bo B-PER")
    line = refused(stage, tmp_path, files={**CONLL, "dev": "d.conll"})
    assert line.startswith(f"{tmp_path}/t.conll:5: word 2 'Bo': impossible order")


def test_lists_of_jsonl_and_of_parquet_with_names_give_the_same(tmp_path):
    import datasets
    import pyarrow.parquet as pq

    row = {"tokens": ["Ann", "saw", "York"], "tags": ["B-PER", "O", "B-LOC"]}
    write(tmp_path, t_jsonl=[row], d_jsonl=[row])
    names = datasets.ClassLabel(names=["O", "B-LOC", "B-PER"])
    features = datasets.Features(
        {"tokens": datasets.Sequence(datasets.Value("string")), "tags": datasets.Sequence(names)}
    )
    columns = {"tokens": [row["tokens"]], "tags": [[2, 0, 1]]}
    numbered = datasets.Dataset.from_dict(columns, features=features)
    (tmp_path / "set").mkdir()
    for split in ("train", "validation"):
        pq.write_table(numbered.with_format("arrow")[:], tmp_path / f"set/{split}.parquet")
    of_files = stage(tmp_path, files={"train": "t.jsonl", "dev": "d.jsonl"})
    task = parse(TaskFile, {"hub": {"path": "set"}, "kind": "tokens"}, "task")
    prepare_task("mine", task, tmp_path, SETTINGS, 1, tmp_path / "out")
    of_hub = read_split(tmp_path / "out", "train")
    assert of_hub["label"][0].tolist() == of_files["train"]["label"][0].tolist() == [3, 0, 1]


def test_lists_are_still_refused_of_other_kinds(tmp_path):
    frame = pd.DataFrame({"text": [["a"]], "topic": ["x"]})
    frame.to_parquet(tmp_path / "t.parquet")
    task = parse(
        TaskFile,
        {"files": {"train": "t.parquet"}, "columns": {"sentence1": "text", "label": "topic"}},
        "task",
    )
    line = refused(prepare_task, "mine", task, tmp_path, SETTINGS, 1, tmp_path / "out")
    assert "column 'text' holds no text" in line


def test_unlabelled_rows_are_texts_conll_or_lists(tmp_path):
    write(
        tmp_path,
        t_conll="Ann B-PER\nsaw O\n\nYork B-LOC",
        d_conll="Bo B-PER",
        u_txt="It's so.\nbo",
        v_conll="New\nYork\n\nann\nsaw",
        w_jsonl=[{"tokens": ["a", "b-c"]}],
    )
    frames = stage(
        tmp_path,
        files={**CONLL, "dev": "d.conll"},
        unlabelled=["u.txt", "v.conll", "w.jsonl"],
    )
    found = frames["unlabelled"].set_index("sentence1")
    # "bo" is dev's row and "ann saw" train's.
    assert set(found.index) == {"It's so.", "New York", "a b-c"}
    assert list(found) == ["word_starts", "word_ends"]
    assert found["word_starts"]["It's so."].tolist() == [0, 2, 3, 5, 7]
    assert found["word_ends"]["a b-c"].tolist() == [1, 5]


def test_a_txt_of_a_word_a_line_is_refused_as_texts(tmp_path):
    write(tmp_path, t_conll="Ann B-PER", d_conll="Bo B-PER", u_txt="Ann B-PER\nis O\n\nNew O")
    line = refused(stage, tmp_path, files={**CONLL, "dev": "d.conll"}, unlabelled="u.txt")
    assert "holds a word a line, got 3 of 3 lines" in line
    assert line.endswith("rename it to u.conll")


def test_an_unlabelled_split_is_described_without_counts():
    test = table_of([(["a", "b"], None)], "test")
    frame = prepared(with_dev(test=test)).splits["test"]
    assert describe(frame, ["O", "B-X", "I-X"]) == "1 sentences, 2 words, without labels"
