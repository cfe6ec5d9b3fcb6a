"""Rows are checked, numbered and set aside; no row is changed or lost unsaid."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from tests.fixtures.refused import problems_of
from tests.fixtures.tables import table_of, task_of
from tinybert.tasks.rows import Prepared, prepare, sentence_text, stratified_sample
from tinybert.tasks.tables import Table


def hundred(word: str = "row") -> Table:
    return table_of([(f"{word} {n}", "rare" if n % 5 == 0 else "often") for n in range(100)])


def prepared(tables: dict[str, Table], limit: int | None = None, **settings: object) -> Prepared:
    return prepare("mine", task_of(**settings), tables, seed=3, max_train_rows=limit)


problems = partial(problems_of, prepared)


def test_sentences_lose_outer_space_and_line_breaks_only() -> None:
    assert sentence_text("\u200b \ufeff\x00") == ""
    assert sentence_text('  a  "b"\r\n\n c\u2028d \n') == 'a  "b"  c d'


def test_rows_stay_in_order_and_equal_rows_stay_too() -> None:
    rows = [("same", "b"), ("other", "a"), ("same", "b")]
    frame = prepared({"train": table_of(rows), "dev": table_of(rows)}).splits["train"]
    assert frame["sentence1"].tolist() == ["same", "other", "same"]
    assert frame["label"].tolist() == [1, 0, 1]
    assert str(frame["label"].dtype) == "int64"


def test_without_dev_a_stratified_tenth_of_train_is_set_aside() -> None:
    found = prepared({"train": hundred()})
    dev, train = found.splits["dev"], found.splits["train"]
    # 80 often and 20 rare: a tenth is 8 and 2. Labels sorted: often 0, rare 1.
    assert dev["label"].value_counts().to_dict() == {0: 8, 1: 2}
    together = [*dev["sentence1"], *train["sentence1"]]
    assert sorted(together) == sorted(f"row {number}" for number in range(100))
    assert "10 of train's 100 rows" in found.notes[0]
    assert prepared({"train": hundred()}).splits["dev"].equals(dev)


def test_a_label_with_a_single_row_stays_in_train() -> None:
    rows = [(f"row {n}", "often") for n in range(50)]
    found = prepared({"train": table_of([*rows, ("lone", "rare")])})
    assert "lone" in found.splits["train"]["sentence1"].tolist()


def test_a_subset_of_train_leaves_dev_whole() -> None:
    found = prepared({"train": hundred(), "dev": hundred("other")}, limit=10)
    assert found.info.num_rows == {"train": 10, "dev": 100}
    assert found.splits["train"]["label"].value_counts().to_dict() == {0: 8, 1: 2}
    # Drawn from the whole, not the first ten, and still in order.
    numbers = [int(text.split()[1]) for text in found.splits["train"]["sentence1"]]
    assert numbers == sorted(numbers) != list(range(10))
    assert found.notes == ["train: 10 of 100 rows were kept, with seed 3"]


def test_a_limit_above_the_rows_changes_nothing() -> None:
    assert prepared({"train": hundred(), "dev": hundred("other")}, limit=1000).notes == []


def test_every_bad_row_is_named_by_its_line() -> None:
    good = [("a", "x"), ("b", "y")]
    bad = table_of(
        [("a", "x"), ("  ", "y"), (None, "x"), (7, "x"), ("d", "z"), ("\ud800", "x")], "dev"
    )
    bad.malformed[9] = "wrong number of columns, got 1; 2 are right"
    assert problems({"train": table_of(good), "dev": bad}) == (
        "dev:3: sentence 1 is no text, got an empty field; write one",
        "dev:4: sentence 1 is no text, got an empty field; write one",
        "dev:5: sentence 1 is no text, got 7; write it in quotes, or name the column of the text "
        "under `columns`",
        "dev:6: unknown label, got 'z'; known: x, y; correct it, or lead it to one by "
        "`label_words` in the task's file",
        "dev:7: sentence 1 has half a character, got '\\ud800'; mend it",
        "dev:9: wrong number of columns, got 1; 2 are right",
    )


def test_ten_bad_rows_are_listed_and_the_others_counted() -> None:
    rows = [("a", "x"), ("b", "y"), *[("", "x")] * 25]
    found = problems({"train": table_of(rows)})
    assert len(found) == 11
    assert "and 15 more like these, got 25 in all" in found[-1]


def test_bad_rows_are_dropped_and_counted_only_where_the_task_says_so() -> None:
    train = table_of([("a", "x"), ("", "x"), ("b", "y"), ("c", "z"), ("e", "y")])
    train.malformed[7] = "wrong number of columns"
    found = prepared(
        {"train": train, "dev": table_of([("d", "x")])}, bad_rows="drop", labels=["x", "y"]
    )
    assert found.splits["train"]["sentence1"].tolist() == ["a", "b", "e"]
    assert found.info.dropped_rows == 3
    assert found.notes[0].startswith(
        "train: dropped 3 bad rows of 6 (50%), the first at train.csv:3: sentence 1 is no text"
    )


def test_rows_are_not_dropped_where_more_than_half_are_bad() -> None:
    rows = [("a", "x"), ("b", "y"), ("", "x"), ("", "y"), ("", "x")]
    (line,) = problems({"train": table_of(rows)}, bad_rows="drop")
    assert line.startswith("train.csv: too many bad rows to drop, got 3 of 5, the first at")
    assert "name the right `columns`" in line


def test_an_unlabelled_row_is_never_dropped() -> None:
    splits = {"train": hundred(), "dev": hundred("other")}
    test = table_of([("a", None), ("", None), ("b", "")], "test")
    found = prepared({**splits, "test": test}, bad_rows="drop")
    assert found.splits["test"]["sentence1"].tolist() == ["a", "", "b"]
    assert found.info.dropped_rows == 0
    test.malformed[5] = "wrong number of columns"
    assert problems({**splits, "test": test}, bad_rows="drop") == (
        "test:5: wrong number of columns",
    )


@pytest.mark.parametrize("withheld", [-1, -1.0, "-1", "?", None, ""])
def test_a_test_split_without_any_label_is_unlabelled(withheld: object) -> None:
    test = table_of([("a", withheld), ("b", withheld)])
    found = prepared({"train": hundred(), "dev": hundred("other"), "test": test})
    assert list(found.splits["test"].columns) == ["sentence1"]


def test_a_test_split_with_labels_keeps_them_and_may_not_lack_one() -> None:
    splits = {"train": hundred(), "dev": hundred("other")}
    found = prepared({**splits, "test": table_of([("a", "rare")])})
    assert found.splits["test"]["label"].tolist() == [1]
    test = table_of([("a", "rare"), ("b", "")])
    assert "got an empty field" in problems({**splits, "test": test})[0]


def test_a_dev_split_without_labels_is_refused() -> None:
    dev = table_of([("a", -1), ("b", -1)], "dev")
    (line,) = problems({"train": hundred(), "dev": dev})
    assert line.startswith("dev: no row has a known label, got '-1' in 2 rows; known: often, rare")
    assert "leave `dev` out" in line


def test_regression_labels_are_values() -> None:
    rows = [("a", "1"), ("b", "2.5")]
    found = prepared({"train": table_of(rows), "dev": table_of(rows)}, kind="regression")
    assert found.splits["train"]["label"].tolist() == [1.0, 2.5]
    assert str(found.splits["train"]["label"].dtype) == "float64"
    assert (found.info.labels, found.info.metrics) == ([], ["spearman", "pearson"])


def test_a_file_without_rows_is_refused() -> None:
    assert "is empty, got no rows" in problems({"train": table_of([])})[0]


def test_f1_of_more_than_two_labels_is_refused() -> None:
    rows = [("a", "x"), ("b", "y"), ("c", "z")]
    assert "write f1_macro" in problems({"train": table_of(rows)}, metrics=["f1"])[0]


def test_rows_of_dev_that_stand_in_train_too_are_counted() -> None:
    dev = table_of([("row 3", "often"), ("new", "rare"), (" Row  5 ", "rare")], "dev.csv")
    (note,) = prepared({"train": hundred(), "dev": dev}).notes
    assert note.startswith("dev: 2 of 3 rows of dev.csv stand in train too")


def test_labels_that_train_hardly_has_are_named() -> None:
    rows = [("a", "x"), ("b", "x"), ("c", "y")]
    splits = {"train": table_of(rows), "dev": table_of([("d", "x")], "dev.csv")}
    found = prepared(splits, labels=["x", "y", "z"])
    assert found.notes == ["train: label 'y' has a single row", "train: label 'z' has no row"]


def test_every_stratum_keeps_its_share() -> None:
    strata = np.array([0] * 60 + [1] * 30 + [2] * 10)
    chosen = strata[stratified_sample(strata, 10, seed=1)]
    # Shares of 10 rows: 60 %, 30 % and 10 %.
    assert np.bincount(chosen).tolist() == [6, 3, 1]


def test_a_rare_stratum_is_not_lost() -> None:
    strata = np.array([0] * 99 + [1])
    chosen = strata[stratified_sample(strata, 10, seed=1)]
    assert np.bincount(chosen).tolist() == [9, 1]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 99, 100])
def test_exactly_the_asked_rows_come_in_order_and_once(size: int) -> None:
    strata = np.random.default_rng(0).integers(0, 4, 100)
    chosen = stratified_sample(strata, size, seed=5)
    assert len(chosen) == size
    assert (np.diff(chosen) > 0).all()


def test_the_seed_decides() -> None:
    strata = np.zeros(1000, dtype=np.int64)
    first, again, other = (stratified_sample(strata, 100, seed) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()


def test_rows_set_aside_as_dev_that_stand_in_train_too_are_counted() -> None:
    rows = [("good film", "pos"), ("bad film", "neg")] * 20
    found = prepared({"train": table_of(rows, "mine.csv")})
    note = "dev: 4 of 4 rows of mine.csv stand in train too, so scores on them are too high"
    assert note in found.notes


def test_a_label_that_train_loses_to_dev_is_named() -> None:
    rows = [(f"row {n}", f"label {n}") for n in range(10)]
    notes = prepared({"train": table_of(rows)}).notes
    assert len([note for note in notes if note.endswith("has no row")]) == 1
    assert len([note for note in notes if note.endswith("has a single row")]) == 9


def test_a_malformed_row_is_told_where_what_is_left_has_one_label() -> None:
    table = replace(table_of([("fine", "pos")] * 2), malformed={4: "wrong number of columns"})
    (line,) = problems({"train": table})
    assert line == f"{table.where(4)}: wrong number of columns"
    (line,) = problems({"train": table}, bad_rows="drop")
    assert "must hold at least two labels" in line


def test_a_regression_of_one_value_is_refused_in_train_and_told_in_dev() -> None:
    alike, train = table_of([("a", 2.5), ("b", 2.5)]), table_of([("a", 1.5), ("b", 2.5)])
    (line,) = problems({"train": alike}, kind="regression")
    assert "a regression must have different values, got 2.5 in every row" in line
    notes = prepared({"train": train, "dev": alike}, kind="regression").notes
    assert "dev: one value in 2 rows, so a correlation on them is not defined" in notes
    assert not prepared({"train": train, "dev": train}, kind="regression").notes[1:]
