"""What a step of intermediate distillation asks of a GPU, counted on a CPU, beside a plain one's.

Kernels, waits and copies as `kernels` counts them; the shapes that an epoch's batches have; and the
time that Python and torch take to call what hardly computes: 12 and 4 layers, 24 and 12 wide.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from pkgutil import resolve_name
from typing import Any
from unittest.mock import patch

import torch
from torch import nn
from transformers import BertModel, TrainerCallback

from benchmarks import shapes, texts
from benchmarks.intermediate_step import BATCH_SIZE, TASKS
from benchmarks.kernels import DROPOUT, HOST, Counting, Counts, OwnDropout, counting
from benchmarks.options import Options
from benchmarks.plain_step import step_of
from benchmarks.result import Result
from tinybert.distillation.teacher import Teacher
from tinybert.settings.schedule import Schedule
from tinybert.text.batching import LENGTH_MULTIPLE, RowBatches, TokenBatches
from tinybert.text.encoded import EncodedRows, Rows
from tinybert.training.phase_trainer import PhaseTrainer
from tinybert.training.run import Run

STEPS = 3  # taken; the last one is counted, in which the optimizer has its state
ROWS, LENGTH = 4, 32  # of a counted batch; their numbers change no count
ROUNDS = 3  # of timing, in turn with the plain step
PARTS = {
    "tinybert.distillation.teacher.read_signals": "teacher",
    "tinybert.distillation.distillation.read_signals": "student",
    "tinybert.distillation.terms.attention_loss": "attention",
    "tinybert.distillation.terms.hidden_loss": "hidden",
    "tinybert.distillation.terms.embedding_loss": "embedding",
    "tinybert.distillation.distillation.layer_terms": "layers laid out, projected",
    "tinybert.distillation.distillation.Distillation.terms": "weighing",
}


def measure(options: Options) -> list[Result]:
    """Count MRPC's and SST-2's shapes, a step's kernels, and the time of calling."""
    rows = [texts.task_rows(options, task) for task in texts.known_tasks(options, TASKS)]
    found = [_shapes(name, of) for name, of in rows]
    _, first = rows[0]
    results = []
    for case, dtype in (("float32", None), ("bfloat16", torch.bfloat16)):
        teacher = Teacher(shapes.encoder(shapes.configs(options.shapes)[0]), dtype)
        model = shapes.layer_student(options.shapes, teacher)
        results.append(_result(options, f"a step in {case}", counts_of_step(model, first, dtype)))
    plain = counts_of_plain(options, first)
    results.append(_result(options, "a plain step in float32", plain))
    return [*results, *found, *_calling(options, first)]


def counts_of_step(model: nn.Module, rows: Rows, dtype: torch.dtype | None) -> Counts:
    """Count a step of the product's loop in which nothing is logged or saved."""
    with tempfile.TemporaryDirectory() as folder, counting() as found, ExitStack() as stack:
        for place, part in PARTS.items():
            stack.enter_context(patch(place, found.within(part, resolve_name(place))))
        trainer = _trainer(model, rows, dtype, STEPS, Path(folder))
        trainer.accelerator.backward = found.within("backward", trainer.accelerator.backward)
        trainer._clip_grad_norm = found.within("clipping", trainer._clip_grad_norm)
        trainer.create_optimizer = _naming_steps(found, trainer.create_optimizer)
        trainer.data_collator = _noting_copies(found, trainer.data_collator)
        steps = _Ends(found.restart)
        trainer.add_callback(steps)
        trainer.train()
    counts: Counts = steps.found[STEPS - 1]
    return counts


def _trainer(
    model: nn.Module, rows: Rows, dtype: torch.dtype | None, num_steps: int, folder: Path
) -> Any:
    """Return the product's loop over so many steps, and one more, in which it logs."""
    schedule = Schedule(
        num_epochs=1e6,
        max_steps=num_steps + 1,
        batch_size=ROWS,
        learning_rate=1e-4,
        warmup_ratio=0.1,
        weight_decay=0.01,
    )
    trainer = PhaseTrainer(model, rows, 0, schedule, Run("benchmark", folder, 0, dtype), None)
    trainer.args.save_strategy, trainer.args.logging_steps = "no", num_steps + 1
    return trainer


class _Ends(TrainerCallback):  # type: ignore[misc]
    """Keeps what a function returns at the end of each step."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call, self.found = call, list[Any]()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.found.append(self.call())


def _naming_steps(found: Counting, create: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        optimizer = create(*args, **kwargs)
        optimizer.step = found.within("optimizer", optimizer.step)
        return optimizer

    return run


def _noting_copies(found: Counting, collate: Callable[..., Any]) -> Callable[..., Any]:
    on_host = found.within(HOST, collate)

    def run(rows: list[Any]) -> Any:
        batch = on_host(rows)
        found.counts.copies += len(batch)
        return batch

    return run


def counts_of_plain(options: Options, rows: EncodedRows) -> Counts:
    """Count a plain step, with the optimizer that torch takes on a GPU."""
    with counting() as found, ExitStack() as stack:
        for owner, name, part in (
            (torch.optim.AdamW, "step", "optimizer"),
            (BertModel, "forward", "teacher and student"),
            (torch.Tensor, "backward", "backward"),
        ):
            stack.enter_context(patch.object(owner, name, found.within(part, getattr(owner, name))))
        step = step_of(options, rows, ROWS, LENGTH, matches_layers=True, foreach=True)
        step()
        found.restart()
        step()
    # Its count of steps is on the host on a GPU too.
    kept = {key: number for key, number in found.counts.waits.items() if key[0] != "optimizer"}
    return replace(found.counts, waits=Counter(kept))


def _result(options: Options, case: str, counts: Counts) -> Result:
    more: dict[str, Any] = {"kernels": sum(counts.kernels.values())}
    more |= {"waits": sum(counts.waits.values()), "copies to the device": counts.copies}
    more |= counts.by_part if len(counts.by_part) > 1 else {}
    return Result("step_kernels", f"{options.shapes} {case}", 0.0, more=more)


def _shapes(name: str, rows: Rows) -> Result:
    """Count the shapes of an epoch's batches by how rows go together and are padded."""
    multiple = LENGTH_MULTIPLE["cuda"]
    more: dict[str, Any] = {}
    for case, step in (("", 1), (f", multiples of {multiple}", multiple)):
        by_tokens = TokenBatches(rows.lengths, BATCH_SIZE, 0, multiple=step)
        for kind, batches in (
            ("by tokens", by_tokens),
            ("by rows", RowBatches(len(rows), BATCH_SIZE, 0)),
        ):
            padded = [(len(of), -(-int(rows.lengths[of].max()) // step) * step) for of in batches]
            more[kind + case] = len(set(padded))
            tokens = sum(size * length for size, length in padded)
            more[f"{kind + case}: real tokens"] = int(rows.lengths.sum()) / tokens
    return Result("step_kernels", f"{name} shapes of an epoch", 0.0, more=more)


def _calling(options: Options, rows: EncodedRows) -> list[Result]:
    """Measure the processor's least time for a step, with torch's own dropout, as on a GPU."""
    thin = replace(options, shapes="thin")
    teacher = Teacher(shapes.encoder(shapes.configs("thin")[0]))
    ours, plain = list[float](), list[float]()
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder, patch(DROPOUT, OwnDropout):
            model = shapes.layer_student("thin", teacher)
            trainer = _trainer(model, rows, None, options.steps, Path(folder))
            ends = _Ends(time.process_time)
            trainer.add_callback(ends)
            trainer.train()
        ours += [end - start for start, end in pairwise(ends.found[:-1])]
        step = step_of(thin, rows, ROWS, LENGTH, matches_layers=True)
        for _ in range(options.steps):
            started = time.process_time()
            step()
            plain.append(time.process_time() - started)
    more = {"times faster than plain": min(plain) / min(ours)}
    return [
        Result("step_kernels", "thin a step's calls", min(ours), more=more),
        Result("step_kernels", "thin a plain step's calls", min(plain)),
    ]
