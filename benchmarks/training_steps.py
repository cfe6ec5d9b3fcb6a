"""Time the product's own training loop, step by step, and what in it is no computation."""

import tempfile
import time
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback

from benchmarks.machine import MatrixRate, wait_for
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.settings.schedule import Schedule
from tinybert.text.encoded import Rows
from tinybert.training.phase_trainer import PhaseTrainer
from tinybert.training.run import Run

WARMUP = {"cpu": 2, "cuda": 100}  # steps; in so many a GPU has met most shapes


@dataclass
class Steps:
    """Measured steps.

    Attributes:
        seconds: Of each step, from the end of the one before.
        computing: Of each step, inside forward, backward and the optimizer; on the CPU only.
        lengths: Of each step's rows, in tokens.
    """

    seconds: list[float] = field(default_factory=list)
    computing: list[float] = field(default_factory=list)
    lengths: list[list[int]] = field(default_factory=list)

    @property
    def rows(self) -> list[int]:
        """The tokens of each row of all steps."""
        return [length for step in self.lengths for length in step]

    def result(
        self, subject: str, case: str, operations: float, rate: MatrixRate, options: Options
    ) -> Result:
        """Return what all steps together took.

        Args:
            subject: What was measured.
            case: Shapes, data and mode.
            operations: Floating-point ones on the real tokens of all steps.
            rate: Of the same run.
            options: For the device.
        """
        return Result(
            subject,
            f"{options.shapes} {case}",
            sum(self.seconds),
            operations,
            rate,
            sum(self.rows),
            len(self.rows),
            more={"overhead": self.overhead} if options.device.type == "cpu" else {},
        )

    @property
    def overhead(self) -> float:
        """The share of a step outside forward, backward and the optimizer; median of steps."""
        pairs = zip(self.seconds, self.computing, strict=True)
        return median(1 - inside / whole for whole, inside in pairs)


class _Clock(TrainerCallback):  # type: ignore[misc]
    def __init__(self, device: torch.device, waits: Container[int]) -> None:
        self.device, self.waits = device, waits
        self.ends, self.inside, self.began = [0.0], [0.0], 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = call(*args, **kwargs)
            self.inside[-1] += time.perf_counter() - started
            return result

        return run

    def on_train_begin(
        self, args: Any, state: Any, control: Any, optimizer: Any = None, **kwargs: Any
    ) -> None:
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        inner.register_step_pre_hook(lambda *_: self._begin())
        inner.register_step_post_hook(lambda *_: self._end())

    def _begin(self) -> None:
        self.began = time.perf_counter()

    def _end(self) -> None:
        self.inside[-1] += time.perf_counter() - self.began

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # A GPU is waited for twice: its host goes ahead while it computes, as in a real training.
        if state.global_step in self.waits:
            wait_for(self.device)
        self.ends.append(time.perf_counter())
        self.inside.append(0.0)


def time_steps(
    model: nn.Module,
    rows: Rows,
    options: Options,
    batch_size: int = 32,
    batches: str = "tokens",
    times: int = 1,
) -> Steps:
    """Train for some steps; the first of WARMUP are not counted.

    Args:
        model: What to train.
        rows: Training rows.
        options: For the number format and the measured steps.
        batch_size: Rows of a batch, on average where by tokens.
        batches: tokens, or rows.
        times: So many times the options' steps are measured.
    """
    num_steps, warmup = times * options.steps, WARMUP[options.device.type]
    schedule = Schedule(
        num_epochs=1e6,
        max_steps=num_steps + warmup,
        batch_size=batch_size,
        batches=batches,  # type: ignore[arg-type]
        learning_rate=1e-4,
        warmup_ratio=0.1,
        weight_decay=0.01,
    )
    with tempfile.TemporaryDirectory() as folder:
        log_steps = num_steps + warmup
        how = Path(folder), 0, options.dtype
        run = Run("benchmark", *how, log_steps=log_steps, compile=options.compiled)
        trainer = PhaseTrainer(model, rows, 0, schedule, run, None)
        trainer.args.save_strategy = "no"
        if not options.graphs:
            trainer.graphs = None
        everywhere = range(num_steps + warmup + 1)
        waits = everywhere if options.device.type == "cpu" else (warmup, warmup + num_steps)
        clock, lengths = _Clock(options.device, waits), []
        collate = trainer.data_collator

        def noting(batch: list[Any]) -> Any:
            lengths.append([len(row["ids"]) for row in batch])
            return collate(batch)

        trainer.data_collator = noting
        trainer.compute_loss = clock.timed(trainer.compute_loss)  # type: ignore[method-assign]
        trainer.accelerator.backward = clock.timed(trainer.accelerator.backward)
        trainer._clip_grad_norm = clock.timed(trainer._clip_grad_norm)  # type: ignore[method-assign]
        trainer.add_callback(clock)
        trainer.train()
    whole = [end - start for start, end in zip(clock.ends[1:-1], clock.ends[2:], strict=True)]
    # The loader makes a batch ahead, so there may be one more than steps.
    return Steps(
        whole[warmup - 1 :],
        clock.inside[warmup : warmup + num_steps],
        lengths[warmup : warmup + num_steps],
    )
