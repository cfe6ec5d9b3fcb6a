"""The flow: one task per stage of DVC's graph, named states, nothing run without need."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterKey,
    FlowRunFilter,
    FlowRunFilterId,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from flows import pipeline
from flows.graph import local_cache
from tests.fixtures.small_pipeline import (
    STAGES,
    cached,
    gone,
    set_params,
    spoil,
    times_run,
    wait_for_stage,
)
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError


@pytest.fixture(scope="session")
def server():
    with prefect_test_harness(server_startup_timeout=180):  # seconds; 30 beside other tests
        yield


@pytest.fixture
def root(root, server, monkeypatch):
    monkeypatch.chdir(root)
    return root


def run(**parameters):
    """Run the flow; return its final state and the state's name of each stage."""
    state = pipeline.tinybert(**parameters, return_state=True)
    deadline = time.monotonic() + 30  # the server hears of states a little later than the flow
    while True:
        runs = task_runs(state.state_details.flow_run_id)
        final = all(run.state is not None and run.state.is_final() for run in runs)
        if final or time.monotonic() > deadline:
            return state, {run.name: run.state_name for run in runs}
        time.sleep(0.1)


def task_runs(flow_run):
    with get_client(sync_client=True) as client:
        return client.read_task_runs(
            flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[flow_run]))
        )


def error(state):
    return state.result(raise_on_failure=False)


def test_stages_run_then_are_cached_then_restored(root):
    state, stages = run()
    assert state.is_completed()
    assert stages == dict.fromkeys(STAGES, "Ran")
    started = time.monotonic()
    state, stages = run()
    assert stages == dict.fromkeys(STAGES, "Cached")
    assert time.monotonic() - started < 10
    (root / "out/one").unlink()
    state, stages = run()
    assert stages.pop("augment@one") == "Restored"
    assert set(stages.values()) == {"Cached"}
    assert times_run(root) == dict.fromkeys(["corpus", "one", "report", "small", "speed", "two"], 1)


@pytest.mark.slow
def test_an_override_reruns_what_it_touches_and_leaves_the_params_file(root):
    run()
    before = (root / "params.yaml").read_text()
    state, stages = run(overrides=["loss.attn_weight=0.5"])
    assert state.is_completed()
    assert stages["general_distill@small"] == stages["benchmark_latency"] == "Ran"
    assert stages["prepare_corpus"] == stages["augment@one"] == "Cached"
    assert "0.5" in (root / "out/small").read_text()
    assert (root / "params.yaml").read_text() == before
    state, stages = run()  # back to what params.yaml says: from the run-cache
    assert stages["general_distill@small"] == "Restored"
    assert "0.5" not in (root / "out/small").read_text()


@pytest.mark.slow
def test_targets_bring_only_what_they_need(root):
    _state, stages = run(targets=["augment@two"])
    assert set(stages) == {"prepare_corpus", "augment@two"}


@pytest.mark.slow
def test_a_named_experiment_is_one_of_dvcs(root):
    run(overrides=["loss.attn_weight=0.5"], experiment="half")
    done = subprocess.run(
        ["dvc", "exp", "show", "--json"], cwd=root, capture_output=True, text=True, check=True
    )
    (experiment,) = (
        each for each in json.loads(done.stdout)[1]["experiments"] if each["name"] == "half"
    )
    params = experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]
    assert params["loss"]["attn_weight"] == 0.5
    assert yaml.safe_load((root / "params.yaml").read_text())["loss"]["attn_weight"] == 1.0


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"profile": "papper"}, 'profile: unknown, got "papper"; known: tiny'),
        ({"tasks": ["one", "three"]}, 'tasks: unknown, got "three"; known: one, two'),
        ({"systems": ["big"]}, 'systems: unknown, got "big"; known: small'),
        ({"targets": ["evaluate"]}, "targets: unknown stage, got evaluate; known: prepare_corpus"),
        ({"overrides": ["loss.attn=1"]}, "unknown key in params.yaml, got 'loss.attn'"),
        ({"training_slots": 0}, "training_slots: must be 1 or more, got 0; 2 suits two cores"),
    ],
)
def test_an_unknown_name_is_refused_before_anything_runs(root, parameters, said, caplog):
    before = (root / "params.yaml").read_text()
    state, stages = run(**parameters)
    assert [record.exc_info for record in caplog.records if record.exc_info] == []
    assert sum(said in record.message for record in caplog.records) == 2  # itself, and its end
    with get_client(sync_client=True) as client:
        name = client.read_flow_run(state.state_details.flow_run_id).name
    assert name == f"refused: {error(state)}"
    assert state.is_failed()
    assert isinstance(error(state), InputError)
    assert said in str(error(state))
    assert stages == {}
    assert times_run(root) == {}
    assert (root / "params.yaml").read_text() == before


@pytest.mark.slow
def test_a_refusing_stage_fails_once_and_other_branches_go_on(root):
    set_params(root, fail="one")
    state, stages = run()
    assert state.is_failed()
    assert stages["augment@one"] == "Failed"
    assert stages["augment@two"] == stages["benchmark_latency"] == "Ran"
    assert stages["report"] == "NotReady"
    assert times_run(root)["one"] == 1  # no retry of a refusal
    assert "2 of 6 stages failed: augment@one, report" in str(error(state))


@pytest.mark.slow
def test_a_killed_stage_is_tried_again(root):
    set_params(root, killed="corpus")
    state, _stages = run(targets=["prepare_corpus"])
    assert state.is_completed()
    assert times_run(root)["corpus"] == 2


@pytest.mark.slow
def test_a_corrupted_cache_file_is_said_and_the_stage_runs_again(root):
    run()
    spoil(cached(root, "onecorpus"))
    (root / "out/one").unlink()
    state, stages = run()
    assert state.is_completed()
    assert stages["augment@one"] == "Ran"
    assert (root / "out/one").read_text() == "onecorpus"
    assert times_run(root)["one"] == 2
    assert "augment@one: the cached copy of out/one is corrupted" in logs(state)
    assert local_cache(root).is_dir()


@pytest.mark.slow
def test_stage_output_is_in_the_runs_log_and_the_states_are_an_artifact(root):
    (root / "reports/tables").mkdir(parents=True)
    (root / "reports/tables/results.csv").write_text("system,average\nsmall,0.5\n")
    state, _ = run()
    assert "corpus starts" in logs(state)
    with get_client(sync_client=True) as client:
        scores, stages = (
            client.read_artifacts(
                artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])),
                sort="CREATED_DESC",
            )[0]
            for key in ("scores", "stages")
        )
    assert json.loads(scores.data) == [{"system": "small", "average": "0.5"}]
    assert "| `report` | Ran |" in stages.data


def logs(state):
    """Return the run's log, which is sent in batches."""
    run_id = state.state_details.flow_run_id
    wanted = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run_id]))
    deadline, text = time.monotonic() + 15, ""
    while time.monotonic() < deadline and "stages" not in text:
        with get_client(sync_client=True) as client:
            text = "\n".join(log.message for log in client.read_logs(log_filter=wanted))
        if "starts" in text or "corrupted" in text:
            break
        time.sleep(0.5)
    return text


@pytest.mark.slow
def test_a_second_run_in_one_workspace_is_refused(root):
    set_params(root, seconds=600)
    first = start_run(root)
    try:
        stage = wait_for_stage(root)
        state, stages = run()
        assert "a flow run is in this workspace already" in str(error(state))
        assert stages == {}
    finally:
        first.kill()
    gone(stage, time.monotonic() + 5)  # and with the run died what it had started
    set_params(root, seconds=0)
    state, _ = run()
    assert state.is_completed()


@pytest.mark.slow
def test_cancelling_ends_the_stage_within_seconds_and_puts_the_params_back(root):
    set_params(root, seconds=600)
    before = (root / "params.yaml").read_text()
    first = start_run(root, 'overrides=["loss.attn_weight=0.5"]')
    stage = wait_for_stage(root)
    started = time.monotonic()
    first.send_signal(signal.SIGTERM)
    gone(stage, started + 5)
    first.wait(20)
    assert (root / "params.yaml").read_text() == before


def start_run(root, arguments=""):
    code = f"from flows.pipeline import tinybert; tinybert({arguments})"
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PREFECT_API_URL": PREFECT_API_URL.value()},
    )


def test_every_step_has_a_flow_of_its_own_that_a_deployment_finds():
    steps = "corpus general augment intermediate prediction evaluate export latency card"
    names = [f"tinybert-{name}" for name in f"sweep ablation {steps}".split()]
    assert [flow.name for flow in pipeline.FLOWS] == ["tinybert", *names]
    for flow in pipeline.FLOWS:
        assert getattr(pipeline, flow.fn.__name__) is flow


@pytest.mark.slow
def test_a_step_flow_brings_its_stage_and_what_it_needs(root):
    assert pipeline.general(return_state=True).is_completed()
    assert times_run(root) == {"corpus": 1, "small": 1}


@pytest.mark.slow
def test_a_sweep_runs_each_value_and_keeps_each_as_an_experiment(root):
    state = pipeline.sweep("loss.attn_weight", [0, 0.5], return_state=True)
    assert state.is_completed()
    assert times_run(root)["small"] == 2
    assert times_run(root)["one"] == 1
    done = subprocess.run(
        ["dvc", "exp", "list", "--name-only"], cwd=root, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) == {"loss.attn_weight-0", "loss.attn_weight-0.5"}


@pytest.mark.slow
def test_a_value_that_fails_is_said_once_the_others_ran(root):
    run(experiment="fail-corpus")  # of an earlier sweep, when its value did not fail
    state = pipeline.sweep("fail", ["corpus", "nobody"], return_state=True)
    assert str(error(state)) == "1 of 2 experiments failed: fail-corpus"
    done = subprocess.run(
        ["dvc", "exp", "list", "--name-only"], cwd=root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["fail-nobody"]


def test_a_wrong_value_of_a_sweep_is_refused_before_any_runs(root):
    state = pipeline.sweep("loss.attn_weight", [0, "much"], return_state=True)
    assert isinstance(error(state), InputError)
    assert times_run(root) == {}
