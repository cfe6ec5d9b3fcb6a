"""Labels that look like two classes are shown in one line, unless the task's file lists them."""

import pytest
import yaml

from tinybert.core.errors import InputError
from tinybert.tasks.label_spellings import refuse_alike, refuse_values, spelling_key
from tinybert.tasks.labels import encoder, label_names
from tinybert.tasks.tables import Table
from tinybert.tasks.task import Columns, Files, TaskFile


def task(**settings: object) -> TaskFile:
    columns = Columns(sentence1="text", label="topic")
    return TaskFile.model_validate({"files": Files(train="t.csv"), "columns": columns, **settings})


def table(labels: list[object], place: str = "train.csv") -> Table:
    texts: list[object] = ["x"] * len(labels)
    return Table(place, "line", list(range(2, len(labels) + 2)), texts, None, labels, {})


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
    with pytest.raises(InputError) as caught:
        refuse_alike(task(), [train])
    (problem,) = caught.value.problems
    assert len(problem.splitlines()) == 1
    assert problem.startswith("train.csv:5: labels that look like one, got ")
    assert "in 2 rows and" in problem
    # What the message says to write makes the two one class.
    line = problem.split("write `")[1].split("` in the task")[0]
    mended = task(**yaml.safe_load(line))
    refuse_alike(mended, [train])
    labels = label_names(mended, train)
    assert len(labels) == 2
    numbers = [encoder(mended, labels)(value)[0] for value in train.label or []]
    assert numbers[1] == numbers[2] == numbers[3] != numbers[0]


def test_labels_that_the_task_file_lists_are_two_classes() -> None:
    both = task(labels=["Positive", "positive"])
    train = table(["Positive", "positive"])
    refuse_alike(both, [train])
    assert label_names(both, train) == ["Positive", "positive"]


def test_a_spelling_of_dev_alone_is_found_too() -> None:
    with pytest.raises(InputError, match="labels that look like one"):
        refuse_alike(task(), [table(["good", "good", "bad"]), table(["Good"], "dev.csv")])


@pytest.mark.parametrize(
    "labels",
    [["1", "-1"], ["C", "C++"], ["1", "1.0", 1], ["true", "True", True], ["a", "b"], [":)", ":("]],
)
def test_other_labels_are_left_alone(labels: list[object]) -> None:
    refuse_alike(task(), [table(labels)])


def test_space_does_not_count_where_the_labels_are_listed() -> None:
    refuse_alike(task(labels=["good", "bad"]), [table(["good", "good ", "bad"])])
    assert spelling_key("...") == "..."


def test_a_column_of_values_or_texts_is_no_column_of_classes() -> None:
    fractions: list[object] = [f"{number / 7:.3f}" for number in range(100)]
    with pytest.raises(InputError, match="write `kind: regression`"):
        refuse_values(task(), table(fractions * 5))
    texts: list[object] = [f"text {number}" for number in range(100)]
    with pytest.raises(InputError, match="holds no classes, got 100 different labels in 100 rows"):
        refuse_values(task(), table(texts))
    refuse_values(task(), table(texts * 2))
    refuse_values(task(labels=fractions), table(fractions))


def test_a_label_in_another_spelling_names_the_setting_that_takes_it() -> None:
    _, problem = encoder(task(), ["good", "bad"])("Good")
    assert str(problem).startswith("unknown label, got 'Good'; known: good, bad; `label_words:")
    assert '{"Good": "good"}' in str(problem)


@pytest.mark.parametrize("value", [["a", "b"], {"value": "a"}, b"a"])
def test_a_label_that_is_a_list_an_object_or_bytes_is_a_bad_row(value: object) -> None:
    train = table(["a", "b", value])
    assert label_names(task(), train) == ["a", "b"]
    assert "label is no text or number" in str(encoder(task(), ["a", "b"])(value)[1])


def test_half_a_character_never_becomes_the_name_of_a_label() -> None:
    assert label_names(task(), table(["a", "b", "\ud800"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("value", "right"), [("3,5", "3.5, with a decimal point"), ("1_000", "3.2")]
)
def test_a_decimal_comma_is_told_to_be_a_point(value: str, right: str) -> None:
    assert right in str(encoder(task(kind="regression"), [])(value)[1])
