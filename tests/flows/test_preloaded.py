"""A stage forked from a process that has the libraries is the stage that `python -m` would run."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from flows.preloaded import _set_threads, preloaded
from tests.fixtures.small_pipeline import gone
from tests.fixtures.workspace import ROOT
from tinybert.runtime.preloaded import ADDRESS

SERVER = """import sys
from flows import preloaded
preloaded.LIBRARIES = sys.argv[2:]
preloaded.serve(sys.argv[1])
"""
PACKAGE = """import sys
if sys.argv[0] == "-m":
    from tinybert.runtime.preloaded import run_preloaded
    run_preloaded()
"""
# What a stage can see of where and how it runs.
SEES = """import json, os, sys
import torch
print(json.dumps({
    "arguments": sys.argv[1:], "file": sys.argv[0], "name": __name__, "folder": os.getcwd(),
    "path": sys.path[0], "variable": os.environ.get("SEEN"),
    "asked": os.environ.get("TINYBERT_PRELOADED"),
    "threads": torch.get_num_threads(), "read": sys.stdin.read(), "terminal": sys.stdout.isatty(),
    "own": [each for each in sys.modules if each.split(".")[0] in ("flows", "tinybert")],
}))
print("to stderr", file=sys.stderr)
sys.exit(3)
"""
PRELOADED = "import sys; print('wave' in sys.modules)\n"
WAITS = "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
KILLS_ITSELF = "import os; os.kill(os.getpid(), 9)\n"

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux alone forks stages")


@pytest.fixture
def folder(tmp_path):
    """A workspace with stages of its own."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages/__init__.py").write_text(PACKAGE)
    return tmp_path


@pytest.fixture
def server(request, tmp_path_factory):
    """Yield a process that forks stages, and its socket."""
    address = tmp_path_factory.mktemp("s") / "socket"
    libraries = ("wave", "no_such_library", *getattr(request, "param", ()))
    command = [sys.executable, "-c", SERVER, str(address), *libraries]
    process = subprocess.Popen(command, cwd=ROOT)
    wait_for(address.exists)
    yield process, str(address)
    process.kill()
    process.wait()


def wait_for(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def command(folder, source, *arguments):
    (folder / "stages/it.py").write_text(source)
    return [sys.executable, "-m", "stages.it", *arguments]


def environment(address=""):
    return {**os.environ, "PYTHONPATH": str(ROOT), "SEEN": "yes", ADDRESS: address}


def run(folder, source, *arguments, address):
    return subprocess.run(
        command(folder, source, *arguments),
        cwd=folder,
        env={**environment(address), "OMP_NUM_THREADS": "1,2"},
        input="given\n",
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize("server", [["torch"]], indirect=True)
def test_a_forked_stage_sees_what_one_of_its_own_process_does(folder, server):
    _, address = server
    forked, own = (run(folder, SEES, "a b", "c", address=each) for each in (address, ""))
    seen = json.loads(own.stdout)
    assert seen["arguments"] == ["a b", "c"]
    assert (seen["variable"], seen["read"], seen["threads"]) == ("yes", "given\n", 1)
    assert json.loads(forked.stdout) == seen
    assert (forked.returncode, forked.stderr) == (own.returncode, own.stderr) == (3, "to stderr\n")


def test_it_has_the_libraries_and_the_stage_as_it_is_now(folder, server):
    _, address = server
    assert run(folder, PRELOADED, address=address).stdout == "True\n"
    assert run(folder, "print('changed')\n", address=address).stdout == "changed\n"
    assert run(folder, PRELOADED, address="").stdout == "False\n"


def test_a_stage_that_a_signal_ends_looks_so_to_who_waits_for_it(folder, server):
    assert run(folder, KILLS_ITSELF, address=server[1]).returncode == -signal.SIGKILL


def test_without_a_process_that_answers_the_stage_runs_as_ever(folder, server):
    process, address = server
    process.kill()
    process.wait()
    assert Path(address).exists()
    assert run(folder, PRELOADED, address=address).stdout == "False\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_forked_stage_ends_with_the_process_that_asked(folder, server, number):
    asking = subprocess.Popen(command(folder, WAITS), cwd=folder, env=environment(server[1]))
    wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text())
    stage = int((folder / "pid").read_text())
    assert stage != asking.pid
    asking.send_signal(number)
    assert asking.wait(10) == -number
    gone(stage, time.monotonic() + 5)


def test_a_forked_stage_ends_with_whoever_started_the_one_that_asks(folder, server):
    starting = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    dvc = subprocess.Popen(
        [sys.executable, "-c", starting, *command(folder, WAITS)],
        cwd=folder,
        env=environment(server[1]),
    )
    wait_for(lambda: (folder / "pid").is_file() and (folder / "pid").read_text())
    dvc.kill()
    dvc.wait()
    gone(int((folder / "pid").read_text()), time.monotonic() + 5)


@pytest.mark.parametrize(
    ("wanted", "set_to"), [("3", [3]), ("2,1", [2]), ("", []), ("abc", []), ("0", []), ("2.0", [])]
)
def test_a_number_of_threads_that_is_none_is_left_out(wanted, set_to, monkeypatch):
    threads, limits = [], []
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(6), raising=False)
    monkeypatch.setattr("torch.set_num_threads", threads.append)
    monkeypatch.setattr("threadpoolctl.threadpool_limits", lambda most, of: limits.append(most))
    _set_threads(wanted)
    assert (threads, limits) == (set_to, set_to or [6])


def forbidden(_):
    raise OSError


@pytest.mark.parametrize(
    ("name", "value"),
    [("os.pidfd_open", forbidden), ("tempfile.gettempdir", lambda: "/" + 90 * "a")],
)
def test_where_stages_cannot_be_forked_they_import_for_themselves(name, value, monkeypatch):
    monkeypatch.setattr(name, value)
    with preloaded(ROOT) as variables:
        assert variables == {}


def test_who_asks_and_is_gone_leaves_nothing_behind(folder, server):
    process, address = server
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(address)
    assert run(folder, PRELOADED, address=address).stdout == "True\n"  # so the first was heard
    wait_for(lambda: not psutil.Process(process.pid).children(), 5)


def test_the_process_is_ready_in_time_alone_and_ends_with_its_block(tmp_path):
    with preloaded(ROOT) as variables:
        place = Path(variables[ADDRESS])
        wait_for(place.exists, 120)
        (server,) = [each for each in psutil.Process().children() if str(place) in each.cmdline()]
        assert server.num_threads() == 1  # a fork of several could hang
    assert not server.is_running()
    assert not place.parent.exists()
