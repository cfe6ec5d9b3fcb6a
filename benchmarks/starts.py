"""What a student is worth by where it starts: dev scores by start, general steps and task steps.

python -m benchmarks.starts [--tasks A,B] [--seeds 42,43] [--steps 0,100,500] [--general 0,400]
    [--starts random,embeddings,general,task,copied] [--system NAME] [--precision fp32]
    [--table FILE...] [--show]

`copied` takes layers g(m) of the pretrained teacher, where the student is as wide. By default it is
left out: closed_form_mini is not.

Runs in a workspace whose corpus, teachers and rows are made (`dvc repro finetune_teacher augment`).
A cell that the table's file has is not computed again, so a run that was stopped goes on; several
processes may run side by side, of other seeds or tasks. Of a system its shape, layer map and rates
are taken. Task steps are three fifths intermediate ones, of attention, hidden states and
embeddings, then the head in closed form, then prediction steps: as closed_form_mini.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import PreTrainedModel

from benchmarks.shapes import LAYER_WEIGHTS
from benchmarks.table import Table, make_parser, numbers
from tinybert.closed_form.fit import EncoderFit
from tinybert.closed_form.head import HeadTargets, fit_head
from tinybert.closed_form.start import choose_head_targets, choose_rows, fit_student
from tinybert.distillation.distillation import Distillation
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import with_logits
from tinybert.distillation.teacher_states import use_stored_states
from tinybert.encoders.checkpoints import load_encoder, load_tokenizer
from tinybert.encoders.classifier import new_classifier, task_classifier
from tinybert.encoders.student import make_student
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.precision import autocast_dtype, computing_device
from tinybert.settings.choices import CLOSED_FORM_TOKENS, Kind
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.names import split_names
from tinybert.settings.reader import read_param, read_section, read_system, read_task
from tinybert.settings.schedule import Grid, Schedule
from tinybert.settings.systems import (
    Initialisation,
    LayerPhase,
    OutputPhase,
    Shape,
    TeacherLayers,
)
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.phase_rows import read_rows, without_sampled
from tinybert.tasks.task import read_named_info
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import Blocks, EncodedRows
from tinybert.training.grid import dev_scores, dev_split
from tinybert.training.run import Run
from tinybert.training.sections import GeneralDistillSettings, IntermediateDistillSettings
from tinybert.training.training import train

STARTS = ("random", "embeddings", "general", "task")
COPIED = "copied"
INTERMEDIATE_SHARE = 0.6  # of the task steps
MAX_GIGABYTES = 20.0  # of the teacher's states
EPOCHS = 1e6  # at most: steps alone end a phase


class Cell(NamedTuple):
    """One training.

    Attributes:
        task: Its name.
        seed: Of everything.
        start: One of STARTS, or COPIED.
        general: General steps.
        steps: Task steps.
    """

    task: str
    seed: int
    start: str
    general: int
    steps: int


class Begun(NamedTuple):
    """A classifier before any task step.

    Attributes:
        student: The classifier.
        projections: Its W_e and W_h.
        head: What its head was fitted to.
    """

    student: PreTrainedModel
    projections: Projections
    head: HeadTargets


class Bench:
    """What the cells of a system share.

    Args:
        system: A file of params/systems.
        folder: For checkpoints and the teachers' states; removed by the caller.
        shape: Another one than the system's.
        dtype: What training is autocast to.
    """

    def __init__(
        self,
        system: str,
        folder: Path,
        shape: Shape | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.folder, self.dtype = folder, dtype
        self.shape = shape or read_system(system, "shape", Shape)
        self.intermediate = read_system(system, "intermediate_distill", LayerPhase)
        self.prediction = read_system(system, "prediction_distill", OutputPhase)
        self.pretrained = load_encoder(Path("models/pretrained"))
        self.layers = teacher_layers(
            read_system(system, "layer_map", LayerMap),
            self.shape.num_hidden_layers,
            self.pretrained.config.num_hidden_layers,
        )
        self.blocks = Blocks(Path("data/corpus"))
        self.encoders: dict[tuple[str, int, int], tuple[PreTrainedModel, Projections]] = {}

    def encoder(self, start: str, seed: int, general: int) -> tuple[PreTrainedModel, Projections]:
        """Return a start that no task has been seen by, after general distillation."""
        key = (start, seed, general)
        if key not in self.encoders:
            copied = TeacherLayers(teacher_layers=self.layers)
            by: Initialisation = copied if start == COPIED else "random"
            student = make_student(self.shape, by, self.pretrained, seed)
            widths = (self.shape.hidden_size, self.pretrained.config.hidden_size)
            found = Projections(len(self.layers), *widths, kind="per_layer")
            if start == COPIED:
                for matrix in found.parameters():
                    nn.init.eye_(matrix)
            device = computing_device()
            self.pretrained.to(device)
            if start == "general":
                fit_student(student, self.pretrained, self.blocks, self.layers, seed, found)
            if start == "embeddings":
                student.to(device)
                rows = choose_rows(self.blocks, CLOSED_FORM_TOKENS, seed)
                fit = EncoderFit(student, self.pretrained.eval(), rows, self.layers, seed)
                fit.fit_embeddings()
            if general:
                settings = read_section("general_distill", GeneralDistillSettings)
                schedule = settings.model_copy(update={"max_steps": general, "num_epochs": EPOCHS})
                teacher = Teacher(self.pretrained, None)
                self.match_layers(student, found, teacher, self.blocks, schedule, seed)
            self.encoders[key] = student.cpu(), found.cpu()
        return self.encoders[key]

    def layer_schedule(self, steps: int) -> Schedule:
        """Return so many intermediate steps at the system's learning rate."""
        settings = read_section("intermediate_distill", IntermediateDistillSettings)
        return self.intermediate.schedule(settings, 1.0).model_copy(
            update={"max_steps": steps, "num_epochs": EPOCHS}
        )

    def output_schedule(self, steps: int) -> Schedule:
        """Return so many prediction steps at the system's first learning rate."""
        settings = read_section("prediction_distill", Grid)
        first = self.prediction.grid(settings).schedules()[0]
        return first.model_copy(update={"max_steps": steps, "num_epochs": EPOCHS})

    def match_layers(
        self,
        encoder: PreTrainedModel,
        found: Projections,
        teacher: Any,
        rows: Any,
        schedule: Schedule,
        seed: int,
    ) -> None:
        """Train an encoder, in place, to match the teacher's layers, from projections found."""
        model = Distillation(encoder, LAYER_WEIGHTS, teacher, self.layers)
        assert model.projections is not None
        model.projections.load_state_dict(found.state_dict())
        self.run(model, rows, schedule, seed)
        found.load_state_dict(model.projections.state_dict())

    def distil(
        self, begun: Begun, teacher: Any, rows: Any, scored: Any, kind: Kind, steps: int, seed: int
    ) -> None:
        """Train a classifier, in place: layers, the head in closed form, predictions.

        Args:
            begun: The classifier, its projections, and what its head is fitted to.
            teacher: What gives the layers of `rows`.
            rows: What the layers are trained on.
            scored: The same with the teacher's logits.
            kind: Of the task.
            steps: Of both phases; at least 1.
            seed: Of both.
        """
        of_layers, student = round(INTERMEDIATE_SHARE * steps), begun.student
        if of_layers:
            schedule = self.layer_schedule(of_layers)
            self.match_layers(student.base_model, begun.projections, teacher, rows, schedule, seed)
        fit_head(student.eval(), begun.head, seed)
        if steps > of_layers:
            matching = Distillation(student, {"prediction": 1.0}, kind=kind)
            self.run(matching, scored, self.output_schedule(steps - of_layers), seed)

    def run(self, model: Distillation, rows: Any, schedule: Schedule, seed: int) -> None:
        """Train a model, without a checkpoint to go on from."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            how = Run("starts", Path(folder), seed, self.dtype, save_steps=10**9)
            train(model, rows, 0, schedule, how)


class TaskBench:
    """What the cells of a task share: its teacher's pass over the rows.

    Args:
        bench: The system's.
        task: The task's name.
        max_rows: The first so many rows of train; None: all.
        max_gigabytes: Of the teacher's states on disk; 0: it runs in every step.
        states: Where states of all layers are kept, which `of` shares; None: of the system's.
    """

    def __init__(
        self,
        bench: Bench,
        task: str,
        max_rows: int | None = None,
        max_gigabytes: float = MAX_GIGABYTES,
        states: Path | None = None,
    ) -> None:
        self.bench, self.task, self.max_gigabytes = bench, task, max_gigabytes
        self.states = states
        task_folder, teacher_folder = Path("data/tasks") / task, Path("models/teacher") / task
        self.info = read_named_info(task_folder, task)
        self.encoding = encoding = read_task(task, TaskFile).encoding(self.info)
        self.tokenizer = load_tokenizer(teacher_folder)
        self.teacher = task_classifier(teacher_folder, self.info).to(computing_device()).eval()
        frame = read_rows(None, task_folder, Path("data/augmented") / task, self.info)
        self.frame = frame[:max_rows]
        self.rows = encode_split(self.frame, self.tokenizer, encoding)
        self.num_own = len(without_sampled(frame, self.info)[:max_rows])
        self.own_rows = self.rows.first_texts(self.num_own)  # what a start is fitted to
        self.dev = dev_split(task_folder, self.tokenizer, encoding, self.info)
        self.begun: dict[tuple[str, int, int], Begun] = {}
        self.heads: dict[int, HeadTargets] = {}  # by seed

    def of(self, bench: Bench) -> "TaskBench":
        """Return the same of another system, with the teacher's pass shared."""
        other = copy.copy(self)
        other.logits = self.logits
        other.bench, other.begun = bench, {}
        if self.states is not None:
            other.signals = self.signals
        else:
            other.__dict__.pop("signals", None)
        return other

    @cached_property
    def signals(self) -> tuple[Any, EncodedRows]:
        """What gives the teacher's layers, and the rows for it."""
        layers, folder = self.bench.layers, self.bench.folder / "states" / self.task
        if self.states is not None:
            layers, folder = [*range(1, self.teacher.config.num_hidden_layers + 1)], self.states
        signals, rows, _ = use_stored_states(
            Teacher(copy.deepcopy(self.teacher), self.bench.dtype),
            self.rows,
            layers,
            [0, *layers],
            99.0,
            self.max_gigabytes,
            folder,
        )
        return signals, rows

    @cached_property
    def logits(self) -> NDArray[np.float32]:
        """The teacher's logits of all rows."""
        return predict_logits(self.teacher, self.rows, None)

    def begin(self, start: str, seed: int, general: int) -> Begun:
        """Return a classifier before any task step, with a head in closed form."""
        bench, key = self.bench, (start, seed, general)
        if key in self.begun:
            return self.begun[key]
        encoder, found = bench.encoder("random" if start == "task" else start, seed, general)
        folder = bench.folder / "encoder"
        encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        student, found = new_classifier(folder, self.info, seed), copy.deepcopy(found)
        student.to(self.teacher.device).eval()
        if start == "task":
            known = self.heads.get(seed)
            fitted = student, self.teacher, self.own_rows, bench.layers, seed, found
            fit = fit_student(*fitted, head=known)
            assert fit.head is not None
            self.heads[seed] = fit.head
        else:
            if seed not in self.heads:
                self.heads[seed] = choose_head_targets(self.teacher, self.own_rows, seed)
            fit_head(student, self.heads[seed], seed)
        self.begun[key] = Begun(student, found, self.heads[seed])
        return self.begun[key]

    def score(self, cell: Cell) -> float:
        """Train as a cell says; return the score on dev."""
        begun = self.begin(cell.start, cell.seed, cell.general)
        student, found = copy.deepcopy(begun.student), copy.deepcopy(begun.projections)
        if cell.steps:
            own = Begun(student, found, begun.head)
            scored = with_logits(self.rows, self.logits, Path(self.task))
            teacher, rows = self.signals
            kind, steps = self.info.kind, cell.steps
            self.bench.distil(own, teacher, rows, scored, kind, steps, cell.seed)
        return next(iter(dev_scores(student.eval(), self.dev, None)().values()))


def asked(given: argparse.Namespace) -> Iterator[Cell]:
    """Yield the cells asked for, those that share most one after the other."""
    tasks, starts = split_names(given.tasks), split_names(given.starts)
    for of in product(tasks, given.seeds, starts, given.general, given.steps):
        cell = Cell(*of)
        if cell.start != "task" or not cell.general:  # the task's fit replaces the general student
            yield cell


def mean_and_deviation(scores: "pd.Series[float]") -> str:
    """Return the mean of scores as text, with their standard deviation where there are several."""
    return f"{scores.mean():.1f}" + (f" ± {scores.std():.1f}" if len(scores) > 1 else "")


def show(found: pd.DataFrame) -> str:
    """Return means over seeds, and their standard deviations, as text."""
    keys = ["start", "general", "steps"]
    groups = found.assign(score=100 * found["score"]).groupby(["task", *keys])["score"]
    cells = groups.agg(mean_and_deviation)
    return str(cells.unstack("task").reset_index().to_markdown(index=False))


def main(arguments: Sequence[str]) -> None:
    """Compute the cells that the table lacks, and show it.

    Raises:
        InputError: A start is unknown, or the workspace lacks what is needed.
    """
    parser = make_parser("starts")
    parser.add_argument("--tasks", default=",".join(read_param("tasks", list[str])))
    parser.add_argument("--seeds", type=numbers, default="42,43,44")
    parser.add_argument("--starts", default=",".join(STARTS))
    parser.add_argument("--general", type=numbers, default="0,400")
    parser.add_argument("--steps", type=numbers, default="0,100,500,2000")
    given = parser.parse_args(arguments)
    known = (*STARTS, COPIED)
    unknown = sorted(set(split_names(given.starts)) - set(known))
    if unknown:
        raise InputError(f"--starts: unknown, got {unknown[0]}; known: {', '.join(known)}")
    table = Table(Cell._fields, given)
    if wanted := table.missing(asked(given)):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(given.system, Path(folder), dtype=autocast_dtype(given.precision))
            for task, cells in groupby(wanted, key=lambda cell: cell.task):
                of = TaskBench(bench, task)
                for cell in cells:
                    table.add(cell, score=of.score(cell))
    print(show(table.found()))


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
