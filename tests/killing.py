"""Run a stage in a process of its own, which kills itself at a chosen moment.

A moment is a number of seconds, or a file-system event of the stage, by its number from 1 or by a
text in its place: Python tells a hook before it opens a file for writing, renames, removes or makes
a folder. Processes are forked
from a server that has imported the libraries, so that one costs a second and not six.
"""

import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tests.workspace import ROOT

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OUTPUTS = ("models", "reports", "data")


@dataclass
class Stage:
    """One stage with its arguments, and the moments it went through."""

    name: str
    arguments: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    seconds: float = 0.0

    def first(self, text: str, number: int = 1) -> int:
        """Return the moment before the number-th event whose place has this text in it."""
        found = [at for at, place in enumerate(self.events, start=1) if text in place]
        assert len(found) >= number, (text, self.events)
        return found[number - 1]


def server():
    """Start the process that others are forked from."""
    context = multiprocessing.get_context("forkserver")
    before = Path.cwd()
    os.chdir(ROOT)
    context.set_forkserver_preload(["tests.killing", "stages._check_params", "stages.report"])
    context.Process(target=time.time).start()
    os.chdir(before)
    return context


Moment = int | float | str


def run_stage(folder: Path, stage: Stage, dies: Moment | None = None) -> int:
    """Run a stage in a workspace; return its exit code, -9 where it was killed."""
    log = folder / "events.json"
    process = server().Process(target=_main, args=(folder, stage, dies, log))
    started = time.monotonic()
    process.start()
    process.join(300)
    if log.exists() and not stage.events:
        stage.events = tuple(json.loads(log.read_text()))
        stage.seconds = time.monotonic() - started
    log.unlink(missing_ok=True)
    assert process.exitcode is not None
    return process.exitcode


def _main(folder: Path, stage: Stage, dies: Moment | None, log: Path) -> None:
    os.chdir(folder)
    for name in ("DVC_ROOT", "RANK", "WORLD_SIZE"):
        os.environ.pop(name, None)
    sys.argv = [f"{stage.name}.py", *stage.arguments]
    module = importlib.import_module(f"stages.{stage.name}")
    events: list[str] = []

    def hook(name: str, arguments: tuple) -> None:
        writes = name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES
        if threading.current_thread() is not threading.main_thread():
            return  # whoever shows the training to MLflow, in a time of its own
        if not (writes or name in CHANGES) or not isinstance(arguments[0], str | os.PathLike):
            return
        place = os.fspath(arguments[0])
        if Path(place).is_absolute() and not place.startswith(str(folder)):
            return
        events.append(f"{name} {place}")
        if len(events) == dies or (isinstance(dies, str) and dies in place):
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    if isinstance(dies, float):
        threading.Timer(dies, os.kill, (os.getpid(), signal.SIGKILL)).start()
    stages = importlib.import_module("stages")
    stages.PARENT = os.getppid()  # imported before the fork, by another process
    stages.run(module.main)
    log.write_text(json.dumps(events))
    os._exit(0)  # a timer may still wait


def outputs(folder: Path) -> dict[str, bytes]:
    """Return every file that stages left, byte for byte."""
    files = [path for name in OUTPUTS for path in (folder / name).rglob("*") if path.is_file()]
    places = {str(path.relative_to(folder)): path for path in files}
    # Seconds that a stage took are no output.
    return {n: path.read_bytes() for n, path in places.items() if not n.startswith("reports/times")}


def copy_of(folder: Path, name: str) -> Path:
    """Copy a workspace beside itself."""
    return Path(shutil.copytree(folder, folder.with_name(name)))
