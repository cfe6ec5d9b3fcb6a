"""Labels get their numbers; those that look like two classes are shown in one line."""

import math
import re
from collections.abc import Iterable

import pytest
import yaml

from tests.fixtures.refused import refused
from tests.fixtures.tables import table_of, task_of
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse, read_yaml
from tinybert.tasks.labels import (
    encoder,
    label_names,
    refuse_alike,
    refuse_no_labels,
    refuse_values,
    spelling_key,
)
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Columns, TaskFile, label_text


def table(labels: Iterable[object], place: str = "train.csv") -> Table:
    return table_of([("x", label) for label in labels], place)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1", [1, 1.0, "1", " 1 ", "1.0", "1.00"]),
        ("true", [True, "true", "True", "TRUE"]),
        (None, [None, math.nan, "", "  "]),
        ("nan", ["nan"]),
        ("1.5", ["1.5"]),
        ("v1.0", ["v1.0"]),
    ],
)
def test_a_label_is_one_however_it_is_written(text: str | None, values: list[object]) -> None:
    assert {label_text(value) for value in values} == {text}


def test_the_order_of_labels_does_not_hang_on_the_order_of_rows() -> None:
    rows = ["sport", "art", "money", "art"]
    assert label_names(task_of(), table(rows)) == ["art", "money", "sport"]
    assert label_names(task_of(), table(rows[::-1])) == ["art", "money", "sport"]


def test_labels_that_are_numbers_are_sorted_as_numbers() -> None:
    assert label_names(task_of(), table([10, 2, "1.0"])) == ["1", "2", "10"]


def test_named_labels_decide_the_order_and_words_lead_to_them() -> None:
    named = task_of(labels=["no", "yes"], label_words={"1": "no", "0": "yes"})
    assert label_names(named, table(["0", "1"])) == ["no", "yes"]
    encode = encoder(named, ["no", "yes"])
    assert [encode(value)[0] for value in ("0", "1", 0.0, "yes", "no")] == [1, 0, 1, 1, 0]


def test_label_names_in_the_task_file_may_be_truth_values_or_numbers() -> None:
    encode = encoder(task_of(labels=["True", "False"]), ["True", "False"])
    assert [encode(value)[0] for value in (True, False, "True", "false")] == [0, 1, 0, 1]


def test_an_unknown_label_lists_the_known_ones() -> None:
    label, problem = encoder(task_of(), ["art", "sport"])("money")
    assert label == -1
    assert problem == (
        "unknown label, got 'money'; known: art, sport; correct it, or lead it to one by "
        "`label_words` in the task's file"
    )


@pytest.mark.parametrize("rows", [["art", "art"], [None, ""]])
def test_fewer_than_two_labels_in_train_are_refused(rows: list[object]) -> None:
    with pytest.raises(InputError, match="at least two labels"):
        label_names(task_of(), table(rows))


@pytest.mark.parametrize("value", ["high", "", None, "nan", "inf", True])
def test_a_regression_label_must_be_a_finite_number(value: object) -> None:
    encode = encoder(task_of(kind="regression"), [])
    assert encode(value)[1] is not None


def test_a_regression_label_is_its_number() -> None:
    encode = encoder(task_of(kind="regression"), [])
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
        {"embedded": "subject"},
        {"hub": {"path": "x"}},
    ],
)
def test_a_task_file_that_contradicts_itself_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="; "):
        task_of(**settings)


def test_each_task_file_of_the_project_is_valid() -> None:
    files = sorted((ROOT / "params" / "tasks").glob("*.yaml"))
    assert len(files) >= 12
    for file in files:
        assert file.read_text(encoding="utf-8").startswith("# ")
        assert parse(TaskFile, read_yaml(file), str(file)).description


def task_problem(text: str) -> str:
    """Return what is wrong with a task's file of these further lines."""
    whole = "files: {train: t.csv}\ncolumns: {sentence1: text, label: topic}\n" + text
    return refused(parse, TaskFile, yaml.safe_load(whole), "reviews.yaml")


@pytest.mark.parametrize(
    ("labels", "words", "expected"),
    [
        ([0, 1], {}, ["0", "1"]),
        ([10, "-2"], {}, ["10", "-2"]),
        (["bad", "good"], {0: "bad", 1: "good"}, ["bad", "good"]),
    ],
)
def test_whole_numbers_in_a_task_file_are_their_text(labels, words, expected) -> None:
    found = task_of(labels=labels, label_words=words)
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
    problem = task_problem(line)
    assert got in problem
    assert right in problem


def test_columns_of_a_task_must_be_different_and_text() -> None:
    for columns, expected in (
        ({"sentence1": "text", "label": "text"}, "must name different columns, got text, text"),
        ({"sentence1": "text", "label": True}, "write 'yes' (or 'true', 'on') in quotes"),
    ):
        with pytest.raises(InputError, match=re.escape(expected)):
            parse(TaskFile, {"files": {"train": "t.csv"}, "columns": columns}, "reviews.yaml")
    parsed = Columns.model_validate({"sentence1": 0, "label": 1})
    assert (parsed.sentence1, parsed.label) == ("0", "1")


ALIKE = [
    ("positive", "Positive"),
    ("good", "good "),
    ("good", "\xa0good"),
    ("good", "goo\u200bd"),
    ("caf\u00e9", "cafe\u0301"),
    ("1", "\uff11"),
    ("1", "01"),
    ("not_equal", "not equal"),
    ("not equal", "not  equal"),
    ("good", "good."),
    ("good", '"good"'),
]


@pytest.mark.parametrize(("common", "rare"), ALIKE)
def test_labels_that_differ_in_spelling_alone_are_one_line_with_its_cure(common, rare) -> None:
    train = table(["bad", common, common, rare])
    problem = refused(refuse_alike, task_of(), [train])
    assert problem.startswith("train.csv:5: labels that look like one, got ")
    assert "in 2 rows and" in problem
    # What the message says to write makes the two one class.
    line = problem.split("write `")[1].split("` in the task")[0]
    mended = task_of(**yaml.safe_load(line))
    refuse_alike(mended, [train])
    labels = label_names(mended, train)
    assert len(labels) == 2
    numbers = [encoder(mended, labels)(value)[0] for value in train.label or []]
    assert numbers[1] == numbers[2] == numbers[3] != numbers[0]


def test_labels_that_the_task_file_lists_are_two_classes() -> None:
    both = task_of(labels=["Positive", "positive"])
    train = table(["Positive", "positive"])
    refuse_alike(both, [train])
    assert label_names(both, train) == ["Positive", "positive"]


def test_a_spelling_of_dev_alone_is_found_too() -> None:
    with pytest.raises(InputError, match="labels that look like one"):
        refuse_alike(task_of(), [table(["good", "good", "bad"]), table(["Good"], "dev.csv")])


@pytest.mark.parametrize(
    "labels",
    [["1", "-1"], ["C", "C++"], ["1", "1.0", 1], ["true", "True", True], ["a", "b"], [":)", ":("]],
)
def test_other_labels_are_left_alone(labels: list[object]) -> None:
    refuse_alike(task_of(), [table(labels)])


def test_space_does_not_count_where_the_labels_are_listed() -> None:
    refuse_alike(task_of(labels=["good", "bad"]), [table(["good", "good ", "bad"])])
    assert spelling_key("...") == "..."


def test_a_column_of_values_or_texts_is_no_column_of_classes() -> None:
    fractions = [f"{number / 7:.3f}" for number in range(100)]
    with pytest.raises(InputError, match="write `kind: regression`"):
        refuse_values(task_of(), table(fractions * 5))
    texts = [f"text {number}" for number in range(100)]
    with pytest.raises(InputError, match="holds no classes, got 100 different labels in 100 rows"):
        refuse_values(task_of(), table(texts))
    refuse_values(task_of(), table(texts * 2))
    refuse_values(task_of(labels=fractions), table(fractions))


def test_a_label_in_another_spelling_names_the_setting_that_takes_it() -> None:
    _, problem = encoder(task_of(), ["good", "bad"])("Good")
    assert str(problem).startswith("unknown label, got 'Good'; known: good, bad; `label_words:")
    assert '{"Good": "good"}' in str(problem)


@pytest.mark.parametrize("value", [["a", "b"], {"value": "a"}, b"a"])
def test_a_label_that_is_a_list_an_object_or_bytes_is_a_bad_row(value: object) -> None:
    train = table(["a", "b", value])
    assert label_names(task_of(), train) == ["a", "b"]
    assert "label is no text or number" in str(encoder(task_of(), ["a", "b"])(value)[1])


def test_half_a_character_never_becomes_the_name_of_a_label() -> None:
    assert label_names(task_of(), table(["a", "b", "\ud800"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "right"), [("3,5", "3.5, with a decimal point"), ("1_000", "3.2")]
)
def test_a_decimal_comma_is_told_to_be_a_point(value: str, right: str) -> None:
    assert right in str(encoder(task_of(kind="regression"), [])(value)[1])


@pytest.mark.parametrize("mark", ["-", "?", "nan", "NULL", "N/A"])
def test_a_mark_of_no_label_is_no_class_unless_the_task_file_names_it(mark: str) -> None:
    train = table(["x", "y", mark, mark])
    line = refused(refuse_no_labels, task_of(), train)
    assert line.startswith(f"{train.where(train.numbers[2])}: a mark of rows without a label, ")
    assert f"got {mark!r} in 2 rows" in line and "`bad_rows: drop`" in line
    for named in ({"labels": ["x", "y", mark]}, {"label_words": {mark: "x"}}):
        refuse_no_labels(task_of(**named), train)


def test_none_is_a_class() -> None:
    refuse_no_labels(task_of(), table(["none", "some", None]))


def test_words_that_python_reads_as_numbers_are_sorted_as_words() -> None:
    assert label_names(task_of(), table(["pos", "nan", "2", "inf", "1"])) == [
        *("1", "2", "inf", "nan", "pos")
    ]


def test_lists_as_labels_name_the_kind_that_has_several() -> None:
    assert "holds lists, got kind classification; write `kind: multilabel`" in refused(
        label_names, task_of(), table([["x"], ["y"]])
    )


def test_the_label_that_is_proposed_has_no_space_around_it() -> None:
    tables = [table(["neg ", "neg ", "neg", "pos"])]
    assert '`label_words: {"neg": "neg"}`' in refused(refuse_alike, task_of(), tables)
    told = task_of(label_words={"neg": "neg"})
    refuse_alike(told, tables)
    assert label_names(told, tables[0]) == ["neg", "pos"]


def test_a_file_without_its_split_is_told_how_it_is_written() -> None:
    settings = {"files": "a.csv", "columns": {"sentence1": "text", "label": "label"}}
    with pytest.raises(InputError, match=r"got a.csv; write \{train: a.csv\}"):
        parse(TaskFile, settings, "task")


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_label_words_that_lead_to_no_label_of_train_are_refused(kind: str) -> None:
    words = task_of(kind=kind, label_words={"1": "yes", "?": "maybe"})
    line = refused(label_names, words, table(["1", "no"]))
    assert line.startswith("train.csv: `label_words` must lead to labels of train, got 'maybe', ")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_label_of_several_lines_is_refused_unless_it_is_led_to_another(end: str) -> None:
    name = f"a{end}b"
    line = refused(label_names, task_of(), table(["c", name]))
    assert line.startswith(f"train.csv: labels must be of one line, got {name!r}; ")
    assert label_names(task_of(label_words={name: "a"}), table(["c", name])) == ["a", "c"]
