"""Measure a student's engines and its teacher's latency side by side.

All run in turn within one measurement, so that a busy or throttled machine slows all: a speed-up
is the median of the ratios of neighbouring runs, and it comes with its quartiles. Each timed pass
follows one of the same model, as in service: right after another model's, its weights would have
to come back into the processor's caches first. Beside a long pass that weighs little.
"""

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import onnxruntime
import torch
from transformers import PreTrainedModel

from tinybert.deployment.engines import Engine
from tinybert.deployment.sections import TASK_ROWS, BenchmarkLatencySettings
from tinybert.encoders.cost import model_flops, num_parameters, printed_flops, weights_megabytes
from tinybert.encoders.positions import positions
from tinybert.runtime.errors import InputError
from tinybert.text.batching import Batch, collate, teachers_batch
from tinybert.text.encoded import Rows

TEACHER = "teacher"  # the engine that all others are measured against
LONG_SECONDS = 0.1  # of the shortest pass, where passes are timed without one before
REST_SECONDS = 0.01  # before an engine's passes: another one's threads wait for work on its cores


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
        "onnxruntime": onnxruntime.__version__,
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
    makers: Mapping[str, Callable[[int], Engine]],
    draw: "Draw",
    grid: BenchmarkLatencySettings,
    advance: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Measure every batch size, length and number of threads of the grid.

    Args:
        makers: Name -> what returns the engine for a number of threads; `TEACHER` among them.
        draw: Gives the batches, which all engines get alike.
        grid: What is measured.
        advance: Called after each cell, for a progress bar.

    Returns:
        For each cell and each engine but the teacher: `student_ms` and `teacher_ms` (medians, per
        batch), `student_p95_ms`, `teacher_p95_ms`, `rows_per_second`, `speedup` and its quartiles
        `speedup_low` and `speedup_high`, and `tokens`, the mean length of the padded batches.
    """
    before = torch.get_num_threads()
    threads = grid.num_threads or [before]
    cells = []
    try:
        for num_threads in threads:
            torch.set_num_threads(num_threads)
            engines = {name: make(num_threads) for name, make in makers.items()}
            for length, size in product(grid.sequence_lengths, grid.batch_sizes):
                batches = draw(size, length, grid.num_repeats)
                times = measure_engines(engines, batches, grid.num_repeats, grid.num_warmup)
                about: dict[str, Any] = {
                    "batch_size": size,
                    "sequence_length": length,
                    "tokens": mean(batch["input_ids"].shape[1] for batch in batches),
                    "num_threads": num_threads,
                }
                cells += [
                    {"engine": name} | about | beside(times[name], times[TEACHER], size)
                    for name in engines
                    if name != TEACHER
                ]
                advance()
    finally:
        torch.set_num_threads(before)
    return cells


def num_cells(grid: BenchmarkLatencySettings) -> int:
    """Count the cells of a grid."""
    return len(grid.num_threads or [0]) * len(grid.sequence_lengths) * len(grid.batch_sizes)


def measure_engines(
    engines: Mapping[str, Engine], batches: Sequence[Batch], num_repeats: int, num_warmup: int
) -> dict[str, list[float]]:
    """Time engines in turn, each after a pass of its own.

    Args:
        engines: What runs.
        batches: One for each round; used again where there are fewer.
        num_repeats: Rounds that count.
        num_warmup: Rounds before them.

    Returns:
        Milliseconds by engine, one for each round.
    """
    # A teacher with another tokenizer reads the same texts in its own tokens.
    own = {TEACHER: [teachers_batch(batch) for batch in batches]}
    prepared = {
        name: [each.prepare(batch) for batch in own.get(name, batches)]
        for name, each in engines.items()
    }
    times: dict[str, list[float]] = {name: [] for name in engines}
    names, shortest = list(engines), dict.fromkeys(engines, 0.0)
    for repeat in range(num_warmup + num_repeats):
        # Who goes first changes, lest a machine that slows down or speeds up favours one.
        for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
            inputs, run = prepared[name][repeat % len(batches)], engines[name].run
            time.sleep(REST_SECONDS)
            if shortest[name] < LONG_SECONDS:
                run(inputs)
            started = time.perf_counter()
            run(inputs)
            seconds = time.perf_counter() - started
            shortest[name] = min(seconds, shortest[name] or seconds)
            if repeat >= num_warmup:
                times[name].append(seconds * 1000)
    return times


def beside(ours: Sequence[float], theirs: Sequence[float], rows: int) -> dict[str, float]:
    """Sum up an engine's times and the teacher's of the same rounds, as `measure_grid` says.

    Args:
        ours: Milliseconds.
        theirs: The teacher's.
        rows: Of a batch.
    """
    low, middle, high = np.quantile(np.divide(theirs, ours), [0.25, 0.5, 0.75])
    (student, student_p95), (teacher, teacher_p95) = np.quantile([ours, theirs], [0.5, 0.95], 1).T
    return {
        "student_ms": float(student),
        "student_p95_ms": float(student_p95),
        "teacher_ms": float(teacher),
        "teacher_p95_ms": float(teacher_p95),
        "rows_per_second": 1000 * rows / float(student),
        "speedup": float(middle),
        "speedup_low": float(low),
        "speedup_high": float(high),
    }


class Draw:
    """Gives batches of random tokens, or of a task's rows.

    Args:
        num_pieces: Tokens there are.
        seed: Seed of the tokens, and of which rows.
        rows: The task's, for `TASK_ROWS`.
        pad_token_id: Fills its rows up.
    """

    def __init__(self, num_pieces: int, seed: int, rows: Rows | None = None, pad_token_id: int = 0):
        self.num_pieces, self.rows, self.pad_token_id = num_pieces, rows, pad_token_id
        self.tokens = torch.Generator().manual_seed(seed)
        self.numbers = np.random.default_rng(seed)

    def __call__(self, size: int, length: int | str, num_batches: int) -> list[Batch]:
        """Return one batch of full rows, or several of the task's, which differ in length."""
        if length == TASK_ROWS:
            assert self.rows is not None
            drawn = self.numbers.integers(len(self.rows), size=(num_batches, size))
            return [collate([self.rows[int(n)] for n in of], self.pad_token_id) for of in drawn]
        ids = torch.randint(self.num_pieces, (size, int(length)), generator=self.tokens)
        mask = torch.ones_like(ids)
        return [{"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}]


def require_lengths(
    student: PreTrainedModel, teacher: PreTrainedModel, grid: BenchmarkLatencySettings
) -> None:
    """Check that both models can read the rows that are measured.

    Raises:
        InputError: Some are too long.
    """
    lengths = [length for length in grid.sequence_lengths if isinstance(length, int)]
    known = [positions(model.config) for model in (student, teacher)]
    most = min((each for each in known if each is not None), default=max(lengths))
    if too_long := [length for length in lengths if length > most]:
        raise InputError(
            "benchmark_latency.sequence_lengths: longer than student and teacher can read, got "
            f"{too_long}; at most {most} tokens"
        )
