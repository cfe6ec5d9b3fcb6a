"""What training will take, before anything is there: steps of random models on rows like the real.

Rows are the real ones where they are there; else random tokens, as many as a row may have.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import BertForSequenceClassification, PreTrainedModel

from tinybert.batching import epoch_batches
from tinybert.checkpoints import load_tokenizer
from tinybert.distillation import TRANSFORMER_TERMS, Distillation, Weights
from tinybert.doctor import pace, room
from tinybert.encoded import Blocks, EncodedRows, Rows
from tinybert.evaluation import encode_split
from tinybert.layer_map import teacher_layers
from tinybert.precision import computing_device
from tinybert.schedule import Run, Schedule
from tinybert.student import make_student, student_config
from tinybert.systems import SystemFile
from tinybert.tasks import TRAIN, TaskFile, read_split
from tinybert.teacher import Teacher

SAMPLE_ROWS = 512  # encoded, or made up
LARGEST_BATCH = 32  # that is measured; larger ones take as much more time and memory


class Sample(NamedTuple):
    """Rows to measure on.

    Attributes:
        rows: Some.
        num_rows: How many there will be; None where that is not known yet.
    """

    rows: Rows
    num_rows: int | None


class Forecast(NamedTuple):
    """What one stage will take.

    Attributes:
        stage: Its name and arguments.
        steps: Optimizer steps; None where the number of rows is not known yet.
        seconds_per_step: Of one.
        seconds: Of all.
        memory: Bytes at the most; None where the system does not say.
        disk: Bytes at the most.
    """

    stage: str
    steps: int | None
    seconds_per_step: float
    seconds: float | None
    memory: int | None
    disk: int


def corpus_sample(corpus: Path, block_length: int, vocabulary: int) -> Sample:
    """Return the corpus's blocks, or made-up ones."""
    if corpus.is_dir():
        blocks = Blocks(corpus)
        return Sample(blocks, len(blocks))
    return Sample(random_rows(block_length, vocabulary), None)


def task_sample(
    name: str, task: TaskFile, tokenizer_folder: Path, copies: tuple[int, int | None], size: int
) -> Sample:
    """Return some rows of a task, and how many its augmented set has or will have.

    Args:
        name: The task's.
        task: Its file.
        tokenizer_folder: Whose tokens are counted.
        copies: The profile's augment.num_copies and augment.max_rows.
        size: Of the vocabulary, for made-up rows.
    """
    for folder, made in ((Path("data/augmented") / name, True), (Path("data/tasks") / name, False)):
        if folder.is_dir():
            frame = read_split(folder, TRAIN)
            few = frame.sample(min(SAMPLE_ROWS, len(frame)), random_state=0)
            rows = encode_split(few, load_tokenizer(tokenizer_folder), task.max_length)
            return Sample(rows, len(frame) if made else augmented(len(frame), *copies))
    count = None if task.rows is None else augmented(task.rows.train, *copies)
    return Sample(random_rows(task.max_length, size), count)


def augmented(num_rows: int, num_copies: int, max_rows: int | None) -> int:
    """Return how many rows the augmented set has, but for duplicates."""
    return num_rows + min(num_rows, max_rows or num_rows) * num_copies


def random_rows(length: int, vocabulary: int) -> EncodedRows:
    """Return rows of random tokens, as long as may be."""
    rng = np.random.default_rng(0)
    ids = rng.integers(vocabulary // 2, vocabulary, SAMPLE_ROWS * length).astype(np.int32)
    ends = np.arange(1, SAMPLE_ROWS + 1, dtype=np.int64) * length
    return EncodedRows(ids, ends, np.full(SAMPLE_ROWS, length, np.int32), {})


def layer_model(system: SystemFile, teacher: Teacher, weights: Weights) -> Distillation | None:
    """Return a random student beside its teacher; None where no layers are matched."""
    matched = {term: weight for term, weight in weights.items() if term in TRANSFORMER_TERMS}
    if not matched:
        return None
    student = make_student(system.shape, "random", teacher.model, 0)
    num_layers = (system.shape.num_hidden_layers, teacher.config.num_hidden_layers)
    layers = teacher_layers(system.layer_map, *num_layers)
    return Distillation(student, matched, teacher, layers, system.projection)


def output_model(system: SystemFile, teacher: PreTrainedModel) -> Distillation:
    """Return a random classifier of the student's shape."""
    config = student_config(system.shape, teacher.config)
    config.num_labels = 2
    return Distillation(BertForSequenceClassification(config), {"label": 1.0})


def forecast(
    model: Distillation, sample: Sample, schedules: Sequence[Schedule], run: Run, selects: bool
) -> Forecast:
    """Measure a stage's step and count its steps.

    Args:
        model: Like the one that will be trained.
        sample: Rows to measure on.
        schedules: Of the grid, or one.
        run: The stage, number format and seed.
        selects: Whether the best epoch is kept.
    """
    rows: Any = sample.rows
    if selects and isinstance(rows, EncodedRows):
        rows = rows.with_targets(labels=np.zeros(len(rows), np.int64))
    pad, device = model.student.config.pad_token_id or 0, computing_device()
    small = min(LARGEST_BATCH, schedules[0].batch_size, len(rows))
    before = room.resident() if device.type == "cpu" else 0
    tried = schedules[0].model_copy(update={"batch_size": small})
    measured = pace.measure_steps(model, rows, pad, tried, run)
    memory = measured.peak_bytes
    times = max(schedule.batch_size for schedule in schedules) / small
    if memory is not None and before is not None:
        memory = round(before + (memory - before) * times)
    steps = [_num_steps(schedule, sample, run.seed) for schedule in schedules]
    known = [number for number in steps if number is not None]
    per_row = measured.seconds_per_step / small
    seconds = sum(n * s.batch_size * per_row for n, s in zip(known, schedules, strict=False))
    trained = sum(each.numel() for each in model.parameters())
    whole = len(known) == len(schedules)
    return Forecast(
        run.phase,
        sum(known) if whole else None,
        per_row * schedules[0].batch_size,
        seconds if whole else None,
        memory,
        room.checkpoint_bytes(trained, len(schedules), selects),
    )


def _num_steps(schedule: Schedule, sample: Sample, seed: int) -> int | None:
    if sample.num_rows is None:
        return schedule.max_steps
    batches = epoch_batches(sample.rows, schedule.batch_size, schedule.batches, seed)
    return schedule.num_steps(max(1, round(len(batches) * sample.num_rows / len(sample.rows))))
