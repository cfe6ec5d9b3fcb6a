"""Measure a student's and its teacher's latency side by side.

Both run alternately within one measurement, so that a busy or throttled machine slows both: the
speed-up is the median of the ratios of neighbouring runs, and it comes with its quartiles. Each
timed pass follows one of the same model, as in service: right after the other model's, its weights
would have to come back into the processor's caches first.
"""

import os
import platform
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.core.errors import InputError
from tinybert.encoders.cost import model_flops, num_parameters, printed_flops, weights_megabytes
from tinybert.encoders.positions import positions
from tinybert.evaluation.sections import BenchmarkLatencySettings

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def choose_device(wanted: str) -> torch.device:
    """Return the device to measure on.

    Raises:
        InputError: A GPU is asked for and there is none.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "benchmark_latency.device: torch sees no GPU, got 'cuda'; write cpu or auto"
        )
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def describe(model: PreTrainedModel, folder: Path) -> dict[str, float | None]:
    """Return the cost of a checkpoint that no clock is needed for.

    Parameters include the pooler and leave out the classifier, whose size the task decides;
    GFLOPs are the encoder's for one row of 128 tokens, by the formula and as the paper prints them,
    None for an architecture that cannot be counted.
    """
    flops = model_flops(model.config)
    printed = printed_flops(model.config, flops)
    return {
        "parameters": num_parameters(model.base_model),
        "gflops": None if flops is None else flops / 1e9,
        "gflops_printed": None if printed is None else printed / 1e9,
        "size_mb": weights_megabytes(folder),
    }


def describe_protocol(grid: BenchmarkLatencySettings, device: torch.device) -> dict[str, object]:
    """Say how and on what is measured; a speed-up means nothing without it."""
    busy = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "device": device.type,
        "processor": processor_name(device),
        "num_processors": os.cpu_count(),
        "load_average_before": busy,  # processes waiting to run, mean of the last minute
        "precision": grid.precision,
        "num_repeats": grid.num_repeats,
        "num_warmup": grid.num_warmup,
        "torch": torch.__version__,
        "statistic": "median of paired ratios, quartiles as spread",
    }


def processor_name(device: torch.device) -> str:
    """Return the maker's name of the processor or the GPU."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def measure_grid(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    grid: BenchmarkLatencySettings,
    device: torch.device,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[dict[str, float]]:
    """Measure every batch size, length and number of threads of the grid.

    Args:
        student: A classifier.
        teacher: The classifier it was distilled from.
        grid: What is measured.
        device: Where.
        seed: Seed of the random tokens, which both models get alike.
        advance: Called after each cell, for a progress bar.

    Returns:
        One row per cell, with `student_ms`, `teacher_ms` (medians, per batch), `speedup` and its
        quartiles `speedup_low` and `speedup_high`; on a GPU also the memory that a forward pass
        takes beside the weights, `student_mb` and `teacher_mb`.

    Side effects: Both models move to the device and the precision, and stay there.
    """
    _require_lengths(student, teacher, grid)
    models: tuple[nn.Module, nn.Module] = (student, teacher)
    for model in models:
        model.to(device, DTYPES[grid.precision]).eval()
    num_pieces = min(student.config.vocab_size, teacher.config.vocab_size)
    generator = torch.Generator().manual_seed(seed)
    before = torch.get_num_threads()
    threads = grid.num_threads or [before]
    cells = []
    try:
        for num_threads, length, size in product(threads, grid.sequence_lengths, grid.batch_sizes):
            torch.set_num_threads(num_threads)
            tokens = torch.randint(num_pieces, (size, length), generator=generator).to(device)
            inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
            cell = {"batch_size": size, "sequence_length": length, "num_threads": num_threads}
            timed = measure_pair(student, teacher, inputs, grid.num_repeats, grid.num_warmup)
            cells.append(cell | timed | _peak_megabytes(student, teacher, inputs, device))
            advance()
    finally:
        torch.set_num_threads(before)
    return cells


def num_cells(grid: BenchmarkLatencySettings) -> int:
    """Count the cells of a grid."""
    return len(grid.num_threads or [0]) * len(grid.sequence_lengths) * len(grid.batch_sizes)


def measure_pair(
    student: nn.Module,
    teacher: nn.Module,
    inputs: dict[str, Tensor],
    num_repeats: int,
    num_warmup: int,
) -> dict[str, float]:
    """Time two models in turn, each after a pass of its own; returned as `measure_grid` says."""
    pairs = []
    for repeat in range(num_warmup + num_repeats):
        # Who goes first changes, lest a machine that slows down or speeds up favours one.
        first, second = (student, teacher) if repeat % 2 else (teacher, student)
        times = {first: _milliseconds(first, inputs), second: _milliseconds(second, inputs)}
        if repeat >= num_warmup:
            pairs.append((times[student], times[teacher]))
    ratios = [theirs / ours for ours, theirs in pairs]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return {
        "student_ms": median(ours for ours, _ in pairs),
        "teacher_ms": median(theirs for _, theirs in pairs),
        "speedup": float(middle),
        "speedup_low": float(low),
        "speedup_high": float(high),
    }


def _milliseconds(model: nn.Module, inputs: dict[str, Tensor]) -> float:
    with torch.inference_mode():
        model(**inputs)
        _finish(inputs)
        started = time.perf_counter()
        model(**inputs)
        _finish(inputs)
    return (time.perf_counter() - started) * 1000


def _finish(inputs: dict[str, Tensor]) -> None:
    """Wait for the GPU, which works on after the call has returned."""
    if any(tensor.is_cuda for tensor in inputs.values()):
        torch.cuda.synchronize()


def _peak_megabytes(
    student: nn.Module, teacher: nn.Module, inputs: dict[str, Tensor], device: torch.device
) -> dict[str, float]:
    if device.type != "cuda":
        return {}
    peaks = {}
    for name, model in (("student_mb", student), ("teacher_mb", teacher)):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        _milliseconds(model, inputs)
        peaks[name] = (torch.cuda.max_memory_allocated(device) - before) / 1e6
    return peaks


def _require_lengths(
    student: PreTrainedModel, teacher: PreTrainedModel, grid: BenchmarkLatencySettings
) -> None:
    known = [positions(model.config) for model in (student, teacher)]
    most = min((each for each in known if each is not None), default=max(grid.sequence_lengths))
    if too_long := [length for length in grid.sequence_lengths if length > most]:
        raise InputError(
            "benchmark_latency.sequence_lengths: longer than student and teacher can read, got "
            f"{too_long}; at most {most} tokens"
        )
