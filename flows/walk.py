"""Walk the graph in one workspace: what is up to date stays, what is not runs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout
from prefect import runtime

from flows.cache import corrupted_objects, forget_objects
from flows.room import Room
from flows.stage_process import Outcome, Processes, run_stage
from tinybert.core.errors import InputError

DYING_SECONDS = 30.0
LOCK = Path(".dvc/tmp/flow_run.lock")


@dataclass
class Walk:
    """One walk over the graph: what its tasks share.

    Attributes:
        root: The workspace.
        changed: Stages that DVC found changed when the walk began.
        room: Who may run beside whom.
        environment: Variables for every stage.
        pull: Look for outputs in the DVC remote too.
        processes: The children.
        outcomes: What became of each stage so far.
    """

    root: Path
    changed: frozenset[str]
    room: Room
    environment: dict[str, str]
    pull: bool
    processes: Processes = field(default_factory=Processes)
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def bring_up_to_date(
        self, stage: str, upstream: frozenset[str], say: Callable[[str], None]
    ) -> Outcome:
        """Run a stage, unless nothing before it and nothing of its own has changed."""
        untouched = all(self.outcomes[name].state == "Cached" for name in upstream)
        if stage not in self.changed and untouched:
            outcome = Outcome("Cached", 0.0, "nothing changed")
        else:
            with self.room.place(stage):
                outcome = self._run(stage, say)
                if outcome.state == "Restored":
                    outcome = self._rerun_if_corrupted(stage, outcome, say)
        self.outcomes[stage] = outcome
        return outcome

    def _run(self, stage: str, say: Callable[[str], None]) -> Outcome:
        environment = {**self.environment, **self.room.environment(stage)}
        return run_stage(
            stage, self.root, self.processes, say, environment=environment, pull=self.pull
        )

    def _rerun_if_corrupted(
        self, stage: str, outcome: Outcome, say: Callable[[str], None]
    ) -> Outcome:
        corrupted = corrupted_objects(self.root, [stage])
        if not corrupted:
            return outcome
        for found in corrupted:
            say(f"{found}; removed, and the stage runs again")
        forget_objects(self.root, corrupted)
        again = self._run(stage, say)
        return replace(again, message=f"{again.message} (the cached copy was corrupted)")


@contextmanager
def only_run_in(root: Path) -> Iterator[None]:
    """Keep a second flow run out of the workspace; the lock goes when the process does.

    Raises:
        InputError: Another run is in it.
    """
    file = root / LOCK
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, owner = FileLock(file), file.with_suffix(".owner")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        who = owner.read_text().strip() if owner.is_file() else "another process"
        raise InputError(
            f"{root}: a flow run is in this workspace already, got {who}; wait for it, or run in "
            "another clone"
        ) from None
    try:
        name = runtime.flow_run.name or "a flow run"
        owner.write_text(f"{name} (process {os.getpid()})\n", encoding="utf-8")
        yield
    finally:
        lock.release()


def changed_stages(root: Path) -> frozenset[str]:
    """Ask DVC, in one process, which stages' own inputs or outputs are not as it left them."""
    deadline = time.monotonic() + DYING_SECONDS
    while True:
        done = ask_dvc(root, "status", "--json")
        # A killed run's children hold DVC's locks until the system has buried them.
        if "rwlock" not in done.stderr or time.monotonic() > deadline:
            break
        time.sleep(1)
    if done.returncode != 0:
        raise InputError(f"dvc status: got {' '.join(done.stderr.split())}")
    return frozenset(json.loads(done.stdout))


def ask_dvc(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a DVC command for what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )


def dvc(root: Path, *arguments: str, say: Callable[[str], None]) -> None:
    """Run a DVC command; say what it prints, and go on if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    for line in done.stdout.splitlines():
        say(line)
    if done.returncode != 0:
        say(f"`dvc {' '.join(arguments)}` failed with exit code {done.returncode}")
