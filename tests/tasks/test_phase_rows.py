"""Which rows a phase trains on, and the order in which the teacher's logits count them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.fixtures.measured import task_info
from tinybert.runtime.errors import InputError
from tinybert.tasks.phase_rows import (
    default_data,
    original_rows,
    read_rows,
    read_texts,
    rows_with_logits,
)
from tinybert.tasks.task import TaskInfo, write_task

# Two rows, the first with one copy, the second with two; and three without labels.
TRAIN = pd.DataFrame({"sentence1": ["a", "b"], "label": [0, 1]})
AUGMENTED = pd.DataFrame(
    {"sentence1": ["a", "a1", "b", "b1", "b2"], "label": [0, 0, 1, 1, 1], "row": [0, 0, 1, 1, 1]}
)
FURTHER = pd.DataFrame({"sentence1": ["u", "v", "w"]})
TEXTS = {
    "original": ["a", "b"],
    "augmented": ["a", "a1", "b", "b1", "b2"],
    "unlabelled": ["a", "b", "u", "v", "w"],
    "all": ["a", "a1", "b", "b1", "b2", "u", "v", "w"],
}


def info(num_unlabelled: int) -> TaskInfo:
    rows = {"num_rows": {"train": 2}, "num_unlabelled": num_unlabelled}
    return task_info("mine", ["bad", "good"], ["accuracy"], pair=False, **rows)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return a prepared task and its augmented rows."""
    task, augmented = tmp_path / "task", tmp_path / "augmented"
    task.mkdir()
    augmented.mkdir()
    write_task(task, info(3), {"train": TRAIN, "unlabelled": FURTHER})
    AUGMENTED.to_parquet(augmented / "train.parquet")
    return task, augmented


@pytest.mark.parametrize("data", TEXTS)
def test_each_choice_reads_its_rows(folders, data):
    rows = read_rows(data, *folders, info(3))
    assert rows["sentence1"].tolist() == TEXTS[data]
    assert ("label" in rows) == (data in ("original", "augmented"))


def test_rows_know_the_row_they_were_made_from(folders):
    assert read_rows("original", *folders, info(3))["row"].tolist() == [0, 1]
    assert read_rows("all", *folders, info(3))["row"].tolist() == [0, 0, 1, 1, 1, -1, -1, -1]
    assert read_rows("unlabelled", *folders, info(3))["row"].tolist() == [0, 1, -1, -1, -1]


def test_without_a_choice_a_task_gives_all_it_has(folders):
    assert read_rows(None, *folders, info(3)).equals(read_rows("all", *folders, info(3)))
    assert read_rows(None, *folders, info(0)).equals(read_rows("augmented", *folders, info(0)))


def test_original_and_unlabelled_rows_are_read_without_the_augmented_ones(folders):
    (folders[1] / "train.parquet").unlink()
    for data in ("original", "unlabelled"):
        assert read_rows(data, *folders, info(3))["sentence1"].tolist() == TEXTS[data]


def test_the_default_adds_unlabelled_rows_unless_gold_labels_are_needed():
    assert default_data(True) == "all"
    assert default_data(True, "original") == "unlabelled"
    assert default_data(True, "original", gold_labels=True) == "original"
    assert default_data(True, gold_labels=True) == "augmented"
    assert default_data(False, "original") == "original"


@pytest.mark.parametrize("data", ["unlabelled", "all"])
def test_unlabelled_rows_that_a_task_has_not_are_refused(folders, data):
    with pytest.raises(InputError, match=f"the task mine has no unlabelled rows, got {data}; name"):
        read_rows(data, *folders, info(0))


def test_unlabelled_rows_of_another_run_are_refused(folders):
    with pytest.raises(InputError, match=r"must have 4 rows, got 3, .* --force prepare_task@mine"):
        read_rows("all", *folders, info(4))
    (folders[0] / "unlabelled.parquet").unlink()
    with pytest.raises(InputError, match="got no unlabelled rows; run `dvc repro --force prepare"):
        read_rows("all", *folders, info(3))


@pytest.mark.parametrize("data", TEXTS)
def test_the_teachers_logits_are_found_by_number(folders, data):
    everything = read_rows(None, *folders, info(3))
    logits = np.arange(8)  # of row number n, n
    rows = rows_with_logits(data, everything, logits)
    assert rows["sentence1"].tolist() == TEXTS[data]
    numbers = [TEXTS["all"].index(text) for text in TEXTS[data]]
    assert logits[rows.index].tolist() == numbers


def test_rows_that_the_teacher_has_not_scored_are_left_out_but_for_original_ones(folders):
    everything = read_rows(None, *folders, info(3))
    scored = np.array([0, 2, 3, 6])
    texts = {
        data: rows_with_logits(data, everything, scored)["sentence1"].tolist() for data in TEXTS
    }
    assert texts == {
        "original": ["a", "b"],
        "augmented": ["a", "b", "b1"],
        "unlabelled": ["a", "b", "v"],
        "all": ["a", "b", "b1", "v"],
    }
    for data in ("original", "unlabelled"):
        with pytest.raises(InputError, match=r"got all but 1 of 2; set teacher_logits\.also_orig"):
            rows_with_logits(data, everything, scored[[0, 2, 3]])


def test_original_rows_are_the_first_of_their_copies():
    assert original_rows(np.array([0, 0, 1, 1, 1, -1, -1])).tolist() == [0, 2]


def test_a_tasks_texts_are_those_of_train_and_of_unlabelled_rows(folders):
    assert read_texts(folders[0], info(3)) == [["a", "b"], ["u", "v", "w"]]
    assert read_texts(folders[0], info(0)) == [["a", "b"]]
