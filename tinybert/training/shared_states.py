"""The teacher's states of a task's rows, kept by the pass that scores them, for every student.

`teacher_logits` runs the fine-tuned teacher over all rows; `intermediate_distill` of each system
needs states of the same pass, and a head in closed form its logits too. So the first one keeps what
the systems of params.yaml match, where reading costs less than a pass of each system's own. The
files lie beside the checkpoints, outside every output, named by teacher, rows and layers. The last
system that reads them removes them; if one never does, the task's next pass, `make clean`, or two
weeks. A system that finds none makes a pass of its own.
"""

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinybert.distillation.distillation import matched_weights, phase_weights
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.teacher_states import (
    Layout,
    StoredTeacher,
    decide_for,
    layout_of,
    mapped,
    mapped_whole,
    read_states,
    store_states,
)
from tinybert.distillation.terms import ATTENTION_TERMS, RELATION_TERMS
from tinybert.runtime.errors import InputError
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file
from tinybert.settings.choices import Loss
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.reader import Settings, read_param, read_section, read_system
from tinybert.settings.systems import LayerPhase, Shape, Vocabulary
from tinybert.tasks.task_file import TaskFile
from tinybert.text.encoded import EncodedRows
from tinybert.training.sections import IntermediateDistillSettings

ABOUT = "shared.json"  # written once all states are
LOGITS = "logits.raw"


class About(Settings):
    """What `shared.json` says."""

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


def shared_folder(task: str, teacher: Path, rows: EncodedRows, dtype: torch.dtype | None) -> Path:
    """Name the place of the states by what decides them, but for which layers are kept.

    Args:
        task: The task's name.
        teacher: The fine-tuned teacher's folder.
        rows: Where they are not in the teacher's tokens, nothing will be there.
        dtype: Of the teacher's weights; None: float32.
    """
    digest = hashlib.sha256()
    for values in (rows.ids, rows.ends, rows.first_lengths):
        digest.update(np.ascontiguousarray(values).tobytes())
    read = {"rows": digest.hexdigest(), "dtype": str(dtype)}
    return checkpoints_folder(f"teacher_states/{task}", read, [teacher])


def asked_by_systems(
    settings: IntermediateDistillSettings, task: TaskFile, teacher: Teacher, num_rows: int
) -> Asked:
    """Return what the systems of params.yaml read of all rows of a task without copies.

    Left out is a system with a vocabulary of its own, or with another choice of rows, or that does
    not fit the teacher: its own stage says so.

    Args:
        settings: The profile's, of the phase.
        task: The task's file.
        teacher: The fine-tuned teacher.
        num_rows: That the task has.
    """
    loss = read_param("loss", Loss)
    readers: list[str] = []
    attention, hidden, relations, num_passes = set[int](), {0}, set[int](), 0.0
    depth = teacher.config.num_hidden_layers
    for system in read_param("systems", list[str]):
        phase = read_system(system, "intermediate_distill", LayerPhase)
        weights = phase_weights(phase.terms, loss, phase.weights)
        own_pieces = not read_system(system, "vocabulary", Vocabulary).is_teachers
        if not weights or phase.data is not None or own_pieces:
            continue
        terms = matched_weights(weights, teacher.model.base_model).keys()
        layer_map = read_system(system, "layer_map", LayerMap)
        shape = read_system(system, "shape", Shape)
        try:
            layers = teacher_layers(layer_map, shape.num_hidden_layers, depth)
            related = {phase.relation(depth).layer} if RELATION_TERMS & terms else set()
        except InputError:
            continue
        readers.append(system)
        hidden.update(layers)
        attention.update(layers if ATTENTION_TERMS & terms else ())
        relations.update(related)
        num_passes += phase.schedule(settings, task.epochs_scale).num_passes(num_rows)
    return Asked(readers, sorted(attention), sorted(hidden), sorted(relations), num_passes)


def score_and_keep(
    teacher: Teacher, rows: EncodedRows, task: TaskFile, folder: Path
) -> tuple[NDArray[np.float32] | None, str]:
    """Run the teacher over all rows once, and keep its states where that saves its students time.

    Args:
        teacher: The fine-tuned teacher, on the device to compute on.
        rows: All rows of a task without copies, one for each text.
        task: The task's file.
        folder: Of `shared_folder`.

    Returns:
        The logits, shape (rows, outputs), None where nothing is kept; and why, empty where no
        system asks.
    """
    for other in set(folder.parent.glob("*/")) - {folder}:  # of earlier passes
        _remove(other)
    settings = read_section("intermediate_distill", IntermediateDistillSettings)
    asked = asked_by_systems(settings, task, teacher, len(rows))
    if not asked.readers:
        return None, ""
    try:
        layout = layout_of(teacher, rows, asked.attention, asked.hidden, asked.relations)
    except InputError:  # the system's own stage says why
        return None, ""
    # A pass that was cut off goes on where it kept the same layers.
    folder /= hashlib.sha256(repr(layout).encode()).hexdigest()[:16]
    most = settings.max_stored_gigabytes
    decision = decide_for(teacher, rows, layout, asked.num_passes, most, folder, already_made=True)
    if not decision.store:
        _remove(folder)
        return None, decision.reason
    dtype = cast(torch.dtype, teacher.model.dtype)
    outputs = teacher.config.num_labels
    logits = mapped(folder / LOGITS, (len(rows), outputs), torch.float32)
    store_states(teacher, rows, layout, dtype, folder, logits)
    about = About(readers=asked.readers, layout=layout)
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
    if (found := _kept(folder, teacher, rows, (attention, hidden, relations))) is None:
        return None
    signals = StoredTeacher(teacher.config, found.layout)
    return signals, rows.with_token_targets(teacher_states=found.states)


def read_heads_part(
    folder: Path, teacher: Teacher, rows: EncodedRows, numbers: NDArray[np.int64]
) -> tuple[Tensor, Tensor] | None:
    """Return what a teacher's head reads and gives of some rows; None where it was not kept.

    Args:
        folder: Of `shared_folder`.
        teacher: The fine-tuned teacher.
        rows: Training rows.
        numbers: Which of them.

    Returns:
        The last layer's state of each one's first token, shape (numbers, D), and its logits, shape
        (numbers, outputs).
    """
    last = teacher.config.num_hidden_layers
    if (found := _kept(folder, teacher, rows, ([], [last], []))) is None:
        return None
    shape = (len(rows), teacher.config.num_labels)
    if (logits := mapped_whole(found.part / LOGITS, shape, torch.float32)) is None:
        return None
    first = found.states[rows.ends[numbers] - rows.lengths[numbers]]
    return found.layout.unpack(first[:, None]).hidden[last][:, 0], logits[numbers]


def done_reading(folder: Path, system: str) -> None:
    """Note that a system needs the states no more; remove them once none does.

    Args:
        folder: Of `shared_folder`.
        system: Which has finished.
    """
    for part, about in _complete(folder):
        (part / f"{system}.done").touch()
        if all((part / f"{reader}.done").is_file() for reader in about.readers):
            _remove(part)


class _Kept(NamedTuple):
    part: Path
    layout: Layout
    states: Tensor  # mapped, shape (tokens, values)


def _kept(
    folder: Path, teacher: Teacher, rows: EncodedRows, wanted: tuple[list[int], ...]
) -> _Kept | None:
    """Return the first pass that has the wanted layers: of attention, outputs and relations."""
    for part, about in _complete(folder):
        layout = about.layout
        kept = layout.attention, layout.hidden, layout.relations
        if rows.beside is None and all(set(a) <= set(b) for a, b in zip(wanted, kept, strict=True)):
            states = read_states(part, rows, layout, cast(torch.dtype, teacher.model.dtype))
            if states is not None:
                return _Kept(part, layout, states)
    return None


def _complete(folder: Path) -> Iterator[tuple[Path, About]]:
    """Yield the folders of whole passes, and what is said of them."""
    for file in sorted(folder.glob(f"*/{ABOUT}")):
        with suppress(OSError, ValueError):  # removed meanwhile, or damaged
            yield file.parent, About.model_validate_json(file.read_text(encoding="utf-8"))


def _remove(folder: Path) -> None:
    """Remove a folder; what a kill leaves of it is not taken for whole."""
    for file in folder.rglob(ABOUT):
        file.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
