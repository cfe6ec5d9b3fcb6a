"""Several clones, workers and servers that die: the real commands, on one machine."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from flows.servers import wait_for_server
from tests.fixtures.clones import environment_of, run
from tests.fixtures.mlflow_server import free_port, kill
from tests.fixtures.small_pipeline import (
    STAGES,
    make_pipeline,
    set_params,
    times_run,
    wait_for_stage,
)
from tests.fixtures.workspace import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    """The variables of a client of a server that is to be."""
    return {
        "PYTHONPATH": str(ROOT),
        "PREFECT_API_URL": f"http://127.0.0.1:{free_port()}/api",
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_CLIENT_MAX_RETRIES": "8",
    }


@contextmanager
def running(*command: str, cwd: Path, env: dict[str, str]) -> Iterator[subprocess.Popen]:
    """Run a server in a group of its own; end the group after the block."""
    log = (cwd / f"{command[1]}-{time.monotonic_ns()}.log").open("w")
    process = subprocess.Popen(
        command, cwd=cwd, env=environment_of(**env), stdout=log, stderr=log, start_new_session=True
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            kill(process)


@pytest.fixture
def origin(tmp_path):
    """A repository with the flows and a DVC remote."""
    folder = make_pipeline(tmp_path / "origin")
    shutil.copytree(ROOT / "flows", folder / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "prefect.yaml", folder)
    (tmp_path / "remote").mkdir()
    (tmp_path / "home").mkdir()
    call = [sys.executable, "-m", "dvc", "remote", "add", "-q", "-d", "shared"]
    subprocess.run([*call, str(tmp_path / "remote")], cwd=folder, check=True)
    for command in (["git", "add", "-A"], ["git", "commit", "-qm", "flows"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def clone(origin: Path, name: str) -> Path:
    subprocess.run(["git", "clone", "-q", origin, origin.parent / name], check=True)
    return origin.parent / name


def run_flow(folder: Path, call: str, env: dict[str, str]) -> str:
    """Call a flow in a process in a folder; return its log."""
    code = f"from flows.pipeline import tinybert; from flows.split import split; {call}"
    return run(folder, sys.executable, "-c", code, **env)


def start_server(folder: Path, env: dict[str, str]):
    port = str(urlsplit(env["PREFECT_API_URL"]).port)
    command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", port)
    return running(*command, cwd=folder, env=env)


def test_two_workers_split_a_run_and_a_third_clone_restores_all_of_it(origin, tmp_path, env):
    one, two, three = (clone(origin, name) for name in ("one", "two", "three"))
    worker = ("prefect", "worker", "start", "--pool", "tinybert", "--type", "process")
    with start_server(tmp_path, env):
        wait_for_server(env, 90)
        for command in (
            ("prefect", "work-pool", "create", "tinybert", "--type", "process"),
            ("prefect", "--no-prompt", "deploy", "--all"),
        ):
            run(one, *command, **env)
        with (
            running(*worker, "--limit", "1", cwd=one, env={**env, "TINYBERT_WORKSPACE": str(one)}),
            running(*worker, "--limit", "1", cwd=two, env={**env, "TINYBERT_WORKSPACE": str(two)}),
        ):
            run_flow(origin, "split(overrides=['loss.attn_weight=0.5'])", env)
        ran = [times_run(folder) for folder in (one, two)]
        assert sorted([*ran[0], *ran[1]]) == ["corpus", "one", "report", "small", "speed", "two"]
        assert all(ran)  # both had a share
        log = run_flow(three, "tinybert(overrides=['loss.attn_weight=0.5'], pull=True)", env)
    assert log.count("Finished in state Restored") == len(STAGES)
    assert times_run(three) == {}
    assert (
        "small0.5" in (three / "out/report").read_text()
        or "0.5" in (three / "out/speed").read_text()
    )


def test_a_run_outlives_its_server(origin, tmp_path, env):
    set_params(origin, seconds=3)
    call = [sys.executable, "-c", "from flows.pipeline import tinybert; tinybert()"]
    with start_server(tmp_path, env) as server:
        wait_for_server(env, 90)
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        flow = subprocess.Popen(call, cwd=origin, env=environment_of(**env), text=True, **pipe)
        wait_for_stage(origin)
        kill(server)
        time.sleep(8)
    with start_server(tmp_path, env):
        output, _ = flow.communicate(timeout=240)
    assert flow.returncode == 0, output
    assert "Finished in state Completed()" in output
    assert set(times_run(origin).values()) == {1}
