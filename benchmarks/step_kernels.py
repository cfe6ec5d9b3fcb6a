"""What a step of intermediate distillation asks of a GPU, counted on a CPU; see `kernels`."""

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from transformers import TrainerCallback

from benchmarks import shapes
from benchmarks.kernels import Counting, Counts, counting
from tinybert.core.settings.schedule import Schedule
from tinybert.distillation.teacher import Teacher
from tinybert.training.phase_trainer import PhaseTrainer
from tinybert.training.run import Run

STEPS = 3  # the last one counts: the optimizer has its state, autocast its casts
LOSSES = ("attention_loss", "hidden_loss", "embedding_loss")


class _Steps(TrainerCallback):  # type: ignore[misc]
    def __init__(self, counting: Counting) -> None:
        self.counting, self.steps = counting, []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.steps.append(self.counting.restart())


def counts_of_ours(model, rows, dtype, batch_size=32, batches="tokens") -> Counts:
    schedule = Schedule(
        num_epochs=1e6,
        max_steps=STEPS + 1,
        batch_size=batch_size,
        batches=batches,
        learning_rate=1e-4,
        warmup_ratio=0.1,
        weight_decay=0.01,
    )
    with tempfile.TemporaryDirectory() as folder, counting() as found:
        run = Run("benchmark", Path(folder), 0, dtype, log_steps=1000)
        trainer = PhaseTrainer(model, rows, 0, schedule, run, None)
        trainer.args.save_strategy = "no"
        trainer.args.logging_steps = 1000
        trainer.state.logging_steps = 1000
        steps = _Steps(found)
        trainer.add_callback(steps)
        trainer.accelerator.backward = found.counted("backward", trainer.accelerator.backward)
        trainer._clip_grad_norm = found.counted("clipping", trainer._clip_grad_norm)
        trainer.data_collator = found.counted("batch", trainer.data_collator)
        make = trainer.create_optimizer

        def create(*a, **k):
            o = make(*a, **k)
            o.step = found.counted("optimizer", o.step) if not hasattr(o.step, "_c") else o.step
            return o

        trainer.create_optimizer = create
        with ExitStack() as stack:
            p = lambda where, part: stack.enter_context(
                patch(where, found.counted(part, _get(where)))
            )
            p("tinybert.distillation.distillation.read_signals", "student")
            p("tinybert.distillation.teacher.read_signals", "teacher")
            for l in LOSSES:
                p("tinybert.distillation.terms." + l, l)
            p("tinybert.distillation.terms.layer_terms", "other layer terms")
            p("tinybert.distillation.distillation.layer_terms", "other layer terms")
            p("tinybert.distillation.distillation.Distillation._shares", "share")
            trainer.train()
    return steps.steps[-2]


def _get(where):
    from pkgutil import resolve_name

    return resolve_name(where)


if __name__ == "__main__":
    import sys

    from tests.fixtures.training import rows_of

    shapes.SHAPES["thin"] = (
        {"num_hidden_layers": 12, "hidden_size": 24, "intermediate_size": 48},
        {"num_hidden_layers": 4, "hidden_size": 12, "intermediate_size": 24},
    )
    dtype = torch.bfloat16 if "bf16" in sys.argv else None
    t = Teacher(shapes.encoder(shapes.configs("thin")[0]), dtype)
    c = counts_of_ours(shapes.layer_student("thin", t), rows_of(320), dtype)
    print(c.by_part, sum(c.kernels.values()))
    print(c.waits)
    print(c.copies)
    if "-v" in sys.argv:
        for k, v in sorted(c.kernels.items(), key=lambda kv: (kv[0][0], -kv[1])):
            print(v, k)
