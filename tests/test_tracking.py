"""One MLflow run per pipeline state, in a real store."""

import json
import socket
import time
from pathlib import Path

import mlflow
import pytest
import yaml

from stages.track import track
from tinybert.errors import InputError
from tinybert.results import read_results
from tinybert.tracking.record import flat, flat_metrics, pipeline_state
from tinybert.tracking.store import EXPERIMENT, require_server, store_uri

# More than an MLflow server takes in one call.
PARAMS = {f"section.setting_{number}": str(number) for number in range(150)}


def write_lock(file: Path, **changes: str) -> Path:
    """Write a dvc.lock; `changes` gives a stage's dependency another md5."""
    names = {
        "evaluate": "evaluate@small-rte",
        "forgotten": "evaluate@old-rte",
        "report": "report",
        "track": "track",
    }
    stages = {
        stage: {
            "deps": [{"path": f"{name}.in", "md5": changes.get(name, "a")}],
            "params": {"params.yaml": {"x": 1}},
        }
        for name, stage in names.items()
    }
    file.write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}), encoding="utf-8")
    return file


def with_lock(folder: Path) -> Path:
    write_lock(folder / "dvc.lock")
    return folder


def write_reports(reports: Path, accuracy: float) -> Path:
    for system, value in (("teacher", 0.8), ("small", accuracy)):
        file = reports / "metrics" / system / "rte.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        scores = {"main_metric": "accuracy", "metrics": {"dev": {"accuracy": value, "f1": 0.25}}}
        file.write_text(json.dumps(scores), encoding="utf-8")
    (reports / "tables").mkdir(exist_ok=True)
    (reports / "tables/results.md").write_text("| system |", encoding="utf-8")
    return reports


def state(lock: Path, params: dict[str, str] = PARAMS) -> str:
    return pipeline_state(lock, ["small"], ["rte"], params)


def log(folder: Path, accuracy: float = 0.6, **changes: str) -> tuple[str, mlflow.MlflowClient]:
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    write_reports(folder / "reports", accuracy)
    write_lock(folder / "dvc.lock", **changes)
    run_id = track(["small"], ["rte"], PARAMS, "demo", folder, uri)
    return run_id, mlflow.MlflowClient(tracking_uri=uri)


def runs(client: mlflow.MlflowClient) -> list[mlflow.entities.Run]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id])


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
    assert logged.info.status == "FINISHED"
    assert [item.path for item in client.list_artifacts(first, "tables")] == ["tables/results.md"]
    assert (folder / "mlartifacts").is_dir()
    written = json.loads((folder / "reports/tracking.json").read_text(encoding="utf-8"))
    assert written == {"pipeline_state": logged.data.tags["pipeline_state"]}

    other, _ = log(folder, evaluate="b")
    assert other != first and len(runs(client)) == 2


def test_the_state_hangs_on_what_made_the_results(tmp_path: Path):
    before = state(write_lock(tmp_path / "dvc.lock"))
    assert state(write_lock(tmp_path / "dvc.lock")) == before
    assert state(write_lock(tmp_path / "dvc.lock", evaluate="b")) != before
    assert state(write_lock(tmp_path / "dvc.lock"), PARAMS | {"section.setting_7": "1"}) != before


def test_the_state_does_not_hang_on_measured_times_or_on_forgotten_systems(tmp_path: Path):
    before = state(write_lock(tmp_path / "dvc.lock"))
    after = write_lock(tmp_path / "dvc.lock", report="b", track="b", forgotten="b")
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
            track(["small"], ["rte"], {}, "demo", with_lock(tmp_path), uri)
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
            track(["small"], ["rte"], {}, "demo", with_lock(tmp_path), uri)
    assert time.monotonic() - started < 10


def test_a_local_store_needs_no_server():
    require_server("sqlite:////nowhere/mlflow.db")


def test_the_store_stands_in_the_main_checkout_unless_another_is_named(tmp_path: Path):
    assert store_uri({"DVC_ROOT": str(tmp_path)}) == f"sqlite:///{tmp_path}/mlflow.db"
    assert store_uri({"DVC_ROOT": "/x", "MLFLOW_TRACKING_URI": "http://h:5"}) == "http://h:5"
    assert store_uri({}) == f"sqlite:///{Path.cwd()}/mlflow.db"


def test_settings_are_flattened_to_dotted_names():
    values = {"seed": 42, "tasks": ["a", "b"], "loss": {"attn_weight": 1.0}, "name": "x"}
    assert flat(values, "p.") == {
        "p.seed": "42",
        "p.tasks": '["a", "b"]',
        "p.loss.attn_weight": "1.0",
        "p.name": "x",
    }


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
