"""Overrides are those of `dvc exp run -S`; params files are as before afterwards."""

import pytest
import yaml

from flows.overrides import KEPT, params_changed, put_back
from tinybert.errors import InputError

PARAMS = "# What people sweep.\nseed: 1 # the seed\nloss:\n  attn_weight: 1.0\ntasks: [a, b]\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params/profiles").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "secret.yaml").write_text("seed: 1\n")
    (tmp_path / "params/profiles/demo.yaml").write_text("general_distill:\n  max_steps: 700\n")
    return tmp_path


def read(file):
    return yaml.safe_load(file.read_text())


def test_values_change_during_the_block_and_are_as_before_afterwards(root):
    changes = [
        "loss.attn_weight=0.25",
        "tasks=[c]",
        "params/profiles/demo.yaml:general_distill.max_steps=5",
    ]
    with params_changed(root, changes):
        params = read(root / "params.yaml")
        assert (params["loss"]["attn_weight"], params["tasks"]) == (0.25, ["c"])
        assert params["seed"] == 1
        assert "# the seed" in (root / "params.yaml").read_text()
        profile = read(root / "params/profiles/demo.yaml")
        assert profile["general_distill"]["max_steps"] == 5
    assert (root / "params.yaml").read_text() == PARAMS
    profile = read(root / "params/profiles/demo.yaml")
    assert profile["general_distill"]["max_steps"] == 700


def test_a_failure_in_the_block_puts_the_files_back_too(root):
    with pytest.raises(ZeroDivisionError), params_changed(root, ["seed=2"]):
        raise ZeroDivisionError
    assert (root / "params.yaml").read_text() == PARAMS


def test_what_a_killed_run_changed_is_put_back_by_the_next(root):
    killed = params_changed(root, ["seed=2"])
    killed.__enter__()  # and never left
    assert read(root / "params.yaml")["seed"] == 2
    with params_changed(root, ["loss.attn_weight=0.5"]):
        params = read(root / "params.yaml")
        assert (params["seed"], params["loss"]["attn_weight"]) == (1, 0.5)
    assert (root / "params.yaml").read_text() == PARAMS
    assert put_back(root) == []


def test_a_copy_cut_off_by_a_kill_is_not_put_back(root):
    (root / KEPT).mkdir(parents=True)
    (root / KEPT / "params.yaml.partial").write_text("seed")
    assert put_back(root) == []
    assert (root / "params.yaml").read_text() == PARAMS


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("loss.attn_wieght=0.5", "unknown key in params.yaml, got 'loss.attn_wieght'"),
        ("sede=1", 'known: ["loss", "seed", "tasks"]'),
        ("seed", "right is key=value"),
        ("params/profiles/none.yaml:a=1", "known: params.yaml, params/profiles/demo.yaml"),
        ("params/../secret.yaml:seed=1", "unknown params file"),
        ("seed=[1", "cannot be set in params.yaml"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_and_changes_nothing(root, override, said):
    with pytest.raises(InputError) as refused, params_changed(root, ["seed=2", override]):
        pass
    (line,) = refused.value.problems
    assert said in line
    assert "\n" not in line
    assert (root / "params.yaml").read_text() == PARAMS


def test_a_new_key_is_added_where_hydras_plus_asks_for_it(root):
    with params_changed(root, ["+loss.new=3"]):
        assert read(root / "params.yaml")["loss"]["new"] == 3
