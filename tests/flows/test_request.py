"""A request is checked before anything runs."""

import pytest
import yaml

from flows.request import read_request, require_known_names, require_valid_params
from tests.fixtures.small_pipeline import PARAMS, make_pipeline, set_params
from tinybert.core.errors import InputError


def test_profile_tasks_and_systems_come_before_the_overrides():
    request = read_request(
        {"profile": "paper", "tasks": ["mrpc", "rte"], "systems": ["pkd4"], "overrides": ["seed=2"]}
    )
    assert request.all_overrides() == [
        "profile=paper",
        "tasks=[mrpc,rte]",
        "systems=[pkd4]",
        "seed=2",
    ]
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
    with pytest.raises(InputError) as refused:
        read_request(wrong)
    (line,) = refused.value.problems
    assert line.startswith(said)


def test_unknown_names_are_all_named_with_the_known_ones(tmp_path):
    for folder in ("profiles", "tasks", "systems"):
        (tmp_path / "params" / folder).mkdir(parents=True)
        (tmp_path / "params" / folder / "known.yaml").touch()
    values = {**PARAMS, "profile": "dmeo", "tasks": ["known", "x"], "systems": ["known"]}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(InputError) as refused:
        require_known_names(tmp_path)
    assert refused.value.problems == (
        'profile: unknown, got "dmeo"; known: known',
        'tasks: unknown, got "x"; known: known',
    )


def test_a_value_the_stages_would_refuse_is_refused(tmp_path):
    root = make_pipeline(tmp_path / "repo")
    require_valid_params(root)
    set_params(root, loss={"attn_weight": "much"})
    with pytest.raises(InputError):
        require_valid_params(root)
