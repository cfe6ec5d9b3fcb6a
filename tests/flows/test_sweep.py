"""A sweep's values, and DVC's table of it."""

from pathlib import Path

import pytest

from flows.overrides import params_changed
from flows.pipeline import experiment_name
from flows.sweep import main, read_experiments, split_values
from flows.walk import only_run_in
from tinybert.errors import InputError

TABLE = """Experiment,rev,reports/metrics/small/rte.json:metrics.dev.accuracy,\
reports/metrics/small/rte.json:num_rows.dev,loss.attn_weight,seed
,workspace,0.9,6,1,42
w-1,a,0.7,6,1,42
w-0.5,b,0.6,6,0.5,42
other,c,0.5,6,2,42
""".replace("\\\n", "")


def test_values_are_split_at_commas_outside_brackets():
    assert split_values("0,0.5,1") == ["0", "0.5", "1"]
    assert split_values("[a,b],[c], {d: 1,e: 2}") == ["[a,b]", "[c]", "{d: 1,e: 2}"]
    assert split_values(",") == []


def test_the_table_has_the_swept_experiments_in_their_order_with_key_and_dev_scores():
    frame = read_experiments(TABLE, "loss.attn_weight", ["w-0.5", "w-1", "missing"])
    assert list(frame.index) == ["w-0.5", "w-1"]
    assert list(frame) == ["loss.attn_weight", "small/rte/accuracy"]
    assert list(frame["small/rte/accuracy"]) == [0.6, 0.7]


def test_an_experiments_name_is_one_that_git_takes():
    assert experiment_name("loss.attn_weight", 0.5) == "loss.attn_weight-0.5"
    assert experiment_name("params/profiles/demo.yaml:a.b", "[x,y]") == "a.b-x-y"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("loss.attn_weight", ""), "make sweep KEY=loss.attn_weight VALUES=0,0.5,1"),
        (("loss.attn_weight", "1", "celery"), "right is dvc or prefect"),
        (("loss.atn", "1"), "unknown key in params.yaml, got 'loss.atn'"),
    ],
)
def test_a_wrong_sweep_is_refused_before_anything_runs(arguments, said, tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text("loss:\n  attn_weight: 1.0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as refused:
        main(*arguments)
    assert said in str(refused.value)


def test_a_sweep_beside_a_flow_run_is_refused_and_leaves_its_params_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("loss: {attn_weight: 1}\n")
    with only_run_in(tmp_path), params_changed(tmp_path, ["loss.attn_weight=7"]):
        with pytest.raises(InputError, match="a flow run is in this workspace already"):
            main("loss.attn_weight", "0,1")
        assert "7" in Path("params.yaml").read_text()
