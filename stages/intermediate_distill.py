"""Distil the fine-tuned teacher's layers into a student on the augmented task.

python -m stages.intermediate_distill SYSTEM TASK
"""

import math
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from transformers import PreTrainedModel

from stages import doctor, run
from tinybert.closed_form.head import HeadTargets, fit_head
from tinybert.closed_form.start import fit_student, require_fits
from tinybert.core.errors import InputError
from tinybert.core.fingerprint import checkpoints_folder
from tinybert.core.outputs import replace_file, replace_folder, write_json
from tinybert.core.precision import Precision, autocast_dtype, computing_device
from tinybert.core.processes import num_processes
from tinybert.core.settings.choices import Loss, Projection
from tinybert.core.settings.layer_map import LayerMap, teacher_layers
from tinybert.core.settings.reader import read_param, read_section, read_system, read_task
from tinybert.core.settings.schedule import Schedule
from tinybert.core.settings.systems import LayerPhase, Relation
from tinybert.distillation.distillation import (
    Distillation,
    Weights,
    matched_weights,
    phase_weights,
)
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher import Teacher, TeacherSignals
from tinybert.distillation.teacher_logits import rows_to_train_on
from tinybert.distillation.teacher_states import use_stored_states
from tinybert.distillation.terms import ATTENTION_TERMS, RELATION_TERMS
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_config,
    load_encoder,
    load_tokenizer,
    require_same_vocabulary,
)
from tinybert.encoders.classifier import new_classifier, task_classifier
from tinybert.encoders.positions import require_positions
from tinybert.evaluation.prediction import TaskSplit
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.task import TRAIN, TaskFile, TaskInfo, read_named_info, read_split
from tinybert.text.encoded import EncodedRows
from tinybert.training.grid import dev_scores, dev_split
from tinybert.training.run import Run
from tinybert.training.sections import IntermediateDistillSettings
from tinybert.training.training import empty_history, train


def intermediate_distill(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    rows: EncodedRows,
    weights: Weights,
    layers: list[int],
    projection: Projection,
    start: Projections | Path,
    settings: IntermediateDistillSettings,
    how: Run,
    average_heads: bool,
    relation: Relation,
) -> pd.DataFrame:
    """Train the student, in place, on the task's rows; return the history.

    Args:
        student: The general student, an encoder; or a fitted one.
        teacher: The fine-tuned teacher.
        rows: What the phase trains on.
        weights: The phase's terms.
        layers: [g(1), ..., g(M)].
        projection: Kind of W_h.
        start: Fitted W_e and W_h, or the file of the general phase's, taken if they fit.
        settings: Length and speed; beyond so many bytes of states the teacher runs in every step.
        how: Seed, precision, checkpoints.
        average_heads: Whether attention_probs matches the means over heads.
        relation: Whose relations are matched.
    """
    frozen = Teacher(teacher.to(computing_device()), how.dtype)
    signals: TeacherSignals = frozen
    if num_processes() == 1 and not how.is_finished:
        signals, rows, decision = use_stored_states(
            frozen,
            rows,
            layers if ATTENTION_TERMS & weights.keys() else [],
            [0, *layers],
            num_passes(settings, len(rows)),
            settings.max_stored_gigabytes,
            how.checkpoints / "teacher_states",
            [relation.layer] if RELATION_TERMS & weights.keys() else [],
        )
        did = "stores" if decision.store else "does not store"
        print(f"{how.phase}: {did} the teacher's states: {decision.reason}", flush=True)
    model = Distillation(
        student,
        weights,
        signals,
        layers,
        projection,
        average_heads=average_heads,
        relation=relation,
    )
    if model.projections is not None:
        if isinstance(start, Path):
            model.projections.load(start)
        else:
            model.projections.load_state_dict(start.state_dict())
    pad = student.config.pad_token_id or 0
    doctor().training(model, rows, pad, [settings], how)
    history, _ = train(model, rows, pad, settings, how)
    return history


def num_passes(schedule: Schedule, num_rows: int) -> float:
    """Return how often training sees a row."""
    by_steps = (schedule.max_steps or math.inf) * schedule.batch_size / max(1, num_rows)
    return min(schedule.num_epochs, by_steps)


def main(system: str, task: str) -> str:
    """Read the settings and distil one system on one task."""
    phase = read_system(system, "intermediate_distill", LayerPhase)
    layer_map = read_system(system, "layer_map", LayerMap)
    projection = read_system(system, "projection", Projection)
    loss = Loss(
        attn_weight=read_param("loss.attn_weight", float),
        hidden_weight=read_param("loss.hidden_weight", float),
        embedding_weight=read_param("loss.embedding_weight", float),
    )
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    compiled = read_param("torch_compile", bool)
    task_file = read_task(task, TaskFile)
    profile = read_section("intermediate_distill", IntermediateDistillSettings)
    settings = phase.schedule(profile, task_file.epochs_scale)
    task_folder, augmented = Path("data/tasks") / task, Path("data/augmented") / task
    general, teacher_folder = Path("models/general") / system, Path("models/teacher") / task
    scored = Path("data/teacher_logits") / task
    weights = phase_weights(phase.terms, loss, phase.weights)
    if not weights and phase.start == "general":
        copied = partial(shutil.copytree, general, dirs_exist_ok=True)
        folder = write_outputs(system, task, copied, empty_history(), {"start": phase.start})
        return f"passed the general student on to {folder}"
    info, fitted = read_named_info(task_folder, task), phase.start == "closed_form"
    if fitted:
        ours, teacher = load_config(general), task_classifier(teacher_folder, info)
        require_fits(ours, teacher)
    else:
        student = load_encoder(general)
        ours = student.config
        teacher = load_classifier(teacher_folder, new_head=True)  # its layers alone are asked
    tokenizer, teachers = load_tokenizer(general), load_tokenizer(teacher_folder)
    if fitted:
        require_same_vocabulary(tokenizer, teachers, str(general))
    length_of = f"params/tasks/{task}.yaml: max_length"
    for config, whose in ((ours, "student"), (teacher.config, "teacher")):
        require_positions(task_file.max_length, config, length_of, whose)
    depth = teacher.config.num_hidden_layers
    layers = teacher_layers(layer_map, ours.num_hidden_layers, depth)
    place, dtype = f"intermediate_distill {system} {task}", autocast_dtype(precision)
    doctor().teacher(place, teacher_folder, task_folder, task_file, dtype)
    average = phase.heads == "mean"
    weights, relation = matched_weights(weights, teacher.base_model, place), phase.relation(depth)
    doctor().fit(place, ours, teacher.config, weights, layers, projection, average, relation)
    read = {"schedule": settings.model_dump(), "layers": layers, "projection": projection}
    read |= {"weights": weights, "phase": phase.model_dump(), "task": task_file.model_dump()}
    read |= {"seed": seed, "precision": precision, "compile": compiled}
    inputs = [general, teacher_folder, augmented, scored, task_folder]
    kept = checkpoints_folder("intermediate_distill", read, inputs)
    how = Run(place, kept, seed, dtype, save_steps=settings.save_steps, compile=compiled)
    frame = rows_to_train_on(phase.data, task_folder, augmented, scored, info)
    encoding = task_file.encoding(info)
    rows = encode_beside(frame, tokenizer, teachers, encoding)
    said: dict[str, Any] = {"start": phase.start}
    head: HeadTargets | None = None
    start: Projections | Path = general / "projections.safetensors"
    if fitted:
        student = new_classifier(general, info, seed)
        start = Projections(len(layers), ours.hidden_size, teacher.config.hidden_size, projection)
        require_every_class(task_folder, info)
        dev = dev_split(task_folder, tokenizer, encoding, info)
        said, head = fit_start(student, teacher, rows, layers, start, settings, dev, how)
    history = empty_history()
    if weights:
        encoder = student.base_model
        history = intermediate_distill(
            encoder,
            teacher,
            rows,
            weights,
            layers,
            projection,
            start,
            settings,
            how,
            average,
            relation,
        )
        if head is not None:  # the layers have moved since
            fit_head(student.eval().to(computing_device()), head, seed)
            student.cpu()

    def save(made: Path) -> None:
        student.save_pretrained(made)
        tokenizer.save_pretrained(made)

    folder = write_outputs(system, task, save, history, said)
    how.finish()
    trained = f"loss {history['loss'].iloc[-1]:.3f}" if weights else "without a step"
    return f"made the student in {folder} from {len(rows):,} rows ({trained})"


def write_outputs(
    system: str,
    task: str,
    save: Callable[[Path], object],
    history: pd.DataFrame,
    start: dict[str, Any],
) -> Path:
    """Write a student by `save`, its history and what its start was; return its folder."""
    folder = Path("models/intermediate") / system / task
    with replace_folder(folder) as partial_folder:
        save(partial_folder)
    with replace_file(Path(f"reports/training/intermediate_distill/{system}-{task}.csv")) as file:
        history.to_csv(file, index=False)
    with replace_file(Path(f"reports/start/{system}-{task}.json")) as file:
        write_json(start, file)
    return folder


def fit_start(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    rows: EncodedRows,
    layers: list[int],
    projections: Projections,
    settings: IntermediateDistillSettings,
    dev: TaskSplit,
    how: Run,
) -> tuple[dict[str, Any], HeadTargets | None]:
    """Fit a classifier, in place, to the fine-tuned teacher.

    Returns:
        What the report shows of it, and what its head was fitted to.
    """
    fit = fit_student(
        student,
        teacher.to(computing_device()),
        rows,
        layers,
        how.seed,
        projections,
        settings.closed_form_tokens,
    )
    score = dev_scores(student, dev, None)()
    print(f"{how.phase}: {fit.as_text()}")
    shown = ", ".join(f"{name} {value:.3f}" for name, value in score.items())
    print(f"{how.phase}: closed form alone, in {fit.seconds:.0f} s: dev {shown}", flush=True)
    return fit.report("closed_form", score), fit.head


def require_every_class(task_folder: Path, info: TaskInfo) -> None:
    """Check that each class has a row, without which nothing says what it looks like.

    An I- tag needs none: entities may all be of one word.

    Raises:
        InputError: A class has none.
    """
    seen = set(read_split(task_folder, TRAIN)["label"].explode()) if info.labels else set()
    needed = [not (info.kind == "tokens" and name.startswith("I-")) for name in info.labels]
    lacking = [name for n, name in enumerate(info.labels) if needed[n] and n not in seen]
    if lacking:
        raise InputError(
            f"closed form: each class needs a training row, got none of {', '.join(lacking)}; add "
            f"some, or take the label out of params/tasks/{info.name}.yaml"
        )


if __name__ == "__main__":
    run(main)
