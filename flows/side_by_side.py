"""Bring the workspace up to date as `dvc repro` does, with stages side by side on shared cores.

python -m flows.side_by_side [--slots N]
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flows.graph import Graph, read_graph, stages_behind
from flows.overrides import put_back
from flows.preloaded import preloaded
from flows.request import require_known_names
from flows.stage_process import STARTS
from flows.walk import Room, Walk, changed_stages, only_run_in, read_slots
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.processes import num_processors
from tinybert.runtime.repository import require_commit
from tinybert.settings.reader import read_section
from tinybert.settings.schedule import Grid
from tinybert.tasks.task import TRAIN, read_info

# Small networks leave a third of two cores idle: two trainings of one thread each take three
# quarters of the time that one after the other takes on two (measured, DECISIONS.md 101).
SLOTS = 2
BYTES_PER_TRAINING = 4e9
NVIDIA_DRIVER = Path("/proc/driver/nvidia")
PREPARED, TEACHER = "prepare_task", "finetune_teacher"  # stages
TASKS = Path("data/tasks")
# What DVC says after each stage.
ADVICE = (
    *("> python", "Generating lock file", "Updating lock file", "Use `dvc push`"),
    *("To track the changes", "git add", "To enable auto staging", "dvc config"),
)


def usual_slots(stages: Iterable[str]) -> int:
    """Return how many trainings run at once where nobody says: as cores and memory allow.

    One where there is a GPU: its trainings take turns (reports/results/gpu.md). One, with every
    core, where one task has one or two students: nearly all of it waits for the teacher.

    Args:
        stages: Of the graph.
    """
    numbers = Counter(map(_name, stages))
    one_chain = numbers[TEACHER] == 1 and numbers["prediction_distill"] <= 2
    if NVIDIA_DRIVER.exists() or one_chain:
        return 1
    by_memory = int(psutil.virtual_memory().available / BYTES_PER_TRAINING)
    return max(1, min(SLOTS, num_processors(), by_memory))


def add_slots_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says how many trainings run at once."""
    parser.add_argument(
        "--slots",
        type=partial(read_slots, "--slots"),
        help="trainings at once; else 2; 1 with a GPU, or for one task",
    )


def walk_side_by_side(graph: Graph, walk: Walk) -> list[str]:
    """Bring each stage up to date once those it waits for are; return those that failed.

    Of stages that could begin, the one with the longest chain behind it does: else a baseline's
    training takes the place of one that everything else waits for. Of teachers, the one that trains
    on most text: else the longest is left for the end, when nothing is there to run beside it.

    Args:
        graph: Upstream stages first.
        walk: Of this workspace.
    """
    behind = stages_behind(graph)
    waiting = list(graph)
    running: dict[Future[str], str] = {}
    done: set[str] = set()
    with ThreadPoolExecutor(max_workers=len(graph)) as threads, Shown(len(graph)) as shown:

        def bring(stage: str) -> str:
            return walk.bring_up_to_date(stage, graph[stage], partial(shown.say, stage)).state

        def may_begin(stage: str) -> bool:
            if _name(stage) == TEACHER and PREPARED in map(_name, running.values()):
                return False  # whose teacher takes longest is known in seconds
            return walk.room.fits(stage, running.values())

        def begin_what_fits() -> None:
            ready = [stage for stage in waiting if graph[stage] <= done]
            for stage in sorted(ready, key=lambda of: (-behind[of], -teachers_text(of))):
                if may_begin(stage):
                    waiting.remove(stage)
                    running[threads.submit(bring, stage)] = stage

        try:
            begin_what_fits()
            while running:
                for ended in wait(running, return_when=FIRST_COMPLETED).done:
                    stage = running.pop(ended)
                    if ended.result() != "Failed":  # raises what a thread did
                        done.add(stage)
                    shown.done(stage)
                begin_what_fits()
        finally:
            walk.processes.stop()
    return [name for name, outcome in walk.outcomes.items() if outcome.state == "Failed"]


def teachers_text(stage: str) -> float:
    """Return how many bytes of text, as stored, a teacher's training reads; 0 for other stages.

    Args:
        stage: As `name@task`, of the workspace that is the current folder.
    """
    name, _, task = stage.partition("@")
    folder = TASKS / task
    rows = folder / f"{TRAIN}.parquet"
    if name != TEACHER or not rows.is_file():
        return 0.0
    schedule = read_section(TEACHER, Grid).schedules()[0]
    return rows.stat().st_size * schedule.num_passes(read_info(folder).num_rows[TRAIN])


def _name(stage: str) -> str:
    return stage.partition("@")[0]


class Shown:
    """How many stages are done, and which run, below what they print; a terminal alone has a bar.

    Args:
        num_stages: Of the graph.
    """

    def __init__(self, num_stages: int) -> None:
        columns = TextColumn("{task.fields[now]}"), BarColumn(), MofNCompleteColumn()
        console = Console(highlight=False, soft_wrap=True)
        terminal = console.is_terminal
        self.bar = Progress(*columns, TimeElapsedColumn(), console=console, disable=not terminal)
        self.number = self.bar.add_task("", total=num_stages, now="")
        self.running: dict[str, None] = {}  # an ordered set, which threads change at once

    def __enter__(self) -> "Shown":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def say(self, stage: str, line: str) -> None:
        """Print a stage's line, but for DVC's own ones."""
        if line.startswith(STARTS):
            self.running[stage] = None
            self.bar.update(self.number, now=", ".join(self.running))
        elif not line.strip().startswith(ADVICE):
            self.bar.console.print(line, markup=False)

    def done(self, stage: str) -> None:
        """Count a stage that ran or was up to date."""
        self.running.pop(stage, None)
        self.bar.update(self.number, advance=1, now=", ".join(self.running))


def main(root: Path, slots: int | None) -> None:
    """Bring a workspace up to date.

    Args:
        root: The workspace.
        slots: How many stages that use every core run at once; None: `usual_slots`.

    Raises:
        InputError: The workspace is wrong and nothing ran, or a stage failed.
    """
    require_commit(root)
    with only_run_in(root, "side_by_side"):
        for file in put_back(root):
            print(f"{file}: put back as it was before a run that was killed", flush=True)
        require_known_names(root)
        graph, changed = read_graph(root), changed_stages(root)
        with preloaded(root, wanted=bool(changed)) as environment:
            walk = Walk(root, changed, Room(slots or usual_slots(graph)), environment, False)
            failed = walk_side_by_side(graph, walk)
    if failed:
        raise InputError(*(f"{name}: failed; its own line above says why" for name in failed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m flows.side_by_side")
    add_slots_option(parser)
    with ends_with_its_lines():
        given = parser.parse_args(sys.argv[1:])
        main(Path.cwd(), given.slots)
