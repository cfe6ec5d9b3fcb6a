"""Distil the fine-tuned teacher's predictions into the student; this gives the final student.

python -m stages.prediction_distill SYSTEM TASK
"""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from transformers import PreTrainedModel

from stages import doctor, run
from tinybert.distillation.carried_logits import encode_with_logits
from tinybert.distillation.distillation import Distillation, phase_weights
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_logits import read_logits, rows_to_train_on
from tinybert.distillation.terms import TEACHER_OUTPUT_TERMS
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_config,
    load_tokenizer,
    save_tokenizer,
)
from tinybert.encoders.classifier import finetuned_classifier, new_classifier
from tinybert.encoders.positions import require_positions
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file, replace_folder
from tinybert.runtime.precision import Precision, autocast_dtype
from tinybert.settings.choices import Kind, Loss
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.reader import read_param, read_section, read_system, read_task
from tinybert.settings.schedule import Grid
from tinybert.settings.systems import Choice, OutputPhase
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.phase_rows import default_data, read_rows, require_unlabelled, rows_with_logits
from tinybert.tasks.task import Encoding, read_info, read_named_info
from tinybert.tasks.task_file import TaskFile
from tinybert.text.alignment import same_tokenizer
from tinybert.text.encoded import EncodedRows
from tinybert.training.grid import (
    Point,
    best_of_grid,
    choose_decision,
    dev_scores,
    dev_split,
    schedule_name,
)
from tinybert.training.run import Run
from tinybert.training.training import empty_history


class Output(NamedTuple):
    """What output phases of one system and task share.

    Attributes:
        encoder: The folder of `intermediate_distill`.
        task_folder: The prepared task.
        augmented: The augmented task.
        teacher: The fine-tuned teacher.
        scored: The teacher's stored logits.
        settings: The profile's grid.
        loss: The weights and the temperature of params.yaml.
        layers: [g(1), ..., g(M)], for the patient term.
        encoding: How rows become tokens.
        by_default: The labelled rows that a phase trains on if it does not say.
    """

    encoder: Path
    task_folder: Path
    augmented: Path
    teacher: Path
    scored: Path
    settings: Grid
    loss: Loss
    layers: list[int]
    encoding: Encoding
    by_default: Literal["augmented", "original"]


def training_rows(phase: OutputPhase, of: Output, tokenizer: Any) -> EncodedRows:
    """Return the rows of a phase, with `teacher_logits` where its terms read them.

    A teacher that runs beside the student gives its logits itself, if it reads the same tokens.
    """
    info = read_info(of.task_folder)
    further = info.num_unlabelled > 0
    require_unlabelled(phase.data, further, info.name)
    data = phase.data or default_data(further, of.by_default, "label" in phase.terms)
    runs, reads = "patient" in phase.terms, bool(TEACHER_OUTPUT_TERMS & set(phase.terms))
    teachers = load_tokenizer(of.teacher) if runs or reads else tokenizer
    if reads and not (runs and same_tokenizer(tokenizer, teachers)):
        everything = read_rows(None, of.task_folder, of.augmented, info)
        logits = read_logits(of.scored, len(everything), info.num_outputs)
        frame = rows_with_logits(data, everything, logits.numbers)
        found = logits.of(frame.index.to_numpy())
        return encode_with_logits(
            frame, found, of.scored, tokenizer, teachers, of.encoding, beside=runs
        )
    frame = rows_to_train_on(data, of.task_folder, of.augmented, of.scored, info)
    return encode_beside(frame, tokenizer, teachers, of.encoding)


def points(
    phase: OutputPhase,
    of: Output,
    start: Callable[[], PreTrainedModel],
    teacher: Teacher | None,
    kind: Kind,
) -> list[Point]:
    """Return every schedule with every choice of weights."""

    def maker(choice: Choice) -> Callable[[], Distillation]:
        weights = phase_weights(phase.terms, of.loss, choice.factors)
        heat = choice.temperature or of.loss.temperature
        return lambda: Distillation(
            start(), weights, teacher, of.layers, temperature=heat, kind=kind
        )

    return [
        Point("_".join(filter(None, (schedule_name(each), choice.name))), each, maker(choice))
        for each in phase.grid(of.settings).schedules()
        for choice in phase.choices()
    ]


def prediction_distill(
    phase: OutputPhase, of: Output, start: Callable[[], PreTrainedModel], how: Run
) -> tuple[PreTrainedModel, pd.DataFrame, str]:
    """Train a classifier once per point of the grid, and what follows; return the best on dev.

    Args:
        phase: What the system's file says.
        of: What it reads.
        start: Makes the classifier to begin with.
        how: Seed, precision, checkpoints.

    Returns:
        The student, the history of its last training, and what was done, in words.
    """
    info, tokenizer = read_info(of.task_folder), load_tokenizer(of.encoder)
    if not any(phase_weights(phase.terms, of.loss, each.factors) for each in phase.choices()):
        return start(), empty_history(), "without terms"
    # The teacher's states of [CLS] are not stored, so it runs beside the student.
    with_teacher = "patient" in phase.terms
    teacher = Teacher(load_classifier(of.teacher), how.dtype) if with_teacher else None
    rows = training_rows(phase, of, tokenizer)
    grid = points(phase, of, start, teacher, info.kind)
    dev = dev_split(of.task_folder, tokenizer, of.encoding, info)
    schedules, pad = [point.schedule for point in grid], tokenizer.pad_token_id or 0
    doctor().training(grid[0].make_model(), rows, pad, schedules, how, len(dev.rows.ids))
    student, history, choice = best_of_grid(
        grid, rows, lambda model: dev_scores(model, dev, how.dtype), how, len(dev.frame)
    )
    done = f"from {len(rows):,} rows, {choice} {info.metrics[0]}"
    if phase.then is None:
        return student, history, done
    after = replace(
        how,
        phase=f"{how.phase} then",
        checkpoints=how.checkpoints / "then",
        training_id=f"{how.checkpoints.name}-then",
    )
    student, history, next_done = prediction_distill(
        phase.then, of, partial(copy.deepcopy, student), after
    )
    return student, history, f"{done}, then {next_done}"


def main(system: str, task: str) -> str:
    """Read the settings and distil one system's predictions on one task."""
    phase = read_system(system, "prediction_distill", OutputPhase)
    layer_map = read_system(system, "layer_map", LayerMap)
    loss = Loss(
        prediction_weight=read_param("loss.prediction_weight", float),
        temperature=read_param("loss.temperature", float),
    )
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    compiled = read_param("torch_compile", bool)
    task_file = read_task(task, TaskFile)
    encoder, task_folder = Path("models/intermediate") / system / task, Path("data/tasks") / task
    info = read_named_info(task_folder, task)
    teacher, layers, inputs = Path("models/teacher") / task, list[int](), [encoder]
    if phase.reads_teacher:
        depths = (load_config(folder).num_hidden_layers for folder in (encoder, teacher))
        layers, inputs = teacher_layers(layer_map, *depths), [encoder, teacher]
    of = Output(
        encoder=encoder,
        task_folder=task_folder,
        augmented=Path("data/augmented") / task,
        teacher=teacher,
        scored=Path("data/teacher_logits") / task,
        settings=read_section("prediction_distill", Grid),
        loss=loss,
        layers=layers,
        encoding=task_file.encoding(info),
        by_default=task_file.prediction_data,
    )
    read: dict[str, Any] = {"grid": of.settings.model_dump(), "phase": phase.model_dump()}
    read |= {"loss": loss.model_dump(), "layers": of.layers, "seed": seed}
    read |= {"precision": precision, "compile": compiled, "task": task_file.model_dump()}
    inputs += [of.scored, of.augmented, of.task_folder]
    kept = checkpoints_folder("prediction_distill", read, inputs)
    place, dtype = f"prediction_distill {system} {task}", autocast_dtype(precision)
    how = Run(place, kept, seed, dtype, compile=compiled)
    length_of = f"params/tasks/{task}.yaml: max_length"
    require_positions(task_file.max_length, load_config(encoder), length_of, "student")
    start = partial(new_classifier, encoder, info, seed)
    if phase.classifier == "teacher":
        start = partial(finetuned_classifier, of.teacher, info)
    if set(phase.terms) - {"label"}:
        doctor().teacher(how.phase, of.teacher, of.task_folder, task_file, how.dtype)
    student, history, done = prediction_distill(phase, of, start, how)
    tokenizer = load_tokenizer(encoder)
    choose_decision(student, task_folder, tokenizer, of.encoding, info)
    folder = Path("models/prediction") / system / task
    with replace_folder(folder) as made_folder:
        student.save_pretrained(made_folder)
        save_tokenizer(tokenizer, student, made_folder)
    with replace_file(Path(f"reports/training/prediction_distill/{system}-{task}.csv")) as file:
        history.to_csv(file, index=False)
    how.finish()
    return f"made the student in {folder} ({done})"


if __name__ == "__main__":
    run(main)
