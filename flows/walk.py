"""Walk the graph in one workspace: what is up to date stays, what is not runs."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from filelock import FileLock, Timeout

from flows.cache import corrupted_objects, forget_objects
from flows.graph import push_files_of_git
from flows.stage_process import Outcome, Processes, run_stage
from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import num_processors

DYING_SECONDS = 30.0
LOCK = Path(".dvc/tmp/flow_run.lock")
# Which `dvc exp run` keeps, though no commit holds them: what DVC does not cache, and its lock.
METRICS = ("reports/pretrained.json", "reports/metrics", "reports/export", "reports/latency")
TRAINING = (  # they use every core, or the accelerator
    "fetch_teacher",
    "finetune_teacher",
    "general_distill",
    "augment",
    "teacher_logits",
    "intermediate_distill",
    "prediction_distill",
)
ALONE = ("benchmark_latency",)  # a measurement of time is wrong beside anything else


def read_slots(place: str, given: int | str) -> int:
    """Return how many trainings run at once, as it was given at a place.

    Raises:
        InputError: None would, so that each waited for ever.
    """
    if not str(given).isdecimal() or int(given) < 1:
        raise InputError(f"{place}: must be 1 or more, got {given}; 2 suits two cores")
    return int(given)


class Room:
    """Let so many stages that use every core run at once; measurements of time run alone.

    Args:
        training_slots: How many stages of `TRAINING` at once.
    """

    def __init__(self, training_slots: int) -> None:
        self.training_slots = training_slots
        self._changed = threading.Condition()
        self._running: list[str] = []

    @contextmanager
    def place(self, stage: str) -> Iterator[None]:
        """Wait for a place, and keep it during the block."""
        name = stage.partition("@")[0]
        with self._changed:
            self._changed.wait_for(lambda: self.fits(name, self._running))
            self._running.append(name)
        try:
            yield
        finally:
            with self._changed:
                self._running.remove(name)
                self._changed.notify_all()

    def fits(self, stage: str, running: Iterable[str]) -> bool:
        """Return whether a stage may begin beside those that run."""
        name, *names = (each.partition("@")[0] for each in (stage, *running))
        if name in ALONE:
            return not names
        if any(each in ALONE for each in names):
            return False
        training = sum(each in TRAINING for each in names)
        return name not in TRAINING or training < self.training_slots

    def environment(self, stage: str) -> dict[str, str]:
        """Share the cores out: two trainings that each take all of them are slower than one."""
        if stage.partition("@")[0] not in TRAINING or self.training_slots == 1:
            return {}
        threads = max(1, num_processors() // self.training_slots)
        return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


@dataclass
class Walk:
    """One walk over the graph: what its tasks share.

    Attributes:
        root: The workspace.
        changed: Stages that DVC found changed when the walk began.
        room: Who may run beside whom.
        environment: Variables for every stage.
        pull: Look for outputs in the DVC remote too.
        push: Send each stage's outputs to the DVC remote once it ran: this machine may die.
        processes: The children.
        outcomes: What became of each stage so far.
    """

    root: Path
    changed: frozenset[str]
    room: Room
    environment: dict[str, str]
    pull: bool
    push: bool = False
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
            if outcome.state == "Ran" and self.push:
                push_outputs(self.root, [stage], say)
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
def only_run_in(root: Path, name: str | None = None) -> Iterator[None]:
    """Keep a second run out of the workspace; the lock goes when the process does.

    Args:
        root: The workspace.
        name: What the other is told of this run.

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
        owner.write_text(f"{name or 'a flow run'} (process {os.getpid()})\n", encoding="utf-8")
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


def ask_dvc(
    root: Path, *arguments: str, stderr: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """Run a DVC command for what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        check=False,
    )


def push_outputs(root: Path, stages: Sequence[str], say: Callable[[str], None]) -> None:
    """Send stages' outputs and the run-cache to the DVC remote; say so if it fails."""
    dvc(root, "push", "--run-cache", *stages, say=say)
    try:
        push_files_of_git(root, stages)
    except InputError as error:
        say(str(error))


def save_experiment(root: Path, say: Callable[[str], None], name: str | None = None) -> None:
    """Keep the workspace as a DVC experiment, small files that no commit holds yet included.

    Args:
        root: The workspace.
        say: Called with what DVC says.
        name: Of the experiment, in place of an earlier one; None: DVC makes one up.
    """
    found = [path for path in ("dvc.lock", *METRICS) if (root / path).exists()]
    included = [word for path in found for word in ("--include-untracked", path)]
    named = ["--name", name] if name else []
    dvc(root, "exp", "save", "--force", *named, *included, say=say)


def dvc(root: Path, *arguments: str, say: Callable[[str], None]) -> None:
    """Run a DVC command; say what it prints, and go on if it fails."""
    done = ask_dvc(root, *arguments, stderr=subprocess.STDOUT)
    for line in done.stdout.splitlines():
        say(line)
    if done.returncode != 0:
        say(f"`dvc {' '.join(arguments)}` failed with exit code {done.returncode}")
