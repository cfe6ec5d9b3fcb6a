"""Minutes until a student is as good as asked for: the authors' method, plainly written, and ours.

python -m benchmarks.time_to_quality --task TASK [--general 0,100,400] [--steps 0,100,500]
    [--seed 42] [--system NAME] [--table FILE...] [--show]

Runs in a workspace whose corpus and teachers are made. Each cell is a process of its own that
begins with nothing but a teacher: the general phase is judged by its loss on held-out text, the
task's by the score on dev. Of N steps for the task, the plain method takes N general, N/2
intermediate and N/2 prediction steps on the task's rows; ours fits in closed form and then trains N
steps as `benchmarks.starts` does, on as many rows as these steps see. Both take the profile's batch
sizes, in float32; the plain method its learning rates, ours the system's. A cell that the table has
is not computed again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import torch
from transformers import PreTrainedModel

from benchmarks.machine import peak_gigabytes
from benchmarks.plain_method import PlainLayers, PlainPrediction, train_plainly
from benchmarks.shapes import LAYER_WEIGHTS
from benchmarks.starts import Bench, Cell, TaskBench
from benchmarks.table import Table, make_parser, numbers
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher import Teacher
from tinybert.encoders.classifier import new_classifier, task_classifier
from tinybert.encoders.student import make_student
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.settings.reader import read_section, read_task
from tinybert.settings.schedule import Grid
from tinybert.tasks.task_file import TaskFile
from tinybert.text.batching import collate
from tinybert.text.encoded import Blocks
from tinybert.training.grid import dev_scores
from tinybert.training.sections import GeneralDistillSettings, IntermediateDistillSettings

HELD_OUT, AT_ONCE = 64, 16  # blocks
FITTED = 8000  # rows at least that ours reads: a closed form wants them
DROPOUT = 0.1  # of the plain method's student

Method = Literal["plain", "ours"]
Phase = Literal["general", "task"]


class Try(NamedTuple):
    """A training from nothing.

    Attributes:
        task: Its name.
        seed: Of everything.
        phase: What is judged.
        method: Whose.
        steps: General ones; of a task see above.
    """

    task: str
    seed: int
    phase: Phase
    method: Method
    steps: int


def held_out_loss(
    student: PreTrainedModel, projections: Projections, teacher: PreTrainedModel, bench: Bench
) -> float:
    """Return the loss of layers on text that no training sees, averaged over its blocks."""
    model = Distillation(student, LAYER_WEIGHTS, Teacher(teacher), bench.layers)
    assert model.projections is not None
    model.projections.load_state_dict(projections.state_dict())
    rows, found = Blocks(Path("data/corpus"), stop=HELD_OUT), []
    with torch.no_grad():
        for start in range(0, len(rows), AT_ONCE):
            batch = collate([rows[row] for row in range(start, start + AT_ONCE)], 0)
            found.append(float(model.eval()(**batch)["loss"]))
    return sum(found) / len(found)


class Plain:
    """The plain method of a system's shape, with dropout as published.

    Args:
        bench: The system's, with the training blocks.
        seed: Of everything.
    """

    def __init__(self, bench: Bench, seed: int) -> None:
        self.bench, self.seed = bench, seed
        shape = bench.shape.model_copy(update={"dropout": DROPOUT})
        self.encoder = make_student(shape, "random", bench.pretrained, seed)

    def general(self, steps: int) -> Projections:
        """Train on the corpus; return W_e and W_h."""
        model = PlainLayers(self.encoder, self.bench.pretrained, self.bench.layers, True)
        settings = read_section("general_distill", GeneralDistillSettings)
        length = self.bench.blocks.blocks.shape[1]
        how = (steps, settings.learning_rate, length, settings.batch_size, self.seed)
        train_plainly(model, self.bench.blocks, *how)
        return model.projections

    def task(self, of: TaskBench, steps: int) -> PreTrainedModel:
        """Train in all three phases; return the student."""
        projections = self.general(steps)
        length = read_task(of.task, TaskFile).max_length
        teacher = task_classifier(Path("models/teacher") / of.task, of.info)
        layers = PlainLayers(self.encoder, teacher, self.bench.layers, False)
        layers.projections.load_state_dict(projections.state_dict())
        settings = read_section("intermediate_distill", IntermediateDistillSettings)
        how = (steps // 2, settings.learning_rate, length, settings.batch_size, self.seed)
        train_plainly(layers, of.rows, *how)
        folder = self.bench.folder / "plain"
        self.encoder.save_pretrained(folder)
        of.tokenizer.save_pretrained(folder)
        student = new_classifier(folder, of.info, self.seed)
        grid = read_section("prediction_distill", Grid)
        how = (steps // 2, grid.learning_rates[0], length, grid.batch_sizes[0], self.seed)
        train_plainly(PlainPrediction(student, teacher), of.rows, *how)
        return student


def run_general(of: Try, bench: Bench) -> tuple[float, float]:
    """Return the seconds of a general phase, and its loss on held-out text."""
    began = time.monotonic()
    if of.method == "plain":
        plain = Plain(bench, of.seed)
        student, projections = plain.encoder, plain.general(of.steps)
    else:
        student, projections = bench.encoder("general", of.seed, of.steps)
    seconds = time.monotonic() - began
    return seconds, held_out_loss(student, projections, bench.pretrained, bench)


def run_task(of: Try, bench: Bench) -> tuple[float, float]:
    """Return the seconds until a task's student is trained, and its score on dev."""
    batch_size = read_section("intermediate_distill", IntermediateDistillSettings).batch_size
    # No pass of the teacher over rows that no step sees, and no states kept that are read once.
    seen = max(FITTED, of.steps * batch_size) if of.method == "ours" else None
    task = TaskBench(bench, of.task, seen, max_gigabytes=0.0)
    began = time.monotonic()
    if of.method == "ours":
        score = task.score(Cell(of.task, of.seed, "task", 0, of.steps))
        return time.monotonic() - began, score  # the pass over dev counted too
    student = Plain(bench, of.seed).task(task, of.steps)
    seconds = time.monotonic() - began
    return seconds, next(iter(dev_scores(student.eval(), task.dev, None)().values()))


def run_here(of: Try, system: str) -> dict[str, float]:
    """Run one cell in this process; return what it took and gave."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(system, Path(folder))
        bench.blocks = Blocks(Path("data/corpus"), start=HELD_OUT)
        run = run_general if of.phase == "general" else run_task
        seconds, quality = run(of, bench)
    gigabytes = peak_gigabytes(torch.device("cpu"))
    return {"seconds": seconds, "quality": quality, "gigabytes": gigabytes}


def show(found: pd.DataFrame) -> str:
    """Return the cells, the quickest first."""
    shown = found.sort_values(["task", "phase", "method", "steps"])
    minutes = (shown["seconds"] / 60).round(2)
    return str(
        shown.assign(minutes=minutes).drop(columns="seconds").round(3).to_markdown(index=False)
    )


def main(arguments: Sequence[str]) -> None:
    """Compute the cells that the table lacks, each in its own process, and show them."""
    parser = make_parser("time_to_quality", precision=None)
    parser.add_argument("--task", required=True)
    parser.add_argument("--general", type=numbers, default="0,100,400")
    parser.add_argument("--steps", type=numbers, default="0,100,500")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.cell:
        print(json.dumps(run_here(Try(*json.loads(given.cell)), given.system)))
        return
    table = Table(Try._fields, given)
    for cell in table.missing(asked(given)):
        table.add(cell, **_in_its_own_process(cell, given))
    print(show(table.found()))


def asked(given: argparse.Namespace) -> list[Try]:
    """Return the cells asked for, the two methods in turn: machines are shared, and drift."""
    lists: dict[Phase, list[int]] = {"general": given.general, "task": given.steps}
    return [
        Try(given.task, given.seed, phase, method, steps)
        for phase, listed in lists.items()
        for steps in listed
        for method in ("plain", "ours")
        if method == "ours" or steps
    ]


def _in_its_own_process(cell: Try, given: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.time_to_quality", "--task", cell.task]
    command += ["--system", given.system, "--cell", json.dumps(cell)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"{cell}: ended with an error, got {done.returncode}; see above")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
