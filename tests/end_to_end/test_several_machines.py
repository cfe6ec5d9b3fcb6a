"""Prefect and MLflow on Postgres, DVC on S3, two machines' workers, one killed: all for real."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest

from flows.servers import wait_for_server
from tests.fixtures.clones import environment_of, make_clone, run
from tests.fixtures.mlflow_server import free_port
from tests.fixtures.object_store import BUCKET, running_s3
from tests.fixtures.postgres import programs, running_postgres
from tests.fixtures.workspace import ROOT, edit_yaml

MISSING = [name for name in ("dvc_s3", "moto", "psycopg") if find_spec(name) is None]
MISSING += [] if programs() else ["Debian's package postgresql"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
]
KILLED = "teacher_logits"  # the last stage of the task's group: those before it are done
END_SECONDS = 1200
WORKER = ("prefect", "worker", "start", "--pool", "tinybert", "--type", "process", "--limit", "1")


class Finished(NamedTuple):
    """A run of which one worker was killed, its servers still there."""

    place: Path
    env: dict[str, str]
    exit_code: int
    log: str


@contextmanager
def running(*command: str, cwd: Path, env: dict[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """Run a program; kill it with all it started after the block."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment_of(**env), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        kill_all(process.pid)
        process.wait()


def kill_all(pid: int) -> None:
    """Kill a process and all below it, as a machine that loses power does."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)


def runs_in(worker: subprocess.Popen, stage: str) -> bool:
    """Return whether one of a worker's processes is a stage."""
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(worker.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if f"stages.{stage}" in process.cmdline():
                    return True
    return False


def make_origin(folder: Path) -> Path:
    """Make a repository with the flows, a tiny workspace and the remote on S3."""
    make_clone(folder)
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", folder)
    (folder / "data/raw/word_vectors/.gitkeep").touch()  # git keeps no empty folder
    edit_yaml(folder / "params.yaml", tasks=["reviews"])
    run(folder, "dvc", "remote", "add", "-d", "shared", f"s3://{BUCKET}/dvc")
    run(folder, "git", "add", "-A")
    run(folder, "git", "commit", "-qm", "flows")
    return folder


@contextmanager
def servers(place: Path, origin: Path) -> Iterator[dict[str, str]]:
    """Run everything that machines share; yield the variables of a machine."""
    api, mlflow = str(free_port()), str(free_port())
    s3_log, log = place / "s3.log", place / "servers.log"
    with running_postgres("prefect", "mlflow") as postgres, running_s3(s3_log) as s3:
        env = s3 | {
            "PREFECT_API_URL": f"http://127.0.0.1:{api}/api",
            "PREFECT_HOME": str(place / "home"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_CLIENT_MAX_RETRIES": "8",
            "PREFECT_WORKER_HEARTBEAT_SECONDS": "5",  # a dead one is noticed the sooner
            "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{mlflow}",
            "OMP_NUM_THREADS": "1",
        }
        own = {
            "PREFECT_API_DATABASE_CONNECTION_URL": postgres.uri("prefect", "asyncpg"),
            "MLFLOW_BACKEND_STORE_URI": postgres.uri("mlflow"),
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{BUCKET}/mlflow",
        }
        command = [sys.executable, "-m", "flows.servers", "--prefect-port", api]
        command += ["--mlflow-port", mlflow]
        with running(*command, cwd=origin, env=env | own, log=log) as process:
            while "ready: " not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.5)
            yield env
            printed = log.read_text()
            assert postgres.password not in printed
            shown = subprocess.run(
                ["ps", "-eo", "args"], capture_output=True, text=True, check=True
            )
            assert postgres.password not in shown.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Iterator[Finished]:
    place = tmp_path_factory.mktemp("machines")
    origin = make_origin(place / "origin")
    clones = [place / name for name in ("one", "two", "three")]
    for folder in clones:
        run(place, "git", "clone", "-q", "origin", folder.name)
    with servers(place, origin) as env, ExitStack() as stack:
        wait_for_server(env)
        run(origin, "prefect", "work-pool", "create", "tinybert", "--type", "process", **env)
        run(origin, "prefect", "--no-prompt", "deploy", "--all", **env)
        workers = []
        for folder in clones[:2]:
            own = env | {"TINYBERT_WORKSPACE": str(folder)}
            worker = running(*WORKER, cwd=folder, env=own, log=place / f"{folder.name}.log")
            workers.append(stack.enter_context(worker))
        split = [sys.executable, "-c", "from flows.split import split; split()"]
        log, started = place / "split.log", time.monotonic()
        with running(*split, cwd=origin, env=env, log=log) as flow:
            killed = None
            while killed is None:
                assert flow.poll() is None, log.read_text()
                time.sleep(0.02)
                killed = next((each for each in workers if runs_in(each, KILLED)), None)
            kill_all(killed.pid)
            killed_at = time.monotonic() - started
            with suppress(subprocess.TimeoutExpired):
                flow.wait(END_SECONDS)
            code = -1 if flow.returncode is None else flow.returncode
        print(f"killed after {killed_at:.0f} s, ended after {time.monotonic() - started:.0f} s")
        yield Finished(place, env, code, log.read_text())


def read_all(env: dict[str, str], path: str) -> list[dict]:
    """Read all of Prefect's flow runs or task runs."""
    found: list[dict] = []
    while True:
        body = {"offset": len(found), "limit": 200}
        answer = httpx.post(f"{env['PREFECT_API_URL']}/{path}/filter", json=body, timeout=30)
        answer.raise_for_status()
        if not answer.json():
            return found
        found += answer.json()


def test_the_run_ends_complete_and_computes_no_stage_twice_that_was_finished(finished):
    assert finished.exit_code == 0, finished.log
    ran = Counter(
        run["name"] for run in read_all(finished.env, "task_runs") if run["state_name"] == "Ran"
    )
    assert {name: count for name, count in ran.items() if count > 1} == {}
    assert {"finetune_teacher@reviews", f"{KILLED}@reviews", "report", "track"} <= ran.keys()
    states = Counter(run["state_name"] for run in read_all(finished.env, "flow_runs"))
    assert states.pop("Crashed") == 1
    assert states.keys() == {"Completed"}
    assert finished.log.count("another worker begins its group again") == 1


def test_mlflow_shows_the_run_once_and_keeps_its_files_in_the_object_store(finished, monkeypatch):
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_TRACKING_URI", finished.env["MLFLOW_TRACKING_URI"])
    client = MlflowClient()
    experiment = client.get_experiment_by_name("tinybert")
    runs = client.search_runs([experiment.experiment_id])
    children = Counter(run.info.run_name for run in runs if "mlflow.parentRunId" in run.data.tags)
    (pipeline,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    assert pipeline.info.status == "FINISHED"
    assert children
    assert set(children.values()) == {1}
    assert {run.info.status for run in runs} == {"FINISHED"}
    page = Path(client.download_artifacts(pipeline.info.run_id, "index.html"))
    assert "tinybert_mini" in page.read_text()
    assert not list(finished.place.glob("*/mlruns")) + list(finished.place.glob("*/mlartifacts"))


def test_every_output_comes_back_in_fresh_clones(finished):
    three, four = finished.place / "three", finished.place / "four"
    call = "from flows.pipeline import tinybert; tinybert(pull=True)"
    log = run(three, sys.executable, "-c", call, **finished.env)
    states = Counter(line.split("'")[1] for line in log.splitlines() if "in state Ran" in line)
    assert states.keys() <= {"track"}  # its file is in no cache: each clone logs the state anew
    run(three, "git", "add", "-A")
    run(three, "git", "commit", "-qm", "run")
    run(finished.place, "git", "clone", "-q", "three", "four")
    run(four, "dvc", "pull", **finished.env)
    changed = json.loads(run(four, "dvc", "status", "--json", **finished.env).splitlines()[-1])
    assert changed == {"track": [{"changed outs": {"reports/tracking.json": "deleted"}}]}
    assert (four / "models/student/tinybert_mini/reviews/model.safetensors").is_file()
