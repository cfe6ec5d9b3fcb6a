"""One MLflow run per pipeline state, in a real store."""

import hashlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.fixtures.measured import CELL, EXPORT, put_json, put_latency
from tests.fixtures.tracked import (
    PARAMS,
    client_of,
    commit,
    git,
    log,
    runs,
    state,
    track_project,
    write_lock,
    write_project,
    write_reports,
)
from tinybert.reports.results import read_results
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import read_yaml
from tinybert.tracking.ablation import Marked, mark_ablations
from tinybert.tracking.compare import compare
from tinybert.tracking.record import all_settings, flat, flat_metrics, run_name
from tinybert.tracking.store import backend_uri, require_server, store_uri


def test_a_state_has_one_run_which_is_brought_up_to_date_and_another_state_has_its_own(
    tmp_path: Path,
):
    # One test for the store's whole life: creating it takes most of the time.
    folder = tmp_path / "with space"
    folder.mkdir()
    first, client = log(folder)
    again, _ = log(folder, accuracy=0.7)
    assert again == first and len(runs(client)) == 1

    logged = client.get_run(first)
    assert logged.data.metrics["small/rte/dev/accuracy"] == 0.7
    assert logged.data.metrics["teacher/average"] == 0.8
    assert logged.data.params == PARAMS
    assert logged.data.tags["profile"] == "demo" and logged.data.tags["git_commit"]
    lock = hashlib.md5((folder / "dvc.lock").read_bytes()).hexdigest()
    assert logged.data.tags["dvc_revision"] == lock and logged.info.run_name.startswith("demo")
    assert logged.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(first, "tables")] == ["tables/results.md"]
    assert (folder / "mlartifacts").is_dir()
    written = json.loads((folder / "reports/tracking.json").read_text(encoding="utf-8"))
    assert written == {"pipeline_state": logged.data.tags["pipeline_state"]}

    name = "finetune_teacher/rte/loss/label"
    points = client.get_metric_history(first, name)
    assert sorted(point.step for point in points) == list(range(1, 1201))
    # The second call found another history, so another training of the same stage.
    assert {run.info.run_name for run in runs(client, first)} == {"finetune_teacher rte"}
    assert len(runs(client, first)) == 2

    other, _ = log(folder, accuracy=0.7, evaluate="b")
    assert other != first and len(runs(client)) == 2
    assert not runs(client, other)  # its training is the first run's
    shared = client.get_run(other).data.tags["shared/finetune_teacher/rte"]
    assert shared in {run.info.run_id for run in runs(client, first)}


def test_a_run_is_named_by_its_profile_and_by_what_differs_from_the_commit(tmp_path, monkeypatch):
    for folder in ("profiles", "systems", "tasks"):
        (tmp_path / "params" / folder).mkdir(parents=True)
    (tmp_path / "params.yaml").write_text("profile: demo\nloss: {attn_weight: 1.0, t: 1.0}\n")
    (tmp_path / "params/profiles/tiny.yaml").write_text("augment: {num_copies: 20}\n")
    (tmp_path / "params/systems/mini.yaml").write_text("description: a\nlayer_map: uniform\n")
    (tmp_path / "params/tasks/rte.yaml").write_text("label_words: {'a/b': yes!}\nrows: {dev: 5}\n")
    git(tmp_path, "init", "-q")
    monkeypatch.chdir(tmp_path)
    of = "tiny", ["mini"], ["rte"]
    same = {"profile": "demo", "loss.attn_weight": "1.0", "loss.t": "1.0"}
    same |= {"profile.augment.num_copies": "20", "systems.mini.layer_map": "uniform"}
    same |= {"tasks.rte.label_words": '{"a/b": "yes!"}', "tasks.rte.rows.dev": "5"}
    assert all_settings(*of, read_yaml) == same
    assert run_name(*of, same, tmp_path) == "tiny"  # nothing committed to compare with
    commit(tmp_path)
    assert run_name(*of, same, tmp_path) == "tiny"
    written_otherwise = same | {"loss.attn_weight": "1", "loss.t": "1e0"}
    assert run_name(*of, written_otherwise, tmp_path) == "tiny"
    changed = same | {"loss.attn_weight": "0.5", "profile.augment.num_copies": "2"}
    changed["systems.mini.layer_map"] = "top"
    named = "tiny loss.attn_weight=0.5 augment.num_copies=2 systems.mini.layer_map=top"
    assert run_name(*of, changed, tmp_path) == named
    changed["loss.t"] = "2" * 300  # more than MLflow's databases hold
    assert run_name(*of, changed, tmp_path) == f"tiny loss.attn_weight=0.5 loss.t={'2' * 214}..."
    inside = tmp_path / "inside"  # a project in a folder of a repository
    inside.mkdir()
    (inside / "params.yaml").write_text("seed: 1\n")
    commit(tmp_path)
    assert run_name("x", [], [], {"seed": "2"}, inside) == "x seed=2"


def test_the_state_hangs_on_what_made_the_results(tmp_path: Path):
    before = state(write_lock(tmp_path / "dvc.lock"))
    assert state(write_lock(tmp_path / "dvc.lock")) == before
    assert state(write_lock(tmp_path / "dvc.lock", evaluate="b")) != before
    assert state(write_lock(tmp_path / "dvc.lock"), PARAMS | {"section.setting_7": "1"}) != before


def test_the_state_does_not_hang_on_measured_times_or_on_forgotten_systems(tmp_path: Path):
    before = state(write_lock(tmp_path / "dvc.lock"))
    after = write_lock(tmp_path / "dvc.lock", report="b", track="b", card="b", forgotten="b")
    assert state(after) == before


def test_without_a_lock_file_the_command_that_makes_it_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="run `dvc repro`"):
        state(tmp_path / "dvc.lock")


def test_a_server_that_is_down_costs_seconds_and_one_line(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, never listening: nobody else can answer there
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(InputError, match="start the server with `make ui`") as caught:
            track_project(write_project(tmp_path), uri)
    assert time.monotonic() - started < 5
    assert len(caught.value.problems) == 1 and "\n" not in str(caught.value)
    assert not (tmp_path / "reports/tracking.json").exists()


def test_a_server_that_hangs_costs_seconds_too(tmp_path: Path):
    with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for waiting in (first, second):  # fills the queue: the next one gets no answer at all
            waiting.setblocking(False)
            waiting.connect_ex(deaf.getsockname())
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(InputError, match="timed out; start the server"):
            track_project(write_project(tmp_path), uri)
    assert time.monotonic() - started < 10


def test_a_local_store_needs_no_server():
    require_server("sqlite:////nowhere/mlflow.db")


def test_the_store_stands_in_the_main_checkout_unless_another_is_named(tmp_path: Path):
    assert store_uri({"DVC_ROOT": str(tmp_path)}) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri({"DVC_ROOT": "/x", "MLFLOW_TRACKING_URI": "http://h:5"}) == "http://h:5"
    assert store_uri({}) == f"sqlite:///{Path.cwd()}/mlflow.db"


def test_a_server_serves_the_local_store_unless_another_is_named(tmp_path: Path):
    # Not MLFLOW_TRACKING_URI, which may be the address of the very server to be started.
    elsewhere = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:5000", "DVC_ROOT": str(tmp_path)}
    assert backend_uri(elsewhere) == f"sqlite:///{tmp_path}/mlflow.db"
    named = {"MLFLOW_BACKEND_STORE_URI": "postgresql://h/db"}
    assert backend_uri(elsewhere | named) == "postgresql://h/db"


def test_settings_are_flattened_to_dotted_names():
    values = {"seed": 42, "tasks": ["a", "b"], "loss": {"attn_weight": 1.0}, "name": "x"}
    assert flat(values, "p.") == {
        "p.seed": "42",
        "p.tasks": '["a", "b"]',
        "p.loss.attn_weight": "1.0",
        "p.name": "x",
    }


def test_latencies_are_logged_in_milliseconds_by_batch_size_and_length(tmp_path: Path):
    for system, teacher_ms in (("small", 10.0), ("other", 20.0)):
        put_latency(tmp_path, system, CELL | {"teacher_ms": teacher_ms})
    found = flat_metrics(read_results(["small", "other"], [], tmp_path))
    assert found["small/latency_ms/batch_1_tokens_64"] == 2.5
    # The table shows the teacher beside the first system; so does this.
    assert found["teacher/latency_ms/batch_1_tokens_64"] == 10.0


def test_other_engines_and_threads_have_names_of_their_own_and_int8_its_score(tmp_path: Path):
    int8 = CELL | {"engine": "onnx_int8", "student_ms": 1.5, "student_p95_ms": 1.75}
    cells = [CELL, int8 | {"rows_per_second": 640.0}, int8 | {"num_threads": 1, "student_ms": 2.0}]
    needs = {"onnx_int8": {"peak_mb": 119.0, "size_mb": 7.7}, "teacher": {"peak_mb": 614.0}}
    put_latency(tmp_path, "small", *cells, engines=needs)
    put_json(tmp_path / "export/small-rte.json", EXPORT)
    found = flat_metrics(read_results(["small"], ["rte"], tmp_path))
    assert found["small/latency_ms/batch_1_tokens_64"] == 2.5
    assert found["small/onnx_int8/latency_ms/batch_1_tokens_64"] == 1.5
    assert found["small/onnx_int8/latency_ms/batch_1_tokens_64_threads_1"] == 2.0
    assert found["small/onnx_int8/latency_p95_ms/batch_1_tokens_64"] == 1.75
    assert found["small/onnx_int8/rows_per_second/batch_1_tokens_64"] == 640.0
    assert found["small/onnx_int8/peak_mb"] == 119.0 and found["teacher/peak_mb"] == 614.0
    assert found["small/rte/int8/f1"] == 0.69 and found["small/rte/int8/drop"] == 0.01


def test_every_metric_has_a_name_of_system_task_split_and_metric(tmp_path: Path):
    found = flat_metrics(read_results(["small"], ["rte"], write_reports(tmp_path, 0.6)))
    # The share is 0.6 / 0.8; nothing was timed, so there is no cost.
    assert found == pytest.approx(
        {
            "teacher/rte/dev/accuracy": 0.8,
            "teacher/rte/dev/f1": 0.25,
            "small/rte/dev/accuracy": 0.6,
            "small/rte/dev/f1": 0.25,
            "teacher/average": 0.8,
            "small/average": 0.6,
            "teacher/share_of_teacher": 1.0,
            "small/share_of_teacher": 0.75,
        }
    )


def test_a_comparison_has_the_runs_that_differ_from_the_newest_in_the_key_alone(tmp_path):
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    sweep = [("10", "1", 0.7), ("0.5", "1", 0.6), ("0.5", "2", 0.1), ("10", "1", 0.65)]
    for weight, seed, accuracy in sweep:
        params = {"loss.attn_weight": weight, "seed": seed, "profile.augment.top_k": "3"}
        params["systems.small.layer_map"] = "top"
        run_id = track_project(write_project(tmp_path, accuracy), uri, params)
    found, page = compare(uri, "loss.attn_weight")
    assert list(found.index) == ["0.5", "10"]  # by size; seed 2 is another comparison
    # The same state again is the same run, with the newer figures.
    assert list(found["small/rte/dev/accuracy"]) == [0.6, 0.65]
    assert not [name for name in found if "loss" in name]
    assert page.startswith("http://127.0.0.1:5000/#/compare-runs?runs=%5B%22")
    assert run_id in page
    profiles, _ = compare(uri, "params/profiles/demo.yaml:augment.top_k")
    assert profiles.index.name == "profile.augment.top_k"
    systems, _ = compare(uri, "params/systems/small.yaml:++layer_map")
    assert systems.index.name == "systems.small.layer_map"
    with pytest.raises(InputError, match=r"no run in .* has the parameter, got 'loss\.x'"):
        compare(uri, "loss.x")


def test_runs_of_ablations_bear_their_names_and_figures_and_doing_it_again_changes_nothing(
    tmp_path, store, capfd
):
    states = {}
    for name, content in (("full", "ablation-1"), ("without_general", "ablation-2")):
        write_project(tmp_path, evaluate=content)
        states[name] = state(tmp_path / "dvc.lock"), track_project(tmp_path, store, PARAMS)
    (tmp_path / "table.md").write_text("| a |")
    figures = {"small/rte": 1.0, "average": 60.0, "difference": -2.5, "published/avg": float("nan")}
    marked = [
        Marked("full", ("loss_terms", "phases"), states["full"][0], figures),
        Marked("without_general", ("phases",), states["without_general"][0], figures),
        # Its overrides changed nothing for this system, so it is the same state as full.
        Marked("without_task", ("phases",), states["full"][0], figures),
        Marked("without_hidden", ("loss_terms",), "of no run", figures),
    ]
    page = mark_ablations(store, marked, [tmp_path / "table.md"])
    said = capfd.readouterr().err
    assert "no run of these ablations, got none of without_hidden; for each, `dvc exp apply" in said
    assert mark_ablations(store, marked, [tmp_path / "table.md"]) == page
    client = client_of(store)
    full, other = (client.get_run(run_id) for _, run_id in states.values())
    assert full.info.run_id in page and other.info.run_id in page
    assert full.data.tags["ablation/phases"] == "full, without_task"
    assert full.data.tags["ablation/loss_terms"] == "full"
    assert other.data.tags["ablation/phases"] == "without_general"
    assert "ablation/loss_terms" not in other.data.tags
    assert other.data.metrics["ablation/difference"] == -2.5
    assert not {"published/avg", "small/rte"} & set(other.data.metrics)
    assert len(client.get_metric_history(other.info.run_id, "ablation/average")) == 1
    assert [each.path for each in client.list_artifacts(full.info.run_id, "ablation")] == [
        "ablation/table.md"
    ]
    with pytest.raises(InputError, match="no run of these ablations"):
        mark_ablations(store, marked[-1:], [])
    client.delete_run(other.info.run_id)
    mark_ablations(store, marked[:2], [])
    assert client.get_run(other.info.run_id).info.lifecycle_stage == "active"
