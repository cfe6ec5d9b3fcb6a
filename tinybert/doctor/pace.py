"""How long a training will take and how much memory, from a few steps that change nothing."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tinybert.doctor import room
from tinybert.doctor.findings import Finding, doubt
from tinybert.runtime.precision import computing_device
from tinybert.runtime.processes import num_processes
from tinybert.settings.schedule import Schedule
from tinybert.text.batching import EpochBatches, collator, epoch_batches
from tinybert.text.encoded import Rows
from tinybert.training.cpu_dropout import CpuDropout
from tinybert.training.run import (
    FINISHED,
    Run,
    epochs_between,
    last_checkpoint,
    num_evaluations,
)

LOOKED_AT = 2_000  # batches among which the widest is sought
ORDINARY = 2  # batches that are timed
ENOUGH_SECONDS = 20.0  # a step that takes so long is timed once
OPTIMIZER_SAMPLE = 4_000_000  # weights that the optimizer's step is timed on
MOMENTS = 2  # values AdamW keeps for each weight


class Measured(NamedTuple):
    """What a few steps took.

    Attributes:
        seconds_per_step: Of an ordinary batch: forward, backward, clipping and optimizer.
        peak_bytes: Most memory in the widest batch's step, with the optimizer's moments; of the
            process, on CUDA of the device; None where the system does not say.
        first_terms: The loss and its terms as the model is now, mean of the ordinary batches.
        batch_size: Of the schedule that was measured.
    """

    seconds_per_step: float
    peak_bytes: int | None
    first_terms: dict[str, float]
    batch_size: int


def judge_passes(schedules: Sequence[Schedule], num_rows: int) -> list[Finding]:
    """Say where a teacher's training ends before it has read every labelled row once.

    Args:
        schedules: Of the grid.
        num_rows: Of train.
    """
    passes = max(schedule.num_passes(num_rows) for schedule in schedules)
    if passes >= 1:
        return []
    return [
        doubt(
            f"finetune_teacher reads {passes * num_rows:,.0f} of {num_rows:,} training rows; "
            "`-S profile=own-task` reads up to 48,000, or raise its max_steps"
        )
    ]


def why_not_measured(run: Run) -> str | None:
    """Say why a training is not measured before; None: it is."""
    if run.is_finished or (run.checkpoints / "0" / FINISHED).is_dir():
        return "trained already"
    folders = [run.checkpoints, *run.checkpoints.glob("*/")]
    if any(last_checkpoint(folder) for folder in folders):
        return "goes on from a checkpoint"
    if num_processes() > 1:
        return f"{num_processes()} processes are not measured"
    return "compiled layers are not measured" if run.compile else None


def measure_steps(
    model: nn.Module, rows: Rows, pad_token_id: int, schedule: Schedule, run: Run
) -> Measured:
    """Take forward and backward passes, and leave no trace: what training then does is the same.

    Random numbers, modes, buffers and the device are as before, and there are no gradients. The
    optimizer takes no step; it is timed on weights of its own.

    Args:
        model: What is to be trained.
        rows: Training rows.
        pad_token_id: For padding batches.
        schedule: Length and speed.
        run: Seed and number format.

    Raises:
        torch.OutOfMemoryError: On CUDA, where the widest batch does not fit.
    """
    batches = epoch_batches(rows, schedule.batch_size, schedule.batches, run.seed)
    widest, ordinary = _chosen(batches, rows)
    device = computing_device()
    seconds, terms = [], []
    with _no_trace(model, device):
        torch.manual_seed(run.seed)
        _reset_peak(device)
        _step(model, _batch(rows, widest, batches, pad_token_id, device), run)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        peak = _peak(device)
        for numbers in ordinary:
            started = time.perf_counter()
            found = _step(model, _batch(rows, numbers, batches, pad_token_id, device), run)
            terms.append(found)
            seconds.append(time.perf_counter() - started)
            if seconds[-1] > ENOUGH_SECONDS:
                break
    moments = MOMENTS * room.BYTES_PER_WEIGHT * trained
    means = {name: sum(each[name] for each in terms) / len(terms) for name in terms[0]}
    return Measured(
        sum(seconds) / len(seconds) + _optimizer_seconds(trained, device),
        None if peak is None else peak + moments,
        means,
        schedule.batch_size,
    )


def predicted_seconds(
    measured: Measured, rows: Rows, schedules: Sequence[Schedule], seed: int, dev_tokens: int = 0
) -> float:
    """Return what trainings will take: a step's time goes with the batch's rows.

    Args:
        measured: Of one of the schedules, or one like them.
        rows: Training rows.
        schedules: Of a grid, or one.
        seed: Of the batches.
        dev_tokens: Scored, as `epochs_between` says, by a third of a step's work per token.
    """
    total = 0.0
    tokens_per_row = float(rows.lengths.mean())
    for schedule in schedules:
        num_batches = len(epoch_batches(rows, schedule.batch_size, schedule.batches, seed))
        num_steps = schedule.num_steps(num_batches)
        per_row = measured.seconds_per_step / measured.batch_size
        between = epochs_between(round(dev_tokens / tokens_per_row), len(rows))
        num_scored = num_evaluations(num_steps, num_batches * between) * dev_tokens
        total += num_steps * schedule.batch_size * per_row
        total += num_scored / tokens_per_row * per_row / 3
    return total


def num_steps(rows: Rows, schedules: Sequence[Schedule], seed: int) -> int:
    """Return the optimizer steps of all schedules."""
    return sum(
        schedule.num_steps(len(epoch_batches(rows, schedule.batch_size, schedule.batches, seed)))
        for schedule in schedules
    )


def shown_time(seconds: float) -> str:
    """Return a time as people say it."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "min" and seconds >= 100):
            return f"{seconds / size:.{0 if unit == 'min' else 1}f} {unit}"
    return f"{max(1.0, seconds):.0f} s"


def _chosen(batches: EpochBatches, rows: Rows) -> tuple[list[int], list[list[int]]]:
    """Return the batch with the most padded tokens, and ordinary ones."""
    lengths = rows.lengths
    first = list(islice(batches, LOOKED_AT))
    sizes = [int(lengths[numbers].max()) * len(numbers) for numbers in first]
    return first[sizes.index(max(sizes))], first[:ORDINARY]


def _batch(
    rows: Rows, numbers: list[int], batches: EpochBatches, pad: int, device: torch.device
) -> dict[str, Tensor]:
    batch = collator(rows, batches, pad)([rows[number] for number in numbers])
    return {name: value.to(device) for name, value in batch.items()}


def _step(model: nn.Module, batch: dict[str, Tensor], run: Run) -> dict[str, float]:
    """Do what the Trainer does of a step, all but the optimizer's part."""
    device = batch["input_ids"].device.type
    on_cpu = device == "cpu"
    with (
        torch.autocast(device, dtype=run.dtype, enabled=run.dtype is not None),
        CpuDropout() if on_cpu else nullcontext(),
    ):
        terms = model(**batch)
    terms["loss"].backward()
    # Reading the values waits for the device.
    return {name: float(value.detach()) for name, value in terms.items()}


@contextmanager
def _no_trace(model: nn.Module, device: torch.device) -> Iterator[None]:
    before = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    cuda = [device.index or 0] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda):
            model.to(device).train()
            yield
    finally:
        for parameter in model.parameters():
            parameter.grad = None
        model.to(before)
        for module, mode in modes.items():
            module.training = mode
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])


def _optimizer_seconds(num_weights: int, device: torch.device) -> float:
    """Return what clipping and AdamW take, from a part of the weights."""
    sample: Any = torch.zeros(min(num_weights, OPTIMIZER_SAMPLE), device=device, requires_grad=True)
    sample.grad = torch.ones_like(sample)
    optimizer = torch.optim.AdamW([sample], fused=True)
    optimizer.step()  # makes the moments
    started = time.perf_counter()
    float(nn.utils.clip_grad_norm_([sample], 1.0))
    optimizer.step()
    float(sample[0].detach())
    return (time.perf_counter() - started) * num_weights / max(1, len(sample))


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        room.reset_peak()


def _peak(device: torch.device) -> int | None:
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else room.peak()
