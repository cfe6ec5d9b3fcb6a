"""Distil the fine-tuned teacher's layers into a student on the augmented task.

python -m stages.intermediate_distill SYSTEM TASK
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from transformers import PreTrainedModel

from stages import doctor, run
from tinybert.closed_form.head import HeadTargets, fit_head, head_targets_of
from tinybert.closed_form.start import (
    Fitted,
    fit_student,
    head_in_tokens,
    head_numbers,
    require_fits,
)
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
)
from tinybert.encoders.classifier import new_classifier, task_classifier
from tinybert.encoders.positions import require_positions
from tinybert.encoders.vocabulary import with_vocabulary
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file, replace_folder, write_json
from tinybert.runtime.precision import Precision, autocast_dtype, computing_device
from tinybert.runtime.processes import num_processes
from tinybert.settings.choices import Loss, Projection
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.reader import read_param, read_section, read_system, read_task
from tinybert.settings.systems import LayerPhase, Relation, Vocabulary
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.phase_rows import read_texts, require_every_class, without_sampled
from tinybert.tasks.task import Encoding, TaskInfo, read_named_info
from tinybert.tasks.task_file import TaskFile
from tinybert.text.alignment import same_tokenizer
from tinybert.text.encoded import EncodedRows, rows_numbered
from tinybert.text.vocabulary import count_corpus, piece_counts, trimmed_tokenizer
from tinybert.training.grid import dev_scores, dev_split
from tinybert.training.run import Run
from tinybert.training.sections import IntermediateDistillSettings
from tinybert.training.shared_states import (
    done_reading,
    read_heads_part,
    read_shared,
    shared_folder,
)
from tinybert.training.training import empty_history, train

CORPUS = Path("data/corpus")


class Folders(NamedTuple):
    """Where the phase reads models, and rows of the task."""

    general: Path
    teacher: Path
    augmented: Path
    scored: Path
    task: Path


class Recipe(NamedTuple):
    """One system's intermediate phase on one task.

    Attributes:
        place: The stage's name and arguments.
        vocabulary: What the student reads, in the end.
        weights: The phase's terms; none: the student stays as it is, or as it was fitted.
        settings: Length and speed.
    """

    place: str
    system: str
    task: str
    phase: LayerPhase
    vocabulary: Vocabulary
    layer_map: LayerMap
    projection: Projection
    weights: Weights
    task_file: TaskFile
    info: TaskInfo
    settings: IntermediateDistillSettings
    seed: int
    precision: Precision
    compiled: bool
    folders: Folders

    @property
    def is_fitted(self) -> bool:
        """Whether the student starts in closed form."""
        return self.phase.start == "closed_form"

    @property
    def encoding(self) -> Encoding:
        """How rows become pieces."""
        return self.task_file.encoding(self.info)


class Matching(NamedTuple):
    """What is matched: weighted terms, [g(1), ..., g(M)], and whose relations."""

    weights: Weights
    layers: list[int]
    relation: Relation


class Begun(NamedTuple):
    """A student before any step.

    Attributes:
        student: An encoder, or a fitted classifier.
        projections: Fitted W_e and W_h, or the file of the general phase's, taken if they fit.
        head: What its head is fitted to, if that is known.
        said: What the report shows of it.
    """

    student: PreTrainedModel
    projections: Projections | Path
    head: HeadTargets | None
    said: dict[str, Any]


def read_recipe(system: str, task: str) -> Recipe:
    """Read the settings of one system on one task."""
    phase = read_system(system, "intermediate_distill", LayerPhase)
    loss = Loss(
        attn_weight=read_param("loss.attn_weight", float),
        hidden_weight=read_param("loss.hidden_weight", float),
        embedding_weight=read_param("loss.embedding_weight", float),
    )
    task_file, folder = read_task(task, TaskFile), Path("data/tasks") / task
    profile = read_section("intermediate_distill", IntermediateDistillSettings)
    return Recipe(
        place=f"intermediate_distill {system} {task}",
        system=system,
        task=task,
        phase=phase,
        vocabulary=read_system(system, "vocabulary", Vocabulary),
        layer_map=read_system(system, "layer_map", LayerMap),
        projection=read_system(system, "projection", Projection),
        weights=phase_weights(phase.terms, loss, phase.weights),
        task_file=task_file,
        info=read_named_info(folder, task),
        settings=phase.schedule(profile, task_file.epochs_scale),
        seed=read_param("seed", int),
        precision=read_param("precision", Precision),
        compiled=read_param("torch_compile", bool),
        folders=Folders(
            general=Path("models/general") / system,
            teacher=Path("models/teacher") / task,
            augmented=Path("data/augmented") / task,
            scored=Path("data/teacher_logits") / task,
            task=folder,
        ),
    )


def kept_tokenizer(recipe: Recipe, tokenizer: Any) -> Any:
    """Return a tokenizer of the pieces that task and corpus use most, where not all are kept.

    Args:
        recipe: The phase's.
        tokenizer: The general student's.
    """
    if recipe.vocabulary.max_pieces is None:
        return tokenizer
    corpus = count_corpus(tokenizer, CORPUS, load_tokenizer(CORPUS))
    counts = piece_counts(tokenizer, read_texts(recipe.folders.task, recipe.info), corpus)
    kept = trimmed_tokenizer(tokenizer, counts, recipe.vocabulary.max_pieces)
    if kept is not tokenizer:
        doctor().vocabulary(recipe.place, tokenizer, kept, recipe.folders.task, recipe.encoding)
    return kept


def pass_on(recipe: Recipe, tokenizer: Any, kept: Any) -> str:
    """Hand the general student on as it is, but for pieces that are not kept."""
    general = recipe.folders.general
    save = partial(shutil.copytree, general, dirs_exist_ok=True)
    if kept is not tokenizer:
        save = partial(save_student, with_vocabulary(load_encoder(general), tokenizer, kept), kept)
    folder = write_outputs(recipe, save, empty_history(), {"start": recipe.phase.start})
    return f"passed the general student on to {folder}"


def load_teacher(recipe: Recipe) -> PreTrainedModel:
    """Load the fine-tuned teacher; with its head where one is fitted to it."""
    if not recipe.is_fitted:
        return load_classifier(recipe.folders.teacher, new_head=True)  # its layers alone are asked
    teacher = task_classifier(recipe.folders.teacher, recipe.info)
    require_fits(load_config(recipe.folders.general), teacher)
    return teacher


def match(recipe: Recipe, teacher: PreTrainedModel) -> Matching:
    """Return what is matched, once student and teacher were found to fit.

    Raises:
        InputError: They do not.
    """
    ours, task_file = load_config(recipe.folders.general), recipe.task_file
    length_of = f"params/tasks/{recipe.task}.yaml: max_length"
    for config, whose in ((ours, "student"), (teacher.config, "teacher")):
        require_positions(task_file.max_length, config, length_of, whose)
    depth = teacher.config.num_hidden_layers
    layers = teacher_layers(recipe.layer_map, ours.num_hidden_layers, depth)
    place, folders, dtype = recipe.place, recipe.folders, autocast_dtype(recipe.precision)
    doctor().teacher(place, folders.teacher, folders.task, task_file, dtype)
    weights = matched_weights(recipe.weights, teacher.base_model, place)
    relation, average = recipe.phase.relation(depth), recipe.phase.heads == "mean"
    matched = weights, layers, recipe.projection, average, relation
    doctor().fit(place, ours, teacher.config, *matched)
    return Matching(weights, layers, relation)


def run_of(recipe: Recipe, matching: Matching, kept: Any) -> Run:
    """Return how the phase runs; checkpoints are of all that it reads."""
    read: dict[str, Any] = {"schedule": recipe.settings.model_dump(), "layers": matching.layers}
    read |= {"projection": recipe.projection, "weights": matching.weights}
    read |= {"phase": recipe.phase.model_dump(), "task": recipe.task_file.model_dump()}
    read |= {"seed": recipe.seed, "precision": recipe.precision, "compile": recipe.compiled}
    read |= {"vocabulary": sorted(kept.get_vocab())}
    return Run(
        recipe.place,
        checkpoints_folder("intermediate_distill", read, recipe.folders),
        recipe.seed,
        autocast_dtype(recipe.precision),
        save_steps=recipe.settings.save_steps,
        compile=recipe.compiled,
    )


def begin_general(recipe: Recipe, tokenizer: Any, kept: Any) -> Begun:
    """Start from the general student."""
    student = with_vocabulary(load_encoder(recipe.folders.general), tokenizer, kept)
    projections = recipe.folders.general / "projections.safetensors"
    return Begun(student, projections, None, {"start": recipe.phase.start})


def kept_head(
    recipe: Recipe, teacher: PreTrainedModel, rows: EncodedRows, own: EncodedRows, kept: Path
) -> HeadTargets | None:
    """Return what a head is fitted to, from the pass of `teacher_logits`; None where it is gone.

    Args:
        recipe: The phase's.
        teacher: With its head.
        rows: What the phase trains on.
        own: The task's own, the first of them.
        kept: Where that pass kept its states.
    """
    dtype = autocast_dtype(recipe.precision)
    if dtype is not None:
        return None  # a head is fitted to what its teacher gives in float32
    numbers = head_numbers(own, recipe.seed, recipe.settings.closed_form_tokens)
    found = read_heads_part(kept, Teacher(teacher, dtype), rows, numbers)
    return None if found is None else head_targets_of(teacher, rows_numbered(own, numbers), *found)


def begin_fitted(
    recipe: Recipe,
    teacher: PreTrainedModel,
    layers: list[int],
    frame: pd.DataFrame,
    rows: EncodedRows,
    tokenizers: tuple[Any, Any, Any],
    head: HeadTargets | None,
) -> Begun:
    """Start in closed form, fitted to the teacher in its own tokens.

    Args:
        recipe: The phase's.
        teacher: With its head.
        layers: [g(1), ..., g(M)].
        frame: The task's own rows among those that the phase trains on.
        rows: The same in the student's tokens.
        tokenizers: The general student's, the student's in the end, and the teacher's.
        head: What its head is fitted to, where a pass of the teacher kept it.
    """
    (general, kept, teachers), seed = tokenizers, recipe.seed
    student = new_classifier(recipe.folders.general, recipe.info, seed)
    student = with_vocabulary(student, general, teachers)
    widths = student.config.hidden_size, teacher.config.hidden_size
    projections = Projections(len(layers), *widths, recipe.projection)
    require_every_class(recipe.folders.task, recipe.info)
    read_by_both = same_tokenizer(kept, teachers)
    theirs = rows if read_by_both else encode_split(frame, teachers, recipe.encoding)
    teacher.to(computing_device())
    most = recipe.settings.closed_form_tokens
    fit = fit_student(student, teacher, theirs, layers, seed, projections, most, head)
    student, head = with_vocabulary(student, teachers, kept), fit.head
    if not read_by_both and head is not None:
        by_row = head.pooled is not None and rows.origins is None
        if not by_row:
            print(f"{recipe.place}: the head stays as it was fitted: the phase reads other tokens")
        head = head_in_tokens(head, theirs, rows, seed, most) if by_row else None
        refit_head(student, head, seed)
    dev = dev_split(recipe.folders.task, kept, recipe.encoding, recipe.info)
    score = dev_scores(student.to(computing_device()), dev, None)()
    said = say_start(recipe.place, fit, score)
    return Begun(student, projections, head, said)


def intermediate_distill(
    recipe: Recipe,
    begun: Begun,
    teacher: PreTrainedModel,
    rows: EncodedRows,
    matching: Matching,
    how: Run,
    kept: Path,
) -> pd.DataFrame:
    """Train the student, in place, on the task's rows; return the history.

    Args:
        recipe: The phase's; beyond its bytes of states the teacher runs in every step.
        begun: The student.
        teacher: The fine-tuned teacher.
        rows: What the phase trains on.
        matching: Terms and layers.
        how: Seed, precision, checkpoints.
        kept: Where the pass for logits kept the teacher's states.
    """
    student, settings = begun.student.base_model, recipe.settings
    weights, layers, relation = matching
    frozen = Teacher(teacher.to(computing_device()), how.dtype)
    signals: TeacherSignals = frozen
    if num_processes() == 1 and not how.is_finished:
        attention = layers if ATTENTION_TERMS & weights.keys() else []
        relations = [relation.layer] if RELATION_TERMS & weights.keys() else []
        hidden = [0, *layers]
        if found := read_shared(kept, frozen, rows, attention, hidden, relations):
            signals, rows = found
            print(f"{how.phase}: reads the states that teacher_logits kept", flush=True)
        else:
            signals, rows, decision = use_stored_states(
                frozen,
                rows,
                attention,
                hidden,
                settings.num_passes(len(rows)),
                settings.max_stored_gigabytes,
                how.checkpoints / "teacher_states",
                relations,
            )
            did = "stores" if decision.store else "does not store"
            print(f"{how.phase}: {did} the teacher's states: {decision.reason}", flush=True)
    model = Distillation(
        student,
        weights,
        signals,
        layers,
        recipe.projection,
        average_heads=recipe.phase.heads == "mean",
        relation=relation,
    )
    if model.projections is not None:
        if isinstance(begun.projections, Path):
            model.projections.load(begun.projections)
        else:
            model.projections.load_state_dict(begun.projections.state_dict())
    pad = student.config.pad_token_id or 0
    doctor().training(model, rows, pad, [settings], how)
    history, _ = train(model, rows, pad, settings, how)
    return history


def write_outputs(
    recipe: Recipe,
    save: Callable[[Path], object],
    history: pd.DataFrame,
    start: dict[str, Any],
) -> Path:
    """Write a student by `save`, its history and what its start was; return its folder."""
    system, task = recipe.system, recipe.task
    folder = Path("models/intermediate") / system / task
    with replace_folder(folder) as partial_folder:
        save(partial_folder)
    with replace_file(Path(f"reports/training/intermediate_distill/{system}-{task}.csv")) as file:
        history.to_csv(file, index=False)
    with replace_file(Path(f"reports/start/{system}-{task}.json")) as file:
        write_json(start, file)
    return folder


def say_start(place: str, fit: Fitted, score: dict[str, float]) -> dict[str, Any]:
    """Print how a start was fitted and scores on dev; return what the report shows of it."""
    print(f"{place}: {fit.as_text()}")
    shown = ", ".join(f"{name} {value:.3f}" for name, value in score.items())
    print(f"{place}: closed form alone, in {fit.seconds:.0f} s: dev {shown}", flush=True)
    return fit.report("closed_form", score)


def refit_head(student: PreTrainedModel, head: HeadTargets | None, seed: int) -> None:
    """Fit a head, in place, where what it is fitted to is known."""
    if head is not None:
        fit_head(student.eval().to(computing_device()), head, seed)
        student.cpu()


def save_student(student: PreTrainedModel, tokenizer: Any, folder: Path) -> None:
    """Write a student beside the tokenizer whose pieces it reads."""
    student.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(system: str, task: str) -> str:
    """Read the settings and distil one system on one task."""
    recipe = read_recipe(system, task)
    folders = recipe.folders
    tokenizer = load_tokenizer(folders.general)
    kept = kept_tokenizer(recipe, tokenizer)
    if not recipe.weights and not recipe.is_fitted:
        return pass_on(recipe, tokenizer, kept)
    begun = None if recipe.is_fitted else begin_general(recipe, tokenizer, kept)
    teacher, teachers = load_teacher(recipe), load_tokenizer(folders.teacher)
    matching = match(recipe, teacher)
    how = run_of(recipe, matching, kept)
    frame = rows_to_train_on(
        recipe.phase.data, folders.task, folders.augmented, folders.scored, recipe.info
    )
    rows = encode_beside(frame, kept, teachers, recipe.encoding)
    kept_states = shared_folder(task, folders.teacher, rows, how.dtype)
    if begun is None:
        own, each = without_sampled(frame, recipe.info), (tokenizer, kept, teachers)
        own_rows = rows.first_texts(len(own))
        head = kept_head(recipe, teacher, rows, own_rows, kept_states)
        begun = begin_fitted(recipe, teacher, matching.layers, own, own_rows, each, head)
    history, trained = empty_history(), "without a step"
    if matching.weights:
        history = intermediate_distill(recipe, begun, teacher, rows, matching, how, kept_states)
        refit_head(begun.student, begun.head, recipe.seed)  # the layers have moved since
        trained = f"loss {history['loss'].iloc[-1]:.3f}"
    save = partial(save_student, begun.student, kept)
    folder = write_outputs(recipe, save, history, begun.said)
    how.finish()
    done_reading(kept_states, system)  # last: what goes on after a kill reads the same
    return f"made the student in {folder} from {len(rows):,} rows ({trained})"


if __name__ == "__main__":
    run(main)
