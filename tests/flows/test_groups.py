"""Groups of systems: committed ones are whole, and what is given wins over them."""

import pytest

from flows.groups import GROUPS, read_group
from flows.request import FOLDERS, read_request
from tests.fixtures.workspace import ROOT, write_yaml
from tinybert.core.errors import InputError

SMALL = {"description": "", "profile": "tiny", "tasks": ["one"], "systems": ["small", "big"]}
NAMES = sorted(file.stem for file in (ROOT / GROUPS).glob("*.yaml"))


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


def test_a_group_gives_profile_tasks_and_systems(root):
    assert read_request({"group": "mine"}, root).all_overrides() == [
        "profile=tiny",
        "tasks=[one]",
        "systems=[small,big]",
    ]


def test_what_is_given_wins_over_the_group(root):
    given = {"group": "mine", "tasks": ["two"], "overrides": ["seed=1"]}
    request = read_request(given, root)
    assert request.all_overrides() == [
        "profile=tiny",
        "tasks=[two]",
        "systems=[small,big]",
        "seed=1",
    ]
    assert request.title() == "group mine, seed=1"


def test_an_unknown_group_is_refused_with_the_known_ones(root):
    with pytest.raises(InputError, match='group: unknown, got "other"; known: mine'):
        read_request({"group": "other"}, root)


def test_a_groups_file_is_closed(root):
    write_yaml(root / GROUPS / "mine.yaml", {**SMALL, "system": ["small"], "tasks": []})
    with pytest.raises(InputError) as refused:
        read_group(root, "mine")
    assert all(line.startswith("params/groups/mine.yaml: ") for line in refused.value.problems)
    assert len(refused.value.problems) == 2


@pytest.mark.parametrize("name", ["my.v2", "a@b", "two words", "2024"])
def test_the_name_of_a_group_is_judged_as_other_names_are(root, name):
    write_yaml(root / GROUPS / f"{name}.yaml", SMALL)
    with pytest.raises(InputError, match=r"params/groups: wrong name, got .*and write "):
        read_group(root, name)
