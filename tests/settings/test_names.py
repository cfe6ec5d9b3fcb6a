"""What can be no name is said first, with the rule and a name that would be right."""

from pathlib import Path

import pytest

from flows.request import Request
from stages._check_params import check_params
from tests.fixtures.refused import refused
from tests.fixtures.workspace import ROOT, edit_yaml, make_workspace
from tinybert.runtime.errors import InputError
from tinybert.settings.names import (
    MAX_LENGTH,
    known_names,
    require_distinct,
    require_names,
    strange_files,
)

WRONG = (
    *("my.v2", "org/t", "tweet eval", "-x", "_x", "Ünï", "a@b", "a:b", "a$b", "{a}", "${a}", ""),
    *("2024", "1_000", "1e5", "nan", "inf", "true", "null", "0x10", "CON", "com1", "../a", "a\nb"),
    *("a" * (MAX_LENGTH + 1), "a" * 300, "a\0b", " a", "a ", "a,b", "[a]", "..", "~", "名前"),
    *(2024, True, None, 1.5, ["a"], {"a": "b"}),
)


@pytest.mark.parametrize("name", WRONG, ids=repr)
@pytest.mark.parametrize("key", ["tasks", "systems"])
def test_what_can_be_no_name_gets_one_line_with_the_rule(key, name):
    line = refused(require_names, {key: ["fine", name]})
    assert len(line) < 500
    assert line.startswith(f"params.yaml: {key}: wrong name, got ")
    better = line.rpartition("and write ")[2]
    require_names({key: [better]})


def test_a_line_says_what_is_wrong_and_what_would_be_right():
    assert refused(require_names, {"tasks": ["my.v2"]}) == (
        "params.yaml: tasks: wrong name, got 'my.v2'; a name has up to 64 letters a-z, digits, _ "
        "and -, begins with a letter or digit, and is no number: rename params/tasks/my.v2.yaml to "
        "my_v2.yaml, and write my_v2"
    )


def test_the_name_of_a_file_is_told_without_its_ending():
    line = refused(require_names, {"tasks": ["doc_subject.yaml"]})
    assert line.endswith(": write doc_subject")


@pytest.mark.parametrize("name", ["20newsgroups", "my-task", "SST2", "a", "a" * MAX_LENGTH, "yes"])
def test_other_names_are_right(name):
    require_names({"profile": name, "tasks": [name], "systems": [name]})


def test_every_name_of_the_project_is_right():
    for key, folder in (("profile", "profiles"), ("tasks", "tasks"), ("systems", "systems")):
        require_names({key: known_names(ROOT, folder)})
    require_distinct(ROOT, known_names(ROOT, "systems"), known_names(ROOT, "tasks"))
    assert list(strange_files(ROOT)) == []


@pytest.mark.parametrize("name", ["teacher", "Teacher"])
def test_a_system_is_not_called_teacher_but_a_task_may_be(name):
    with pytest.raises(InputError, match="a system is not called teacher"):
        require_names({"systems": [name]})
    require_names({"tasks": [name]})


@pytest.mark.parametrize(
    ("systems", "tasks", "expected"),
    [
        (["s"], ["sst2", "SST2"], "differ in capitals alone, got SST2 and sst2"),
        (["S", "s"], ["t"], "differ in capitals alone, got S and s"),
        (["a-b", "a"], ["c", "b-c"], "would both be called a-b-c"),
        (["a-b", "A"], ["c", "B-C"], "would both be called a-b-c"),
        (["teacher-x"], ["y", "x-y"], "would both be called teacher-x-y"),
    ],
)
def test_two_that_would_become_one_are_refused(tmp_path, systems, tasks, expected):
    assert expected in refused(require_distinct, tmp_path, systems, tasks)


def touch(folder: Path, *files: str) -> None:
    for file in files:
        (folder / "params" / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / "params" / file).touch()


def test_one_that_would_become_another_file_of_the_folder_is_refused_too(tmp_path):
    touch(tmp_path, "systems/a.yaml", "systems/a-b.yaml", "tasks/c.yaml", "tasks/b-c.yaml")
    with pytest.raises(InputError, match="both be called a-b-c, got system a-b with task c"):
        require_distinct(tmp_path, ["a-b"], ["c"])


def test_files_that_nothing_can_choose_are_said(tmp_path):
    touch(tmp_path, "tasks/x.yml", "tasks/my.v2.yaml", "groups/a b.yaml", "tasks/.#x.yaml")
    yml, wrong, group = sorted(strange_files(tmp_path), reverse=True)
    assert yml == "params/tasks/x.yml: is not read, got the ending .yml; rename it to .yaml"
    assert wrong.startswith("params/tasks/my.v2.yaml: wrong name")
    assert group.startswith("params/groups/a b.yaml: wrong name")


@pytest.fixture
def workspace(tmp_path, monkeypatch) -> Path:
    make_workspace(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("tasks", ["my.v2"], "params.yaml: tasks: wrong name, got 'my.v2'"),
        ("tasks", [2024], "params.yaml: tasks: wrong name, got 2024"),
        ("profile", "a/b", "params.yaml: profile: wrong name, got 'a/b'"),
        ("systems", ["teacher"], "not called teacher"),
        ("tasks", ["reviews", "Reviews"], "capitals alone"),
        ("tasks", ["Reviews"], "capitals alone, got Reviews and reviews"),
        ("systems", ["tinybert_mni"], "did you mean 'tinybert_mini'?"),
        ("tasks", "reviews", "write [reviews]"),
        ("tasks", [], "name at least one"),
        ("systems", [], "name at least one"),
        ("tasks", ["other"], "rename params/tasks/other.yml to other.yaml"),
        ("systems", ["scratch_mini", "scratch_mini"], "systems: named twice, got scratch_mini"),
    ],
)
def test_params_yaml_is_judged_by_its_names_first(workspace, key, value, expected):
    (workspace / "params/tasks/other.yml").write_text("files: {train: reviews.csv}\n")
    edit_yaml(workspace / "params.yaml", **{key: value})
    assert expected in refused(check_params)


def test_a_strange_file_that_is_not_chosen_is_said_and_stops_nothing(workspace, capsys):
    (workspace / "params/tasks/my.v2.yaml").touch()
    check_params()
    assert "params/tasks/my.v2.yaml: wrong name" in capsys.readouterr().err


def test_a_flow_is_refused_a_name_before_it_becomes_an_override():
    with pytest.raises(InputError, match=r"parameters: tasks: wrong name, got 'a\$b'"):
        Request(tasks=["a$b"]).all_overrides()
