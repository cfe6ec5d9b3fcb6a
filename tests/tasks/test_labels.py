import math
import re

import pytest

from tests.fixtures.workspace import ROOT
from tinybert.core.errors import InputError
from tinybert.tasks.labels import encoder, label_names
from tinybert.tasks.tables import Table
from tinybert.tasks.task import Columns, Files, TaskFile, label_text


def task(**settings: object) -> TaskFile:
    files = Files(train="train.csv")
    columns = Columns(sentence1="text", label="topic")
    return TaskFile.model_validate({"files": files, "columns": columns, **settings})


def table(labels: list[object]) -> Table:
    texts: list[object] = ["x"] * len(labels)
    return Table("train.csv", "line", list(range(2, len(labels) + 2)), texts, None, labels, {})


@pytest.mark.parametrize("value", [1, 1.0, "1", " 1 ", "1.0", "1.00"])
def test_a_number_is_one_label_however_it_is_written(value: object) -> None:
    assert label_text(value) == "1"


@pytest.mark.parametrize("value", [True, "true", "True", "TRUE"])
def test_a_truth_value_is_one_label_however_it_is_written(value: object) -> None:
    assert label_text(value) == "true"


@pytest.mark.parametrize("value", [None, math.nan, "", "  "])
def test_an_empty_field_is_no_label(value: object) -> None:
    assert label_text(value) is None


def test_words_such_as_nan_and_decimals_stay_as_they_are() -> None:
    assert [label_text(value) for value in ("nan", "1.5", "v1.0")] == ["nan", "1.5", "v1.0"]


def test_the_order_of_labels_does_not_hang_on_the_order_of_rows() -> None:
    rows: list[object] = ["sport", "art", "money", "art"]
    assert label_names(task(), table(rows)) == ["art", "money", "sport"]
    assert label_names(task(), table(rows[::-1])) == ["art", "money", "sport"]


def test_labels_that_are_numbers_are_sorted_as_numbers() -> None:
    assert label_names(task(), table([10, 2, "1.0"])) == ["1", "2", "10"]


def test_named_labels_decide_the_order_and_words_lead_to_them() -> None:
    named = task(labels=["no", "yes"], label_words={"1": "no", "0": "yes"})
    assert label_names(named, table(["0", "1"])) == ["no", "yes"]
    encode = encoder(named, ["no", "yes"])
    assert [encode(value)[0] for value in ("0", "1", 0.0, "yes", "no")] == [1, 0, 1, 1, 0]


def test_label_names_in_the_task_file_may_be_truth_values_or_numbers() -> None:
    encode = encoder(task(labels=["True", "False"]), ["True", "False"])
    assert [encode(value)[0] for value in (True, False, "True", "false")] == [0, 1, 0, 1]


def test_an_unknown_label_lists_the_known_ones() -> None:
    label, problem = encoder(task(), ["art", "sport"])("money")
    assert label == -1
    assert problem == (
        "unknown label, got 'money'; known: art, sport; correct it, or lead it to one by "
        "`label_words` in the task's file"
    )


@pytest.mark.parametrize("rows", [["art", "art"], [None, ""]])
def test_fewer_than_two_labels_in_train_are_refused(rows: list[object]) -> None:
    with pytest.raises(InputError, match="at least two labels"):
        label_names(task(), table(rows))


@pytest.mark.parametrize("value", ["high", "", None, "nan", "inf", True])
def test_a_regression_label_must_be_a_finite_number(value: object) -> None:
    encode = encoder(task(kind="regression"), [])
    assert encode(value)[1] is not None


def test_a_regression_label_is_its_number() -> None:
    encode = encoder(task(kind="regression"), [])
    assert [encode(value) for value in ("3.8", 4, " 0 ")] == [(3.8, None), (4.0, None), (0.0, None)]


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ["only"]},
        {"labels": ["a", "a"]},
        {"labels": ["a", "b"], "label_words": {"0": "c"}},
        {"kind": "regression", "labels": ["a", "b"]},
        {"metrics": ["spearman"]},
        {"kind": "regression", "metrics": ["accuracy"]},
        {"rows": {"train": 10, "dev": 10, "test": 10}},
        {"embedded": "topic"},
        {"hub": {"path": "x"}},
    ],
)
def test_a_task_file_that_contradicts_itself_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="; "):
        task(**settings)


def test_each_task_file_of_the_project_is_valid() -> None:
    from tinybert.settings.reader import parse, read_yaml

    files = sorted((ROOT / "params" / "tasks").glob("*.yaml"))
    assert len(files) >= 12
    for file in files:
        assert file.read_text(encoding="utf-8").startswith("# ")
        assert parse(TaskFile, read_yaml(file), str(file)).description


def task_problems(text: str) -> list[str]:
    """Return what is wrong with a task's file of these further lines."""
    import yaml

    from tinybert.settings.reader import parse

    whole = "files: {train: t.csv}\ncolumns: {sentence1: text, label: topic}\n" + text
    with pytest.raises(InputError) as caught:
        parse(TaskFile, yaml.safe_load(whole), "reviews.yaml")
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("labels", "words", "expected"),
    [
        ([0, 1], {}, ["0", "1"]),
        ([10, "-2"], {}, ["10", "-2"]),
        (["bad", "good"], {0: "bad", 1: "good"}, ["bad", "good"]),
    ],
)
def test_whole_numbers_in_a_task_file_are_their_text(labels, words, expected) -> None:
    found = task(labels=labels, label_words=words)
    assert found.labels == expected
    assert found.label_words == {str(word): name for word, name in words.items()}


@pytest.mark.parametrize(
    ("line", "got", "right"),
    [
        ("labels: [false, maybe]", "labels.0: is no text to YAML, got False", "write 'no' (or"),
        ("labels: [maybe, true]", "labels.1: is no text to YAML, got True", "write 'yes' (or"),
        ("labels: [a, null]", "labels.1: is no text to YAML, got None", "write 'null' in quotes"),
        ("labels: [a, 1.5]", "got 1.5", "write '1.5' in quotes"),
        ("labels: [a, 2020-01-31]", "got 2020-01-31", "write '2020-01-31' in quotes"),
        ("label_words: {false: a, x: b}", "got False", "write 'no' (or 'false', 'off') in quotes"),
        ("label_words: {x: true, y: b}", "got True", "write 'yes' (or 'true', 'on') in quotes"),
        ("label_words: {0: a, '0': b}", "got two for 0", "keep one"),
        ("labels: [a, ' a']", "got ['a', ' a']", "space around a name does not count"),
        ("labels: [1, '1.0']", "got ['1', '1.0']", "1.0 is 1"),
    ],
)
def test_what_yaml_makes_of_unquoted_words_is_refused_with_the_quotes(line, got, right) -> None:
    (problem,) = task_problems(line)
    assert got in problem
    assert right in problem


def test_columns_of_a_task_must_be_different_and_text() -> None:
    from tinybert.settings.reader import parse

    for columns, expected in (
        ({"sentence1": "text", "label": "text"}, "must name different columns, got text, text"),
        ({"sentence1": "text", "label": True}, "write 'yes' (or 'true', 'on') in quotes"),
    ):
        with pytest.raises(InputError, match=re.escape(expected)):
            parse(TaskFile, {"files": {"train": "t.csv"}, "columns": columns}, "reviews.yaml")
    parsed = Columns.model_validate({"sentence1": 0, "label": 1})
    assert (parsed.sentence1, parsed.label) == ("0", "1")
