"""Overrides are those of `dvc exp run -S`; params files are as before afterwards."""

import pytest

from flows.overrides import KEPT, params_changed, put_back
from tests.fixtures.refused import refused
from tinybert.settings.reader import read_yaml

PARAMS = "# What people sweep.\nseed: 1 # the seed\nloss:\n  attn_weight: 1.0\ntasks: [a, b]\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "params/profiles").mkdir(parents=True)
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "secret.yaml").write_text("seed: 1\n")
    (tmp_path / "params/profiles/demo.yaml").write_text("general_distill:\n  max_steps: 700\n")
    return tmp_path


def test_values_change_during_the_block_and_are_as_before_afterwards(root):
    changes = [
        "loss.attn_weight=0.25",
        "tasks=[c]",
        "params/profiles/demo.yaml:general_distill.max_steps=5",
    ]
    with params_changed(root, changes):
        params = read_yaml(root / "params.yaml")
        assert (params["loss"]["attn_weight"], params["tasks"]) == (0.25, ["c"])
        assert params["seed"] == 1
        assert "# the seed" in (root / "params.yaml").read_text()
        profile = read_yaml(root / "params/profiles/demo.yaml")
        assert profile["general_distill"]["max_steps"] == 5
    assert (root / "params.yaml").read_text() == PARAMS
    profile = read_yaml(root / "params/profiles/demo.yaml")
    assert profile["general_distill"]["max_steps"] == 700


def test_a_failure_in_the_block_puts_the_files_back_too(root):
    with pytest.raises(ZeroDivisionError), params_changed(root, ["seed=2"]):
        raise ZeroDivisionError
    assert (root / "params.yaml").read_text() == PARAMS


def test_what_a_killed_run_changed_is_put_back_by_the_next(root):
    killed = params_changed(root, ["seed=2"])
    killed.__enter__()  # and never left
    assert read_yaml(root / "params.yaml")["seed"] == 2
    with params_changed(root, ["loss.attn_weight=0.5"]):
        params = read_yaml(root / "params.yaml")
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
        ("sede=1", "known: seed, loss, tasks"),
        ("seed", "right is key=value"),
        ("params/profiles/none.yaml:a=1", "known: params.yaml, params/profiles/demo.yaml"),
        ("params/../secret.yaml:seed=1", "unknown params file"),
        ("seed=[1", "cannot be set in params.yaml"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_and_changes_nothing(root, override, said):
    assert said in refused(params_changed(root, ["seed=2", override]).__enter__)
    assert (root / "params.yaml").read_text() == PARAMS


def test_a_new_key_is_added_where_hydras_plus_asks_for_it(root):
    with params_changed(root, ["+loss.new=3"]):
        assert read_yaml(root / "params.yaml")["loss"]["new"] == 3


@pytest.mark.parametrize("value", ["1e-5", "5e-05", "2.0E-5", "5e-5", "0.00005"])
def test_small_numbers_are_numbers_however_they_are_written(root, value):
    with params_changed(root, [f"loss.attn_weight={value}"]):
        assert read_yaml(root / "params.yaml")["loss"]["attn_weight"] == float(value)


def test_texts_whose_quotes_dvc_leaves_out_stay_texts(root):
    (root / "params/profiles/demo.yaml").write_text("labels: ['no', 'yes', '010']\nsteps: 1\n")
    with params_changed(root, ["params/profiles/demo.yaml:steps=2"]):
        assert read_yaml(root / "params/profiles/demo.yaml")["labels"] == ["no", "yes", "010"]


def test_a_key_of_the_profile_is_refused_with_the_file_it_is_in(root):
    (root / "params.yaml").write_text("profile: demo\n")
    assert refused(params_changed(root, ["general_distill.max_steps=5"]).__enter__) == (
        "overrides: unknown key in params.yaml, got 'general_distill.max_steps'; write "
        "params/profiles/demo.yaml:general_distill.max_steps"
    )
