"""How long and how fast a phase trains, and where it keeps its checkpoints."""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from tinybert.choices import BatchKind
from tinybert.errors import InputError
from tinybert.processes import num_processes, rank
from tinybert.resuming import FINISHED
from tinybert.settings import Settings

if TYPE_CHECKING:  # settings are checked without torch
    import torch


class Schedule(Settings):
    """How long and how fast to train: linear warm-up, then linear decay to 0."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)  # stops earlier than num_epochs where it is smaller
    batch_size: int = Field(ge=1)  # rows of all processes together; on average where by tokens
    batches: BatchKind = "rows"  # tokens: like lengths, about as many tokens each | rows: the paper
    learning_rate: float = Field(gt=0)
    warmup_ratio: float = Field(ge=0, lt=1)  # share of the steps
    weight_decay: float = Field(ge=0)

    def num_steps(self, num_batches: int) -> int:
        """Return the optimizer steps that training on an epoch of so many batches takes."""
        steps = max(1, math.ceil(self.num_epochs * num_batches))
        return min(steps, self.max_steps or steps)


@dataclass(frozen=True)
class Run:
    """Where and how a phase trains, whatever it trains.

    Attributes:
        phase: The stage's name and arguments, for messages.
        checkpoints: Folder of this run's checkpoints, outside the outputs.
        seed: Of shuffling and dropout.
        dtype: What forward passes are autocast to; None for float32.
        save_steps: Steps between checkpoints.
        log_steps: Steps between rows of the history.
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
    """Return after how many epochs to evaluate: so many as have the rows that are evaluated.

    Args:
        num_evaluated: Rows that an evaluation scores.
        num_rows: Rows of an epoch.
    """
    return max(1, math.ceil(num_evaluated / num_rows))


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
