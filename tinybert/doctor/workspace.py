"""What can be looked at before, or between, the stages: sources, teachers, vocabularies, fit."""

from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from tinybert.distillation.distillation import Weights, matched_weights
from tinybert.distillation.general_rows import require_alignable
from tinybert.distillation.terms import LAYER_TERMS
from tinybert.doctor import lengths
from tinybert.doctor.checkup import look_at_augmentation, look_at_teacher
from tinybert.doctor.findings import Finding, as_findings, right, wrong
from tinybert.doctor.fit import fit_by_map
from tinybert.doctor.pace import judge_passes
from tinybert.encoders.checkpoints import (
    load_classifier,
    load_config,
    load_encoder,
    load_tokenizer,
    require_checkpoint,
    require_same_vocabulary,
)
from tinybert.encoders.classifier import finetuned_classifier
from tinybert.encoders.student import from_checkpoint, named_tokenizer, student_tokenizer
from tinybert.encoders.teacher_source import TeacherSource, locate_teacher
from tinybert.settings.reader import read_section
from tinybert.settings.schedule import Grid
from tinybert.settings.systems import Checkpoint, SystemFile
from tinybert.tasks.task import TRAIN, read_info
from tinybert.tasks.task_file import TaskFile
from tinybert.text.alignment import same_tokenizer
from tinybert.text.vector_files import vector_file
from tinybert.text.vocabulary import require_enough

CORPUS, TASKS = Path("data/corpus"), Path("data/tasks")
PRETRAINED, TEACHERS = Path("models/pretrained"), Path("models/teacher")


def look_at_sources(sources: dict[str, str], reads_vectors: bool) -> list[Finding]:
    """Refuse source folders that are not there, as DVC would, and one without word vectors.

    Args:
        sources: Of params.yaml.
        reads_vectors: Whether word vectors are read from a file.
    """
    missing = {key: place for key, place in sources.items() if not Path(place).exists()}
    found = [
        wrong(
            f"params.yaml: sources.{key}: no such file or folder, got {place!r}; make it, or name "
            "another"
        )
        for key, place in missing.items()
    ]
    if reads_vectors and "word_vectors" not in missing:
        found += _has_vectors(Path(sources["word_vectors"]))
    return found


@as_findings
def _has_vectors(place: Path) -> None:
    vector_file(place)


def pretrained_folder(settings: TeacherSource, source: str) -> Path:
    """Return the pretrained teacher's folder: the stage's output, or else where it comes from.

    Raises:
        InputError: It is neither there nor to be had.
    """
    if PRETRAINED.is_dir():
        return require_checkpoint(PRETRAINED)
    return locate_teacher(settings, Path(source))


def look_at_pretrained(folders: list[Path], num_copies: int, masked_lm: bool) -> list[Finding]:
    """Load the pretrained teacher, from where it comes and where it is, as the stages will.

    Args:
        folders: Its folders.
        num_copies: The profile's augment.num_copies.
        masked_lm: Its fetch_teacher.masked_lm.
    """
    found: list[Finding] = []
    for folder in folders:
        wrong_ones = _loads(folder, load_encoder)
        found += wrong_ones or [right(f"{folder}: weights and tokenizer")]
        found += [] if wrong_ones else look_at_augmentation(folder, num_copies, masked_lm)
    return found


@as_findings
def _loads(folder: Path, load: Callable[[Path], Any]) -> None:
    load_tokenizer(folder)
    load(folder)


@as_findings
def _same_vocabulary(ours: Path, theirs: Path, place: Path, said: str) -> list[Finding]:
    student, teacher = load_tokenizer(ours), load_tokenizer(theirs)
    require_same_vocabulary(student, teacher, str(place))
    return [right(said.format(num_pieces=len(teacher)))]


@as_findings
def _vocabulary(pretrained: Path, folder: Path) -> list[Finding]:
    """Say how the layers of a task's teacher are matched by students of the pretrained one."""
    students, teacher = load_tokenizer(pretrained), load_tokenizer(folder)
    if same_tokenizer(students, teacher):
        return [right("the students' vocabulary")]
    return [right("a tokenizer of its own: what its pieces share with the students' is matched")]


def look_at_corpus(pretrained: Path, block_length: int) -> list[Finding]:
    """Look at the corpus's vocabulary and the length of its blocks."""
    place = "prepare_corpus.block_length"
    found = lengths.judge_positions(block_length, load_config(pretrained), place)
    if not CORPUS.is_dir():
        return [*found, right("corpus not prepared yet: `dvc repro prepare_corpus`")]
    shared = "corpus and teacher share {num_pieces:,} pieces"
    return found + _same_vocabulary(CORPUS, pretrained, CORPUS, shared)


def look_at_task(
    name: str,
    task: TaskFile,
    dtype: torch.dtype | None,
    pretrained: Path,
    matched: bool,
) -> list[Finding]:
    """Look at a task's teachers: the one its file names, and the one that is there.

    Args:
        name: The task's.
        task: Its file.
        dtype: What passes are autocast to.
        pretrained: The pretrained teacher's folder, whose vocabulary the students have.
        matched: Whether a system matches this teacher's layers.
    """
    place = f"params/tasks/{name}.yaml: max_length"
    found = lengths.judge_positions(task.max_length, load_config(pretrained), place)
    own, ready = TEACHERS / name, Path(task.teacher or "")
    for folder in [own, *([ready] if task.teacher and ready.is_dir() else [])]:
        if not folder.is_dir():
            if not task.teacher:
                found.append(right(f"no teacher yet: `dvc repro finetune_teacher@{name}`"))
            continue
        if matched:
            found += _vocabulary(pretrained, folder)
        if (TASKS / name).is_dir():
            loads: dict[str, Any] = {} if folder == own else {"load": finetuned_classifier}
            found += look_at_teacher(folder, TASKS / name, task, dtype, **loads)
        else:
            found += _loads(folder, load_classifier)
    if (TASKS / name / "task.json").is_file():
        info = read_info(TASKS / name)
        if not task.teacher:
            schedules = read_section("finetune_teacher", Grid).schedules()
            found += judge_passes(schedules, info.num_rows[TRAIN])
        if info.num_unlabelled:
            found.append(right(f"{info.num_unlabelled:,} unlabelled rows"))
    if not (TASKS / name).is_dir():
        found.append(right(f"task not prepared yet: `dvc repro prepare_task@{name}`"))
    return found


def look_at_system(
    system: SystemFile, pretrained: Path, weights: Mapping[str, Weights]
) -> list[Finding]:
    """Look at a system's heads, layer map and widths.

    Args:
        system: Its file.
        pretrained: The pretrained teacher's folder.
        weights: The terms of its phases, by their names.
    """
    found = _own_vocabulary(system, pretrained)
    start = system.initialisation
    if isinstance(start, Checkpoint):
        begins = _starts(start.checkpoint, system)
        found += begins
        if all(each.level == "right" for each in begins):
            found += _reads_alike(start, pretrained, system.general_distill.terms)
    matching = {name: terms for name, terms in weights.items() if LAYER_TERMS & terms.keys()}
    if not matching:
        return [*found, right("matches no layers")]
    each = [_fits(system, pretrained, name, terms) for name, terms in matching.items()]
    return found + list(dict.fromkeys(chain.from_iterable(each)))


@as_findings
def _fits(system: SystemFile, pretrained: Path, name: str, weights: Weights) -> list[Finding]:
    teacher, phase = load_encoder(pretrained), getattr(system, name)
    return fit_by_map(
        system.shape,
        teacher.config,
        matched_weights(weights, teacher),
        system.layer_map,
        system.projection,
        phase.heads == "mean",
        phase.relation(teacher.config.num_hidden_layers),
    )


@as_findings
def _own_vocabulary(system: SystemFile, pretrained: Path) -> list[Finding]:
    """Look at the student's own tokenizer, and at how many of its pieces are kept."""
    named, most = system.vocabulary.tokenizer, system.vocabulary.max_pieces
    if system.vocabulary.is_teachers:
        return []
    start = student_tokenizer(system.initialisation, load_tokenizer(pretrained))
    tokenizer = named_tokenizer(named) if named else start
    if most is not None:
        require_enough(tokenizer, most)
    return [right(f"{min(most or len(tokenizer), len(tokenizer)):,} pieces of {len(tokenizer):,}")]


@as_findings
def _reads_alike(start: Checkpoint, pretrained: Path, terms: Sequence[Any]) -> list[Finding]:
    teachers = load_tokenizer(pretrained)
    if student_tokenizer(start, teachers) is teachers:
        return []
    require_alignable(terms)
    return [right("keeps its checkpoint's tokenizer")]


@as_findings
def _starts(checkpoint: str, system: SystemFile) -> list[Finding]:
    from_checkpoint(checkpoint, system.shape)
    return [right("starts from its checkpoint")]
