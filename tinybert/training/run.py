"""A phase's run: where and how it trains, and what it keeps so that a kill costs no finished step.

A checkpoint is written beside and renamed; the sizes of its files tell whether it is whole.
"""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_folder
from tinybert.runtime.processes import num_processes, rank, wait_for_all
from tinybert.settings.schedule import Schedule

if TYPE_CHECKING:  # imported late, since some read runs without training
    import torch
    from transformers import TrainerState

PARTIAL = "partial"  # where a checkpoint is written, before it is renamed
SIZES = "sizes.json"  # of a checkpoint's files, written last
STATE = "trainer_state.json"
WEIGHTS = "model.safetensors"
FINISHED = "finished"  # weights and history of a run that came to its end
HISTORY = "history.json"
SOON = 0.25  # of the steps between evaluations, before a training's end: that one is enough


@dataclass(frozen=True)
class Run:
    """Where and how a phase trains, whatever it trains.

    Attributes:
        phase: The stage's name and arguments, for messages.
        checkpoints: Folder of this run's checkpoints, outside the outputs.
        seed: Of shuffling and dropout.
        dtype: What forward passes are autocast to; None for float32.
        save_steps: Steps between checkpoints.
        log_steps: Steps between rows of the history at most; there are ten at least.
        training_id: Name of the whole grid this run is a part of; empty: the checkpoints' folder.
        point: Name of this run in the grid; empty where there is one run.
        compile: Whether torch.compile makes kernels for the layers; pays on long runs on a GPU.
    """

    phase: str
    checkpoints: Path
    seed: int
    dtype: "torch.dtype | None"
    save_steps: int = 500
    log_steps: int = 20
    training_id: str = ""
    point: str = ""
    compile: bool = False

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end, and what came out waits for `finish`."""
        return (self.checkpoints / FINISHED).is_dir()

    def finish(self) -> None:
        """Remove the checkpoints; called once the outputs are in place."""
        if rank():
            return
        # Renamed before, so that no later run goes on from what a kill left of them.
        removed = self.checkpoints.with_name(f"{self.checkpoints.name}.removed")
        shutil.rmtree(removed, ignore_errors=True)
        if self.checkpoints.is_dir():
            self.checkpoints.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def epochs_between(num_evaluated: int, num_rows: int) -> int:
    """Return after how many epochs to evaluate, for a tenth of the time: about thrice the rows.

    A row that is scored costs a third of one that is trained on.

    Args:
        num_evaluated: Rows that an evaluation scores.
        num_rows: Rows of an epoch.
    """
    return max(1, round(3 * num_evaluated / num_rows))


def num_evaluations(num_steps: int, steps_between: int) -> int:
    """Count the evaluations of a training: those that do not end soon, and the one at its end.

    Args:
        num_steps: Of the whole training.
        steps_between: From one evaluation to the next.
    """
    return max(1, 1 + math.floor(num_steps / steps_between - SOON))


def require_shareable(schedule: Schedule, run: Run) -> None:
    """Check that each process gets as many rows of a batch.

    Raises:
        InputError: The batch size is no multiple of the number of processes.
    """
    if schedule.batch_size % num_processes():
        raise InputError(
            f"{run.phase}: the batch size must be a multiple of the number of processes, got "
            f"{schedule.batch_size} rows and {num_processes()} processes; change one"
        )


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole, with the best one it names, if any."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in found:
        if is_whole(path):
            best = state_of(path).best_global_step
            if best is None or is_whole(folder / f"checkpoint-{best}"):
                return str(path)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Say whether every file of a checkpoint is there in the size it was written in."""
    try:
        sizes: dict[str, int] = json.loads((checkpoint / SIZES).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def state_of(checkpoint: Path) -> "TrainerState":
    """Read where training stood."""
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoint / STATE))


def keep_finished(last: Path, checkpoints: Path) -> None:
    """Keep the weights and history of a run that came to its end; drop its checkpoints."""
    state = state_of(last)
    chosen = last
    if state.best_global_step is not None:
        chosen = checkpoints / f"checkpoint-{state.best_global_step}"
    with replace_folder(checkpoints / FINISHED) as folder:
        shutil.copy(chosen / WEIGHTS, folder / WEIGHTS)
        kept = {"best": state.best_metric, "log": state.log_history}
        (folder / HISTORY).write_text(json.dumps(kept), encoding="utf-8")
    wait_for_all()
    if not rank():
        remove_checkpoints(checkpoints, set())


def put_in_place(written: Path, checkpoints: Path, best_step: int | None) -> None:
    """Seal a checkpoint, move it among the others, and remove those before it but the best.

    Args:
        written: The checkpoint, elsewhere on the same disk.
        checkpoints: The run's folder.
        best_step: Of the best checkpoint so far.
    """
    sizes = {path.name: path.stat().st_size for path in written.iterdir()}
    (written / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    shutil.rmtree(checkpoints / written.name, ignore_errors=True)
    written.rename(checkpoints / written.name)
    remove_checkpoints(checkpoints, {written.name, f"checkpoint-{best_step}"})


def remove_checkpoints(checkpoints: Path, kept: set[str]) -> None:
    """Remove all checkpoints but the named ones."""
    for checkpoint in checkpoints.glob("checkpoint-*"):
        if checkpoint.name not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)
