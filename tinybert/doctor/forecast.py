"""What training will take, before anything is there: steps of random models on rows like the real.

Rows are the real ones where they are there; else random tokens, as many as a row may have.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)

from tinybert.distillation.distillation import Distillation, Weights, matched_weights
from tinybert.distillation.pretraining import Pretraining
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.terms import reads_teacher
from tinybert.doctor import pace, room
from tinybert.encoders.checkpoints import load_tokenizer
from tinybert.encoders.student import make_student, student_config
from tinybert.runtime.precision import computing_device
from tinybert.settings.choices import PhaseData
from tinybert.settings.layer_map import teacher_layers
from tinybert.settings.schedule import Schedule
from tinybert.settings.systems import GeneralPhase, LayerPhase, SystemFile
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.phase_rows import WITH_COPIES, WITH_UNLABELLED
from tinybert.tasks.task import TRAIN, read_info, read_split
from tinybert.tasks.task_file import TaskFile
from tinybert.text.batching import epoch_batches
from tinybert.text.encoded import Blocks, EncodedRows, Rows
from tinybert.training.run import Run

SAMPLE_ROWS = 512  # encoded, or made up
LARGEST_BATCH = 32  # that is measured; larger ones take as much more time and memory


class Sample(NamedTuple):
    """Rows to measure on.

    Attributes:
        rows: Some.
        num_rows: How many there will be; None where that is not known yet. Of a task, how many
            its augmented set has.
        num_original: Of a task, its rows before augmentation.
        num_unlabelled: Of a task, its rows without labels.
    """

    rows: Rows
    num_rows: int | None
    num_original: int | None = None
    num_unlabelled: int | None = 0


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
    if (corpus / "seconds.npy").is_file():
        blocks = Blocks(corpus, seconds=True)
        return Sample(blocks, len(blocks))
    rows = random_rows(block_length, vocabulary)
    return Sample(rows.with_targets(second=np.full(len(rows), -1, np.int8)), None)


def task_sample(
    name: str,
    task: TaskFile,
    tokenizer_folder: Path,
    copies: tuple[int, int | None],
    size: int,
    sampled_pairs: int,
) -> Sample:
    """Return some rows of a task, and how many its augmented set has or will have.

    Args:
        name: The task's.
        task: Its file.
        tokenizer_folder: Whose tokens are counted.
        copies: The profile's augment.num_copies and augment.max_rows.
        size: Of the vocabulary, for made-up rows.
        sampled_pairs: The profile's prepare_task.sampled_pairs.
    """
    prepared = Path("data/tasks") / name
    counts = _counts(task, prepared, sampled_pairs)
    for folder in (Path("data/augmented") / name, prepared):
        if folder.is_dir():
            frame = read_split(folder, TRAIN)
            few = frame.sample(min(SAMPLE_ROWS, len(frame)), random_state=0)
            encoding = task.encoding(read_info(prepared))
            rows = encode_split(few, load_tokenizer(tokenizer_folder), encoding)
            made = folder != prepared
            return Sample(rows, len(frame) if made else augmented(len(frame), *copies), *counts)
    count = None if task.rows is None else augmented(task.rows.train, *copies)
    return Sample(random_rows(task.max_length, size), count, *counts)


def _counts(task: TaskFile, prepared: Path, sampled_pairs: int) -> tuple[int | None, int | None]:
    """Return the numbers of original and of unlabelled rows; None where not known yet."""
    if (prepared / "task.json").is_file():
        info = read_info(prepared)
        return info.num_rows[TRAIN], info.num_unlabelled
    unknown = task.unlabelled is not None or task.samples_pairs(sampled_pairs)
    further = task.rows.unlabelled if task.rows else 0
    return task.rows.train if task.rows else None, None if unknown else further


def of_phase(
    sample: Sample,
    data: PhaseData,
    max_rows: int | None = None,
    max_unlabelled_rows: int | None = None,
) -> Sample:
    """Return a task's sample with as many rows as a phase trains on.

    Args:
        sample: Of `task_sample`.
        data: What the phase trains on.
        max_rows: Of the augmented set; None: all.
        max_unlabelled_rows: Of the unlabelled rows; None: all.
    """
    labelled = sample.num_original
    if data in WITH_COPIES:
        labelled = _at_most(sample.num_rows, max_rows)
    further = _at_most(sample.num_unlabelled, max_unlabelled_rows)
    if data not in WITH_UNLABELLED:
        further = 0
    known = labelled is not None and further is not None
    return sample._replace(num_rows=(labelled or 0) + (further or 0) if known else None)


def _at_most(count: int | None, limit: int | None) -> int | None:
    return count if count is None or limit is None else min(count, limit)


def augmented(num_rows: int, num_copies: int, max_rows: int | None) -> int:
    """Return how many rows the augmented set has, but for duplicates."""
    return num_rows + min(num_rows, max_rows or num_rows) * num_copies


def random_rows(length: int, vocabulary: int) -> EncodedRows:
    """Return rows of random tokens, as long as may be."""
    rng = np.random.default_rng(0)
    ids = rng.integers(vocabulary // 2, vocabulary, SAMPLE_ROWS * length).astype(np.int32)
    ends = np.arange(1, SAMPLE_ROWS + 1, dtype=np.int64) * length
    return EncodedRows(ids, ends, np.full(SAMPLE_ROWS, length, np.int32), {})


def layer_model(
    system: SystemFile,
    config: PreTrainedConfig,
    tokenizer: Any,
    phase: GeneralPhase | LayerPhase,
    weights: Weights,
    dtype: torch.dtype | None,
) -> Distillation | None:
    """Return a random student beside a random teacher of the real one's size.

    Args:
        system: The student's file.
        config: The teacher's configuration.
        tokenizer: The teacher's.
        phase: General or intermediate distillation.
        weights: Its terms; none: there is nothing to train, and nothing is returned.
        dtype: The teacher's.
    """
    if not weights:
        return None
    whole = cast(PreTrainedModel, AutoModelForMaskedLM.from_config(config))
    student = make_student(system.shape, "random", whole.base_model, 0)
    pretraining = None
    if isinstance(phase, GeneralPhase) and phase.hides_words:
        pretraining = Pretraining(
            student, tokenizer, weights, whole, phase.temperature, phase.mlm_kl_at
        )
    return Distillation(
        student,
        matched_weights(weights, whole.base_model),
        Teacher(whole.base_model, dtype) if reads_teacher(weights) else None,
        _layers(system, config),
        system.projection,
        average_heads=phase.heads == "mean",
        pretraining=pretraining,
        relation=phase.relation(config.num_hidden_layers),
    )


def teacher_model(config: PreTrainedConfig) -> Distillation:
    """Return a random classifier of the teacher's size, as its fine-tuning trains one."""
    model = cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(config))
    return Distillation(model, {"label": 1.0})


def output_model(
    system: SystemFile, config: PreTrainedConfig, dtype: torch.dtype | None
) -> Distillation | None:
    """Return a random classifier of the student's shape; None where nothing is trained.

    Args:
        system: The student's file.
        config: The teacher's configuration.
        dtype: The teacher's.
    """
    terms = system.prediction_distill.terms
    if not terms:
        return None
    own = student_config(system.shape, config)
    own.num_labels = 2
    student = cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(own))
    if "patient" not in terms:
        return Distillation(student, {"label": 1.0})
    whole = cast(PreTrainedModel, AutoModelForSequenceClassification.from_config(config))
    weights: Weights = {"label": 1.0, "patient": 1.0}
    return Distillation(student, weights, Teacher(whole, dtype), _layers(system, config))


def _layers(system: SystemFile, config: PreTrainedConfig) -> list[int]:
    num_layers = (system.shape.num_hidden_layers, config.num_hidden_layers)
    return teacher_layers(system.layer_map, *num_layers)


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
        rows = rows.part(0, len(rows)).with_targets(labels=np.zeros(len(rows), np.int64))
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
