"""A request is checked before anything runs; committed groups are whole, and what is given wins."""

import pytest

from flows.overrides import params_changed
from flows.request import (
    FOLDERS,
    GROUPS,
    read_group,
    read_request,
    require_known_names,
    require_valid_params,
)
from tests.fixtures.refused import problems_of, refused
from tests.fixtures.small_pipeline import PARAMS, make_pipeline, set_params
from tests.fixtures.workspace import ROOT, copy_params, write_yaml
from tinybert.runtime.errors import InputError

SMALL = {"description": "", "profile": "tiny", "tasks": ["one"], "systems": ["small", "big"]}
NAMES = sorted(file.stem for file in (ROOT / GROUPS).glob("*.yaml"))


def test_profile_tasks_and_systems_come_before_the_overrides():
    request = read_request(
        {"profile": "paper", "tasks": ["mrpc", "rte"], "systems": ["pkd4"], "overrides": ["seed=2"]}
    )
    expected = ["profile=paper", "tasks=[mrpc,rte]", "systems=[pkd4]", "seed=2"]
    assert request.all_overrides() == expected
    assert read_request({"tasks": None, "training_slots": 1}).all_overrides() == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tasks": []}, "parameters: tasks"),
        ({"experiment": "a/b"}, "parameters: experiment"),
        ({"overrides": "seed=1"}, "parameters: overrides"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(wrong, said):
    assert refused(read_request, wrong).startswith(said)


def test_unknown_names_are_all_named_with_the_known_ones(tmp_path):
    for folder in ("profiles", "tasks", "systems"):
        (tmp_path / "params" / folder).mkdir(parents=True)
        (tmp_path / "params" / folder / "known.yaml").touch()
    values = {**PARAMS, "profile": "dmeo", "tasks": ["known", "x"], "systems": ["known"]}
    write_yaml(tmp_path / "params.yaml", values)
    assert problems_of(require_known_names, tmp_path) == (
        'profile: unknown, got "dmeo"; known: known',
        'tasks: unknown, got "x"; known: known',
    )


def test_a_value_the_stages_would_refuse_is_refused(tmp_path):
    root = make_pipeline(tmp_path / "repo")
    require_valid_params(root)
    set_params(root, loss={"attn_weight": "much"})
    with pytest.raises(InputError):
        require_valid_params(root)


@pytest.fixture
def root(tmp_path):
    (tmp_path / GROUPS).mkdir(parents=True)
    write_yaml(tmp_path / GROUPS / "mine.yaml", SMALL)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", FOLDERS)
def test_every_file_that_a_committed_group_names_exists(name, kind):
    value = getattr(read_group(ROOT, name), kind)
    names = value if isinstance(value, list) else [value]
    assert len(set(names)) == len(names)
    folder = ROOT / "params" / FOLDERS[kind]
    assert [each for each in names if not (folder / f"{each}.yaml").is_file()] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_committed_group_changes_keys_that_exist_to_values_that_stages_take(name, tmp_path):
    copy_params(tmp_path)
    with params_changed(tmp_path, read_request({"group": name}, ROOT).all_overrides()):
        require_valid_params(ROOT, [tmp_path])


def test_a_group_gives_profile_tasks_and_systems(root):
    found = read_request({"group": "mine"}, root).all_overrides()
    assert found == ["profile=tiny", "tasks=[one]", "systems=[small,big]"]


def test_what_is_given_wins_over_the_group(root):
    given = {"group": "mine", "tasks": ["two"], "overrides": ["seed=1"]}
    request = read_request(given, root)
    expected = ["profile=tiny", "tasks=[two]", "systems=[small,big]", "seed=1"]
    assert request.all_overrides() == expected
    assert request.title() == "group mine, seed=1"


def test_a_groups_overrides_are_of_the_profile_that_is_run_and_come_before_those_given(root):
    steps = "params/profiles/{profile}.yaml:general_distill.max_steps=4"
    write_yaml(root / GROUPS / "mine.yaml", {**SMALL, "overrides": [steps]})
    request = read_request({"group": "mine", "profile": "huge", "overrides": ["seed=1"]}, root)
    expected = ["params/profiles/huge.yaml:general_distill.max_steps=4", "seed=1"]
    assert request.all_overrides()[-2:] == expected
    assert request.title() == "group mine, seed=1"


def test_an_unknown_group_is_refused_with_the_known_ones(root):
    with pytest.raises(InputError, match='group: unknown, got "other"; known: mine'):
        read_request({"group": "other"}, root)


def test_a_groups_file_is_closed(root):
    write_yaml(root / GROUPS / "mine.yaml", {**SMALL, "system": ["small"], "tasks": []})
    problems = problems_of(read_group, root, "mine")
    assert all(line.startswith("params/groups/mine.yaml: ") for line in problems)
    assert len(problems) == 2


@pytest.mark.parametrize("name", ["my.v2", "a@b", "two words", "2024"])
def test_the_name_of_a_group_is_judged_as_other_names_are(root, name):
    write_yaml(root / GROUPS / f"{name}.yaml", SMALL)
    with pytest.raises(InputError, match=r"params/groups: wrong name, got .*and write "):
        read_group(root, name)
