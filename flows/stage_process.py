"""Run one stage with `dvc repro` in a process of its own, and read what DVC did with it."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from tinybert.runtime.processes import die_with_parent

State = Literal["Cached", "Restored", "Ran", "Failed"]
EXIT = re.compile(r"exited with (-?\d+)")
KEPT_LINES = 5  # of a failed stage's output, for the message
STOP_SECONDS = 5.0
STARTS = "Running stage"  # what DVC says before it runs one


@dataclass(frozen=True)
class Outcome:
    """What became of a stage.

    Attributes:
        state: Cached: nothing had changed. Restored: DVC took the outputs from its cache. Ran: the
            stage was executed. Failed: it was, or could not be.
        seconds: Wall-clock.
        message: The stage's last line, or why it failed.
        exit_code: Of the stage's command where it failed; negative for a signal, also where
            DVC's shell says 128 plus the signal.
    """

    state: State
    seconds: float
    message: str
    exit_code: int = 0


class Processes:
    """The child processes of a flow run, so that ending the run ends them."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()
        self.stopped = False

    @contextmanager
    def open(
        self, command: list[str], root: Path, environment: Mapping[str, str]
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a process that dies with this one; its two outputs are one stream of lines."""
        with self._guard:
            if self.stopped:
                raise InterruptedError("the run is being stopped")
            process = subprocess.Popen(
                command,
                cwd=root,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # a group of its own: the stage ends with its dvc
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
            self._running.add(process)
        try:
            yield process
        finally:
            process.wait()
            with self._guard:
                self._running.discard(process)

    def stop(self) -> None:
        """End every child, and with each dvc the stage that it runs; start no more."""
        with self._guard:
            self.stopped = True
            running = list(self._running)
        for process in running:
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _signal_group(process, signal.SIGKILL)


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def run_stage(
    stage: str,
    root: Path,
    processes: Processes,
    say: Callable[[str], None],
    *,
    environment: Mapping[str, str],
    pull: bool = False,
) -> Outcome:
    """Bring one stage up to date; its upstream stages must be.

    Args:
        stage: `name` or `name@item`.
        root: The workspace.
        processes: Where the child is kept.
        say: Called with each line of output.
        environment: Variables to add.
        pull: Look for outputs in the DVC remote too.
    """
    # The flag makes parallel processes wait for DVC's locks instead of failing on them; without
    # --single-item two stages that share an upstream stage would block each other.
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item"]
    started = time.monotonic()
    lines = []
    with processes.open(
        [*command, *(["--pull"] if pull else []), stage], root, environment
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            text = line.rstrip()
            if text:
                say(text)
                lines.append(text)
    return read_outcome(stage, lines, process.returncode, time.monotonic() - started)


def read_outcome(stage: str, lines: list[str], exit_code: int, seconds: float) -> Outcome:
    """Read DVC's output, which names what it did with the stage."""
    ran = any(line.startswith(f"{STARTS} '{stage}'") for line in lines)
    if exit_code != 0:
        exits = [int(found[1]) for line in lines if (found := EXIT.search(line))]
        code = exits[-1] if exits else exit_code
        return Outcome("Failed", seconds, _reason(lines), _signed(code))
    if ran:
        own = [line for line in lines if line.startswith(f"{stage.partition('@')[0]}: ")]
        return Outcome("Ran", seconds, own[-1] if own else "done")
    if any("skipping run, checking out" in line for line in lines):
        return Outcome("Restored", seconds, "outputs taken from DVC's cache")
    return Outcome("Cached", seconds, "nothing changed")


def _signed(exit_code: int) -> int:
    return 128 - exit_code if 128 < exit_code < 128 + signal.NSIG else exit_code


def _reason(lines: list[str]) -> str:
    """Return the lines before DVC's own closing ones."""
    own = [
        line
        for line in lines
        if not line.startswith(("ERROR: failed to reproduce", STARTS, "> python"))
    ]
    return "\n".join((own or lines)[-KEPT_LINES:])
