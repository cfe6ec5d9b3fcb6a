"""What a training tells the Trainer: arguments, epochs, when to evaluate, lines of progress."""

import math
import sys
import time
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from tinybert.runtime.processes import num_processes
from tinybert.settings.schedule import Schedule
from tinybert.text.batching import EpochBatches
from tinybert.training.run import PARTIAL, Run, epochs_between, num_evaluations


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Tells the batches the epoch, which the Trainer does for some samplers only."""

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Choose the order; within an epoch that is gone on with, `state.epoch` is no integer."""
        self.batches.set_epoch(int(state.epoch or 0))


class Evaluations(TrainerCallback):  # type: ignore[misc]
    """Leaves out evaluations that would cost much of the time, or come shortly before the last one.

    Args:
        num_evaluated: Rows that one scores; where an epoch has fewer, a checkpoint is left out too.
        num_rows: Rows of an epoch.
        num_batches: Steps of an epoch.
    """

    def __init__(self, num_evaluated: int, num_rows: int, num_batches: int) -> None:
        self.epochs_between = epochs_between(num_evaluated, num_rows)
        self.steps_between = self.epochs_between * num_batches
        self.saves_each = num_rows >= num_evaluated

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Called after the callback that asks for an evaluation at each epoch's end."""
        number, further = divmod(round(state.epoch), self.epochs_between)
        soon = number >= num_evaluations(state.max_steps, self.steps_between)
        if state.global_step < state.max_steps and (further or soon):
            control.should_evaluate = False
            control.should_save &= self.saves_each


class Lines(TrainerCallback):  # type: ignore[misc]
    """Progress as lines, where there is no terminal to draw a bar on."""

    seconds_between = 20.0

    def __init__(self, phase: str) -> None:
        self.phase, self.last = phase, time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Print where training stands, now and then."""
        due = time.monotonic() - self.last > self.seconds_between
        if "loss" in logs and due:
            self.last = time.monotonic()
            place = f"step {state.global_step}/{state.max_steps}"
            print(f"{self.phase}: {place}, loss {logs['loss']:.4f}", file=sys.stderr, flush=True)


def arguments_of(
    num_batches: int, schedule: Schedule, run: Run, selects: bool
) -> TrainingArguments:
    """Return the Trainer's arguments.

    Args:
        num_batches: Of an epoch.
        schedule: Length and speed.
        run: Where and how.
        selects: Whether epochs are scored and the best one is kept.
    """
    cuda = torch.cuda.is_available()
    num_steps = schedule.num_steps(num_batches)
    arguments = TrainingArguments(
        output_dir=str(run.checkpoints / PARTIAL),
        max_steps=num_steps,
        per_device_train_batch_size=schedule.batch_size // num_processes(),
        learning_rate=schedule.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=math.ceil(schedule.warmup_ratio * num_steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        bf16=run.dtype == torch.bfloat16,
        use_cpu=not cuda,
        eval_strategy="epoch" if selects else "no",
        save_strategy="epoch" if selects else "steps",
        save_steps=run.save_steps,
        metric_for_best_model="selected" if selects else None,
        greater_is_better=True if selects else None,
        logging_steps=min(run.log_steps, max(1, num_steps // 10)),
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=cuda,
        accelerator_config={"non_blocking": cuda},
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
        seed=run.seed,
        ddp_find_unused_parameters=True,  # a pooler has no part in a layer's term
        ddp_broadcast_buffers=False,
    )
    # One process trains on one device: two GPUs would double the batch. More: `accelerate launch`.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments
