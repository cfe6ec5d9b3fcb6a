"""What stages ask at their start: is the teacher right, do both fit, will it fit, how long is it.

Each function prints its lines and refuses what is wrong; `TINYBERT_DOCTOR=warn` goes on with it,
`off` asks nothing.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from tinybert.augmentation.masked_words import require_whole_words
from tinybert.closed_form.start import require_tokens
from tinybert.distillation.distillation import Distillation, Weights, phase_weights
from tinybert.distillation.together import Together, log_of
from tinybert.doctor import first_losses, lengths, pace, room, unknown
from tinybert.doctor import fit as fitting
from tinybert.doctor import teacher as teachers
from tinybert.doctor.findings import Finding, as_findings, mode, report, right, wrong
from tinybert.encoders.checkpoints import load_config, load_tokenizer, require_mask
from tinybert.encoders.classifier import task_classifier
from tinybert.runtime.errors import InputError
from tinybert.runtime.precision import computing_device
from tinybert.runtime.processes import num_processes
from tinybert.settings.choices import Loss, Projection
from tinybert.settings.reader import read_param, read_section, read_system, read_task
from tinybert.settings.schedule import Schedule
from tinybert.settings.systems import LayerPhase, Relation, Shape
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.phase_rows import read_own_rows, require_every_class
from tinybert.tasks.task import DEV, TRAIN, Encoding, read_info, read_split
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import Rows
from tinybert.training.run import Run


def augmentation(place: str, pretrained: Path) -> None:
    """Look at whether a pretrained teacher can do what the profile's `augment` will ask of it.

    Args:
        place: The stage's name.
        pretrained: The teacher's folder.
    """
    if mode() != "off":
        num_copies = int(read_section("augment", dict[str, Any])["num_copies"])
        masked_lm = bool(read_section("fetch_teacher", dict[str, Any]).get("masked_lm", True))
        report(place, look_at_augmentation(pretrained, num_copies, masked_lm))


@as_findings
def look_at_augmentation(pretrained: Path, num_copies: int, masked_lm: bool) -> None:
    """Look at the same, for what is asked of the teacher."""
    tokenizer = load_tokenizer(pretrained)
    if num_copies:
        require_whole_words(tokenizer)
    if masked_lm:
        require_mask(tokenizer, pretrained)
    elif num_copies:
        raise InputError(
            f"augment.num_copies: copies need the masked-word model, got {num_copies} with "
            "fetch_teacher.masked_lm false; set it to true, or num_copies to 0"
        )


def teacher(
    place: str,
    folder: Path,
    task_folder: Path,
    task: TaskFile,
    dtype: torch.dtype | None,
    load: teachers.Load = task_classifier,
) -> None:
    """Look at a task's fine-tuned teacher, and at how many rows are cut off.

    Args:
        place: The stage's name and arguments.
        folder: The teacher's; where there is none, nothing is said.
        task_folder: The prepared task.
        task: The task's file.
        dtype: What passes are autocast to.
        load: Gives the teacher with its outputs in the task's order.
    """
    if mode() != "off" and folder.is_dir():
        report(place, look_at_teacher(folder, task_folder, task, dtype, load))


@as_findings
def look_at_teacher(
    folder: Path,
    task_folder: Path,
    task: TaskFile,
    dtype: torch.dtype | None,
    load: teachers.Load = task_classifier,
) -> list[Finding]:
    """Return what `teacher` reports."""
    info, tokenizer = read_info(task_folder), load_tokenizer(folder)
    config = load_config(folder)
    found = fitting.vocabulary_fits(tokenizer, config, str(folder))
    place = f"params/tasks/{info.name}.yaml: max_length"
    found += lengths.judge_positions(task.max_length, config, place)
    if not found:  # else the pass itself would fail
        seen = teachers.look_at(folder, task_folder, task.encoding(info), dtype, load)
        found += teachers.judge(seen, info, folder)
    if all(each.level != "wrong" for each in found):
        found.append(right("labels in order"))
        frame = read_split(task_folder, TRAIN)
        encoding = task.encoding(info)
        counted = lengths.lengths_of(frame, tokenizer, encoding)
        found.append(lengths.judge(counted, encoding, info.name))
        if info.kind == "span":
            found.append(lengths.judge_windows(frame, tokenizer, encoding, info.name))
    return found


def vocabulary(
    place: str, tokenizer: Any, trimmed: Any, task_folder: Path, encoding: Encoding
) -> None:
    """Say how much longer fewer pieces make a task's texts; arguments as of `lengths`."""
    if mode() != "off":
        splits = {name: read_split(task_folder, name) for name in (TRAIN, DEV)}
        judge = partial(lengths.judge_vocabulary, tokenizer=tokenizer, trimmed=trimmed)
        found = [judge(of, encoding=encoding, split=name) for name, of in splits.items()]
        report(place, found)


def text(place: str, tokenizer: Any, task_folder: Path, task: str) -> None:
    """Look at whether a task's text can be learnt, before the teacher spends hours on it."""
    if mode() != "off":
        report(place, unknown.judge(read_split(task_folder, TRAIN), tokenizer, task))
        fitted = {
            system: read_system(system, "shape", Shape)
            for system in read_param("systems", list[str])
            if read_system(system, "intermediate_distill", LayerPhase).start == "closed_form"
        }
        if fitted:  # the rows are read once, for the system that needs most of them
            system, shape = max(fitted.items(), key=lambda each: each[1].intermediate_size)
            encoding = read_task(task, TaskFile).encoding(read_info(task_folder))
            report(f"{place}: {system}", enough_rows(shape, task_folder, tokenizer, encoding))


@as_findings
def enough_rows(shape: Shape, task_folder: Path, tokenizer: Any, encoding: Encoding) -> None:
    """Look at whether a student can start in closed form from a task's rows.

    Args:
        shape: The student's.
        task_folder: The prepared task.
        tokenizer: The teacher's.
        encoding: Of the task.
    """
    info = read_info(task_folder)
    require_every_class(task_folder, info)
    own = read_own_rows(task_folder, info)
    if len(own) <= shape.intermediate_size:  # else there is a token for each column
        rows = encode_split(own, tokenizer, encoding)
        require_tokens(int(rows.lengths.sum()), shape.intermediate_size)


def passes(place: str, schedules: Sequence[Schedule], num_rows: int) -> None:
    """Look at whether a teacher's training reads all rows; arguments as of `judge_passes`."""
    if mode() != "off":
        report(place, pace.judge_passes(schedules, num_rows))


def fit(
    place: str,
    student: Any,
    teacher: Any,
    weights: Weights,
    layers: list[int],
    projection: Projection,
    average_heads: bool = False,
    relation: Relation | None = None,
) -> None:
    """Look at heads, layer map and widths; arguments as of `fit.fit`."""
    if mode() != "off":
        found = fitting.fit(student, teacher, weights, layers, projection, average_heads, relation)
        report(place, found)


def next_phase(place: str, system: str, teacher: PreTrainedModel) -> None:
    """Look at the relations of the phase that follows the general one, before that takes hours.

    Args:
        place: The general stage's name and argument.
        system: The student's.
        teacher: The pretrained one; nothing is said where a task names a teacher of its own.
    """
    if mode() == "off":
        return
    tasks = [read_task(name, TaskFile) for name in read_param("tasks", list[str])]
    if not any(task.teacher for task in tasks):
        phase = read_system(system, "intermediate_distill", LayerPhase)
        shape = read_system(system, "shape", Shape)
        weights = phase_weights(phase.terms, read_param("loss", Loss), phase.weights)
        found = fitting.relations_fit(shape, teacher, weights, phase)
        report(place, [each for each in found if each.level == "wrong"])


def training(
    model: nn.Module,
    rows: Rows,
    pad_token_id: int,
    schedules: Sequence[Schedule],
    run: Run,
    dev_tokens: int = 0,
) -> None:
    """Measure a few steps of what is about to be trained: time, memory, disk, first losses.

    Leaves the model as it was, bit for bit (`pace.measure_steps`).

    Args:
        model: What is to be trained.
        rows: Training rows.
        pad_token_id: For padding batches.
        schedules: Of the grid, or one.
        run: Where and how.
        dev_tokens: Scored after each epoch; 0: none are.
    """
    if mode() == "off" or not len(rows):
        return
    reason = pace.why_not_measured(run)
    if reason:
        if num_processes() == 1:
            report(run.phase, [right(f"time and memory not measured: {reason}")])
        return
    phase, available = run.phase.split()[0], room.available_memory(computing_device())
    cure = f"lower batch_size of {phase} in the profile, or max_length"
    try:
        measured = pace.measure_steps(model, rows, pad_token_id, schedules[0], run)
    except torch.OutOfMemoryError:
        shown = "an unknown number of" if available is None else room.gigabytes(available)
        too_little = f"memory: too little for a training step, got {shown} GB; {cure}"
        report(run.phase, [wrong(too_little)])
        return
    steps = pace.num_steps(rows, schedules, run.seed)
    seconds = pace.predicted_seconds(measured, rows, schedules, run.seed, dev_tokens)
    time = f"{steps:,} steps of {measured.seconds_per_step:.2g} s: about {pace.shown_time(seconds)}"
    trained = sum(each.numel() for each in model.parameters() if each.requires_grad)
    disk = room.checkpoint_bytes(trained, len(schedules), selects=dev_tokens > 0)
    memory = room.judge_memory(measured.peak_bytes, available, cure)
    disk_room = room.judge_disk(disk, run.checkpoints)
    report(run.phase, [right(time), memory, disk_room, *room.judge_load()])
    terms, first = measured.first_terms, model
    if isinstance(model, Together):
        terms, first = log_of(model.names[0], terms), model.students[0]
    known = first_losses.ranges_for(phase, model, rows)
    report(run.phase, first_losses.compare(phase, terms, _num_layers(first), known))


def _num_layers(model: nn.Module) -> int:
    student = model.student if isinstance(model, Distillation) else None
    return student.config.num_hidden_layers if isinstance(student, PreTrainedModel) else 1
