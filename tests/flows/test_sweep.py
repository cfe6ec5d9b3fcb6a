"""A sweep's values, and DVC's table of it."""

from pathlib import Path

import pandas as pd
import pytest

from flows.experiments import Experiment
from flows.overrides import params_changed
from flows.pipeline import experiment_name
from flows.sweep import main, print_experiments, split_values, sweep_table
from flows.walk import only_run_in
from tests.fixtures.refused import refused
from tinybert.runtime.errors import InputError


def experiment(weight, accuracy):
    files = {"small/rte": accuracy, "teacher/rte": 0.9}
    metrics = {
        f"reports/metrics/{name}.json": {
            "main_metric": "accuracy",
            "metrics": {"dev": {"accuracy": value}, "test": {"accuracy": 0.1}},
        }
        for name, value in files.items()
    }
    latency = {"reports/latency/small.json": {"student": {"parameters": 1}}}
    params = {"params.yaml": {"loss": {"attn_weight": weight}}, "params/x.yaml": {"a": {"b": 3}}}
    return Experiment("commit", params, metrics | latency)


FOUND = {"w-1": experiment(1, 0.7), "w-0.5": experiment(0.5, 0.6), "other": experiment(2, 0.5)}


def test_values_are_split_at_commas_outside_brackets():
    assert split_values("0,0.5,1") == ["0", "0.5", "1"]
    assert split_values("[a,b],[c], {d: 1,e: 2}") == ["[a,b]", "[c]", "{d: 1,e: 2}"]
    assert split_values(",") == []


def test_the_table_has_the_swept_experiments_in_their_order_with_key_and_dev_scores():
    frame = sweep_table(FOUND, "loss.attn_weight", ["w-0.5", "w-1", "missing"])
    assert list(frame.index) == ["w-0.5", "w-1"]
    assert list(frame) == ["loss.attn_weight", "small/rte/accuracy", "teacher/rte/accuracy"]
    assert list(frame["loss.attn_weight"]) == [0.5, 1]
    assert list(frame["small/rte/accuracy"]) == [0.6, 0.7]


def test_the_table_has_mnlis_second_dev_split_by_its_name():
    metrics = {"dev": {"accuracy": 0.7}, "dev_mm": {"accuracy": 0.6}, "test": {"accuracy": 0.1}}
    found = {"w": Experiment("commit", {}, {"reports/metrics/s/mnli.json": {"metrics": metrics}})}
    frame = sweep_table(found, "loss.attn_weight", ["w"])
    assert list(frame)[1:] == ["s/mnli/accuracy", "s/mnli/dev_mm/accuracy"]
    assert frame["s/mnli/dev_mm/accuracy"].tolist() == [0.6]


def test_a_swept_key_of_another_params_file_is_read_from_there():
    frame = sweep_table(FOUND, "params/x.yaml:a.b", ["w-1"])
    assert frame["a.b"].tolist() == [3]


def test_small_swept_values_and_long_names_are_printed_whole(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    names = ["learning_rate-5e-05", "learning_rate-0.0001"]
    frame = pd.DataFrame({"learning_rate": [5e-05, 0.0001], "s/t/f1": [0.5, 0.25]}, index=names)
    print_experiments(frame)
    printed = capsys.readouterr().out
    assert "5e-05" in printed and "0.0001" in printed and "0.250" in printed
    assert "…" not in printed


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
    assert said in refused(main, *arguments)


def test_a_sweep_beside_a_flow_run_is_refused_and_leaves_its_params_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("loss: {attn_weight: 1}\n")
    with only_run_in(tmp_path), params_changed(tmp_path, ["loss.attn_weight=7"]):
        with pytest.raises(InputError, match="a flow run is in this workspace already"):
            main("loss.attn_weight", "0,1")
        assert "7" in Path("params.yaml").read_text()


@pytest.mark.parametrize("values", ["1,1", "[a,b],[a b]"])
def test_values_whose_experiments_would_be_one_are_refused(values):
    with pytest.raises(InputError, match="one experiment cannot be two"):
        main("loss.attn_weight", values)


def test_values_of_either_sign_have_experiments_of_their_own():
    assert experiment_name("loss.attn_weight", "-1") != experiment_name("loss.attn_weight", "1")
    assert experiment_name("a", "5e-5") == "a-5e-5"
