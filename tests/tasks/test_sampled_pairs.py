"""Sampled pairs are of a task's own texts, alike, and of no row that any split has."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stages.prepare_task import prepare_task
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse
from tinybert.tasks.phase_rows import NO_ROW, read_rows, without_sampled
from tinybert.tasks.sampled_pairs import most_alike, sample_pairs
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.task import read_info, read_split, read_unlabelled
from tinybert.tasks.task_file import TaskFile

SETTINGS = {"glue": "folder", "glue_hub": "nyu-mll/glue", "max_train_rows": None}
COLUMNS = {"sentence1": "one", "sentence2": "two", "label": "same"}
TASK = {"files": {"train": "train.tsv", "dev": "dev.tsv"}, "columns": COLUMNS}


def tsv(rows):
    return "one\ttwo\tsame\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)


def prepared(folder: Path, train, dev, number: int, seed=1, **further):
    """Prepare a task of pairs; return its description and its unlabelled rows."""
    (folder / "train.tsv").write_text(tsv(train))
    (folder / "dev.tsv").write_text(tsv(dev))
    settings = PrepareTaskSettings(**SETTINGS, sampled_pairs=number)
    file = parse(TaskFile, {**TASK, **further}, "task")
    prepare_task("mine", file, folder, settings, seed, folder / "out")
    info = read_info(folder / "out")
    return info, read_unlabelled(folder / "out", info) if info.num_unlabelled else None


ROWS = [(f"what is {n} here", f"here {n} and {n + 1} stand", n % 2) for n in range(30)]
DEV = [("what is 3 here", "here 2 and 3 stand", 1), ("other", "text", 0)]


def test_the_most_alike_share_the_rarer_words():
    others = ["the red cat", "the dog", "a bird sings", "the the the"]
    found = most_alike(["the cat", "bird"], others, 1)
    # "the" is in three of four, "cat" and "bird" in one.
    assert found.tolist() == [[0], [2]]
    assert most_alike(["the cat"], others, 9).shape == (1, 4)  # no more than there are


def test_scripts_without_spaces_and_texts_of_signs_are_compared_too():
    others = ["東京の天気", "大阪の食べ物", "!?", "..."]
    assert most_alike(["天気予報", "??"], others, 1).tolist() == [[0], [2]]


def test_similarities_in_parts_are_those_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(list("abcdefghijklmnop"), 5)) for _ in range(40)]
    whole = np.sort(most_alike(texts, texts[:25], 4))
    monkeypatch.setattr("tinybert.tasks.sampled_pairs.CELLS_AT_ONCE", 60)
    np.testing.assert_array_equal(np.sort(most_alike(texts, texts[:25], 4)), whole)


def test_pairs_are_of_texts_that_stand_in_train_and_none_is_of_one_text_twice():
    same = [("a b", "a b"), ("a c", "a b"), ("a d", "a c")]
    train = pd.DataFrame(same, columns=["sentence1", "sentence2"])
    pairs = sample_pairs(train, 9, 0)
    assert set(pairs["sentence1"]) <= set(train["sentence1"])
    assert set(pairs["sentence2"]) <= set(train["sentence2"])
    assert (pairs["sentence1"] != pairs["sentence2"]).all()
    assert not pairs.duplicated().any()


def test_of_many_first_texts_some_are_taken():
    train = pd.DataFrame(ROWS, columns=["sentence1", "sentence2", "label"])
    pairs = sample_pairs(train, 5, 0)
    assert len(pairs) == 10
    assert pairs["sentence1"].nunique() == 10


def test_second_texts_are_looked_at_up_to_a_number(monkeypatch):
    monkeypatch.setattr("tinybert.tasks.sampled_pairs.MAX_SECONDS", 5)
    train = pd.DataFrame(ROWS, columns=["sentence1", "sentence2", "label"])
    assert sample_pairs(train, 60, 0)["sentence2"].nunique() == 5


def test_sampled_pairs_are_new_and_counted(tmp_path, capsys):
    info, rows = prepared(tmp_path, ROWS, DEV, 60)
    assert info.num_unlabelled == info.num_sampled == len(rows) == 60
    taken = set(zip(rows["sentence1"], rows["sentence2"], strict=True))
    assert len(taken) == 60
    for split in ("train", "dev"):
        have = read_split(tmp_path / "out", split)
        assert not taken & set(zip(have["sentence1"], have["sentence2"], strict=True))
    assert "mine sampled pairs: 60 of 120 pairs of its texts; left out: " in capsys.readouterr().out


def test_a_pair_of_dev_is_taken_out_whatever_way_round(tmp_path):
    """All pairs that four texts form are in train or dev but one."""
    train = [("x a", "x b", 0), ("x c", "x d", 1)]
    for dev in (("x a", "x d"), ("X d", "x  a")):
        _, rows = prepared(tmp_path, train, [(*dev, 0)], 9)
        assert rows.to_numpy().tolist() == [["x c", "x b"]]


def test_the_same_seed_draws_the_same(tmp_path):
    _, one = prepared(tmp_path, ROWS, DEV, 30)
    _, again = prepared(tmp_path, ROWS, DEV, 30)
    _, other = prepared(tmp_path, ROWS, DEV, 30, seed=2)
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)


def test_they_stand_behind_the_users_unlabelled_rows(tmp_path):
    (tmp_path / "more.tsv").write_text("one\ttwo\n" + "what is 50 here\there 50 stands\n" * 2)
    info, rows = prepared(tmp_path, ROWS, DEV, 30, unlabelled={"files": "more.tsv"})
    assert (info.num_unlabelled, info.num_sampled) == (31, 30)
    assert rows.iloc[0].tolist() == ["what is 50 here", "here 50 stands"]
    every = read_rows("unlabelled", tmp_path / "out", tmp_path, info)
    own = without_sampled(every, info)
    assert (own["row"] == NO_ROW).sum() == 1
    assert len(own) == len(every) - 30 == 31
    original = read_rows("original", tmp_path / "out", tmp_path, info)
    assert len(without_sampled(original, info)) == len(original) == 30
    _, rows = prepared(tmp_path, ROWS, DEV, 300, unlabelled={"files": "more.tsv"})
    assert rows["sentence1"].eq("what is 50 here").sum() > 1  # their texts are paired too


@pytest.mark.parametrize("number", [0, 2])
def test_a_task_without_pairs_samples_none(tmp_path, number):
    single = {"columns": {"sentence1": "one", "label": "same"}}
    info, rows = prepared(tmp_path, ROWS, DEV, number, **single)
    assert rows is None
    assert info.num_sampled == 0
    file = parse(TaskFile, {**TASK, **single}, "task")
    assert not file.has_unlabelled(number)
    assert parse(TaskFile, TASK, "task").has_unlabelled(number) == (number > 0)


def test_where_no_pair_is_new_there_are_no_unlabelled_rows(tmp_path, capsys):
    info, rows = prepared(tmp_path, [("a b", "b c", 0), ("b c", "a b", 1)], DEV, 5)
    assert rows is None
    assert (info.num_unlabelled, info.num_sampled) == (0, 0)
    assert not (tmp_path / "out/unlabelled.parquet").exists()
    assert "sampled pairs: 0 of " in capsys.readouterr().out


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="sampled_pairs"):
        parse(PrepareTaskSettings, {**SETTINGS, "sampled_pairs": -1}, "profile: prepare_task")
