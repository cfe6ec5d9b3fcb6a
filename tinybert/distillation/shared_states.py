"""The teacher's states of a task's rows, kept by the pass that scores them, for every student.

`teacher_logits` runs the fine-tuned teacher over all rows; `intermediate_distill` of each system
needs states of the same pass. So the first one keeps what the systems of params.yaml match, where
reading costs less than a pass of each system's own. The files lie beside the checkpoints, outside
every output, named by teacher and rows; the last system that reads them removes them. A system
that finds none makes a pass of its own: they save time and change nothing.
"""

import hashlib
import shutil
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from tinybert.core.fingerprint import checkpoints_folder
from tinybert.core.outputs import replace_file
from tinybert.core.settings.layer_map import LayerMap, teacher_layers
from tinybert.core.settings.reader import Settings, read_param, read_section, read_system
from tinybert.core.settings.systems import LayerPhase, Shape, Vocabulary
from tinybert.distillation.distillation import Weights, matched_weights
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_states import (
    Layout,
    StoredTeacher,
    decide,
    layout_of,
    mapped,
    mapped_states,
    room_for,
    store_states,
)
from tinybert.distillation.terms import ATTENTION_TERMS, RELATION_TERMS
from tinybert.tasks.task_file import TaskFile
from tinybert.text.batching import collate
from tinybert.text.encoded import EncodedRows
from tinybert.training.sections import IntermediateDistillSettings

ABOUT = "shared.json"  # written once all states are


class About(Settings):
    """What `shared.json` says."""

    task: str
    readers: list[str]  # systems
    layout: Layout


class Asked(NamedTuple):
    """What systems read of the teacher's pass.

    Attributes:
        readers: The systems.
        attention: Layers whose queries and keys are read.
        hidden: Layers whose outputs are read.
        relations: Layers whose queries, keys and values are read.
        num_passes: How often their trainings see a row, all together.
    """

    readers: list[str]
    attention: list[int]
    hidden: list[int]
    relations: list[int]
    num_passes: float


def shared_folder(teacher: Path, rows: EncodedRows, dtype: torch.dtype | None) -> Path:
    """Name the place of the states by what decides them.

    Args:
        teacher: The fine-tuned teacher's folder.
        rows: In the teacher's tokens.
        dtype: Of the teacher's weights; None: float32.
    """
    digest = hashlib.sha256()
    for values in (rows.ids, rows.ends, rows.first_lengths):
        digest.update(np.ascontiguousarray(values).tobytes())
    read = {"rows": digest.hexdigest(), "dtype": str(dtype)}
    return checkpoints_folder("teacher_states", read, [teacher])


def asked_by_systems(
    settings: IntermediateDistillSettings, task: TaskFile, teacher: Teacher, num_rows: int
) -> Asked:
    """Return what the systems of params.yaml read of all rows of a task without copies.

    Left out is a system with a vocabulary of its own, or with another choice of rows.

    Args:
        settings: The profile's, of the phase.
        task: The task's file.
        teacher: The fine-tuned teacher.
        num_rows: That the task has.
    """
    asked = Asked([], [], [], [], 0.0)
    depth = teacher.config.num_hidden_layers
    for system in read_param("systems", list[str]):
        phase = read_system(system, "intermediate_distill", LayerPhase)
        vocabulary = read_system(system, "vocabulary", Vocabulary)
        if not phase.terms or phase.data is not None or not vocabulary.is_teachers:
            continue
        layer_map = read_system(system, "layer_map", LayerMap)
        shape = read_system(system, "shape", Shape)
        layers = teacher_layers(layer_map, shape.num_hidden_layers, depth)
        weights: Weights = dict.fromkeys(phase.terms, 1.0)
        terms = matched_weights(weights, teacher.model.base_model).keys()
        schedule = phase.schedule(settings, task.epochs_scale)
        asked = Asked(
            [*asked.readers, system],
            sorted({*asked.attention, *(layers if ATTENTION_TERMS & terms else [])}),
            sorted({0, *asked.hidden, *layers}),
            sorted(
                {
                    *asked.relations,
                    *([phase.relation(depth).layer] if RELATION_TERMS & terms else []),
                }
            ),
            asked.num_passes + schedule.num_passes(num_rows),
        )
    return asked


def score_and_keep(
    teacher: Teacher, rows: EncodedRows, task: str, task_file: TaskFile, folder: Path
) -> tuple[NDArray[np.float32] | None, str]:
    """Run the teacher over all rows once, and keep its states where that saves its students time.

    Args:
        teacher: The fine-tuned teacher, on the device to compute on.
        rows: All rows of a task without copies, one for each text.
        task: The task's name.
        task_file: Its file.
        folder: Of `shared_folder`.

    Returns:
        The logits, shape (rows, outputs), None where nothing is kept; and why, empty where no
        system asks.
    """
    _forget_others(task, folder)
    settings = read_section("intermediate_distill", IntermediateDistillSettings)
    asked = asked_by_systems(settings, task_file, teacher, len(rows))
    if not asked.readers:
        return None, ""
    if asked.attention:
        teacher.record_attention()
    if asked.relations:
        teacher.record_relations()
    device = teacher.model.device
    first = collate([rows[0]], teacher.config.pad_token_id or 0)
    row = {name: of.to(device) for name, of in first.items()}
    layout = layout_of(teacher, row, asked.attention, asked.hidden, asked.relations)
    dtype = cast(torch.dtype, teacher.model.dtype)
    folder.mkdir(parents=True, exist_ok=True)
    decision = decide(
        teacher.config,
        len(rows.ids),
        float(rows.lengths.mean()),
        sum(layout.sizes) * dtype.itemsize,
        asked.num_passes,
        room_for(folder, settings.max_stored_gigabytes),
        device.type,
        already_made=True,
    )
    if not decision.store:
        return None, decision.reason
    outputs = teacher.config.num_labels
    logits = mapped(folder / "logits.raw", (len(rows), outputs), torch.float32)
    store_states(teacher, rows, layout, dtype, folder, logits)
    about = About(task=task, readers=asked.readers, layout=layout)
    with replace_file(folder / ABOUT) as file:
        file.write_text(about.model_dump_json(), encoding="utf-8")
    return logits.numpy().copy(), decision.reason


def read_shared(
    folder: Path,
    teacher: Teacher,
    rows: EncodedRows,
    attention: list[int],
    hidden: list[int],
    relations: list[int],
) -> tuple[StoredTeacher, EncodedRows] | None:
    """Return what gives the kept signals, and the rows for it; None where they are not all there.

    Args:
        folder: Of `shared_folder`.
        teacher: The fine-tuned teacher.
        rows: Training rows.
        attention: Layers whose queries and keys are read.
        hidden: Layers whose outputs are read.
        relations: Layers whose queries, keys and values are read.
    """
    about = _read_about(folder)
    if about is None or rows.beside is not None:
        return None
    layout = about.layout
    pairs = zip(
        (attention, hidden, relations),
        (layout.attention, layout.hidden, layout.relations),
        strict=True,
    )
    if any(set(wanted) - set(kept) for wanted, kept in pairs):
        return None
    states = mapped_states(folder, rows, layout, cast(torch.dtype, teacher.model.dtype))
    return StoredTeacher(teacher.config, layout), rows.with_token_targets(teacher_states=states)


def done_reading(folder: Path, system: str) -> None:
    """Note that a system needs the states no more; remove them once none does.

    Args:
        folder: Of `shared_folder`.
        system: Which has finished.
    """
    about = _read_about(folder)
    if about is None:
        return
    (folder / f"{system}.done").touch()
    if all((folder / f"{reader}.done").is_file() for reader in about.readers):
        shutil.rmtree(folder, ignore_errors=True)


def _forget_others(task: str, folder: Path) -> None:
    """Remove the states of a task's earlier teachers and rows: whoever wanted those is past."""
    for other in {file.parent for file in folder.parent.glob(f"*/{ABOUT}")} - {folder}:
        about = _read_about(other)
        if about is None or about.task == task:
            shutil.rmtree(other, ignore_errors=True)


def _read_about(folder: Path) -> About | None:
    """Return what is said of kept states; None where nothing is, or nothing that can be read."""
    try:
        return About.model_validate_json((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
