"""Distil the pretrained teacher into a general student on the corpus, or pre-train one there.

python -m stages.general_distill SYSTEM
"""

import copy
import os
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from filelock import FileLock
from transformers import PreTrainedModel

from stages import doctor, run
from tinybert.closed_form.start import fit_student
from tinybert.distillation.distillation import (
    Distillation,
    Weights,
    matched_weights,
    phase_weights,
)
from tinybert.distillation.general_rows import general_rows
from tinybert.distillation.pretraining import Pretraining
from tinybert.distillation.teacher import Teacher
from tinybert.distillation.terms import reads_teacher
from tinybert.distillation.together import Together
from tinybert.encoders.checkpoints import (
    load_encoder,
    load_masked_lm,
    load_tokenizer,
    require_same_vocabulary,
)
from tinybert.encoders.positions import require_positions
from tinybert.encoders.student import make_student, named_tokenizer, student_tokenizer
from tinybert.encoders.vocabulary import with_vocabulary
from tinybert.runtime.errors import InputError
from tinybert.runtime.fingerprint import checkpoints_folder
from tinybert.runtime.outputs import replace_file, replace_folder
from tinybert.runtime.precision import Precision, autocast_dtype, computing_device
from tinybert.runtime.processes import num_processes
from tinybert.settings.choices import Loss, Projection
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.reader import PARAMS, read_param, read_section, read_system, read_yaml
from tinybert.settings.systems import (
    Checkpoint,
    GeneralPhase,
    Initialisation,
    Relation,
    Shape,
    TeacherLayers,
    Vocabulary,
)
from tinybert.text.encoded import Blocks
from tinybert.text.vocabulary import require_enough
from tinybert.training.run import Run
from tinybert.training.sections import GeneralDistillSettings
from tinybert.training.training import empty_history, train, train_together

CORPUS, PRETRAINED = Path("data/corpus"), Path("models/pretrained")
GENERAL = Path("models/general")
TOGETHER = "TINYBERT_TOGETHER"  # 0: make one student only, where other machines make the others


class Recipe(NamedTuple):
    """One system's general phase.

    Attributes:
        system: Its name.
        shape: Of the student.
        start: What it starts from.
        vocabulary: What it reads, in the end.
        phase: What the system's file says of it.
        schedule: Length and speed.
        weights: The phase's terms; none: the student stays as it is.
        layers: [g(1), ..., g(M)].
        projection: Kind of W_h.
        relation: Whose relations are matched.
        how: Seed, precision, checkpoints.
    """

    system: str
    shape: Shape
    start: Initialisation
    vocabulary: Vocabulary
    phase: GeneralPhase
    schedule: GeneralDistillSettings
    weights: Weights
    layers: list[int]
    projection: Projection
    relation: Relation
    how: Run


def read_recipe(
    system: str, settings: GeneralDistillSettings, encoder: PreTrainedModel, said: bool = False
) -> Recipe:
    """Read a system's file.

    Args:
        system: Its name.
        settings: The profile's, times the system's steps_scale.
        encoder: The teacher's, which decides how its attention is matched.
        said: Whether another way than the file's is said.
    """
    shape = read_system(system, "shape", Shape)
    start = read_system(system, "initialisation", Initialisation)
    vocabulary = read_system(system, "vocabulary", Vocabulary)
    layer_map = read_system(system, "layer_map", LayerMap)
    projection = read_system(system, "projection", Projection)
    phase = read_system(system, "general_distill", GeneralPhase)
    schedule = phase.schedule(settings)
    loss = Loss(
        attn_weight=read_param("loss.attn_weight", float),
        hidden_weight=read_param("loss.hidden_weight", float),
        embedding_weight=read_param("loss.embedding_weight", float),
    )
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    compiled = read_param("torch_compile", bool)
    place, dtype = f"general_distill {system}", autocast_dtype(precision)
    weights = phase_weights(phase.terms, loss, phase.weights)
    weights = matched_weights(weights, encoder, place if said else "")
    num_layers = encoder.config.num_hidden_layers
    layers = teacher_layers(layer_map, shape.num_hidden_layers, num_layers)
    read: dict[str, Any] = {"settings": schedule.model_dump(), "shape": shape.model_dump()}
    read |= {"start": str(start), "phase": phase.model_dump(), "layers": layers}
    read |= {"projection": projection, "weights": weights, "tokenizer": vocabulary.tokenizer}
    read |= {"seed": seed, "precision": precision, "compile": compiled}
    kept = checkpoints_folder("general_distill", read, [PRETRAINED, CORPUS])
    how = Run(place, kept, seed, dtype, save_steps=schedule.save_steps, compile=compiled)
    relation = phase.relation(num_layers)
    matched = weights, layers, projection, relation
    return Recipe(system, shape, start, vocabulary, phase, schedule, *matched, how)


def companions(
    own: Recipe, settings: GeneralDistillSettings, encoder: PreTrainedModel
) -> list[Recipe]:
    """Return the other systems of params.yaml whose general students are still to be made.

    They are trained along, on the same passes of the teacher; their own stages then find them
    done. They change nothing of this system's student, so their files are no `params` of it.
    Students that hide words see other batches each, so they are trained alone; others are trained
    beside those of the same schedule.
    """
    if not shares_passes(own) or os.environ.get(TOGETHER) == "0" or own.how.is_finished:
        return []
    names = [name for name in read_yaml(PARAMS).get("systems", []) if name != own.system]
    recipes = [read_recipe(name, settings, encoder) for name in names]
    alike = [each for each in recipes if each.schedule == own.schedule]
    return [each for each in alike if shares_passes(each) and is_wanted(each)]


def shares_passes(recipe: Recipe) -> bool:
    """Say whether a student learns from the teacher's passes over the corpus as it is."""
    # A checkpoint may have its own tokenizer.
    own_tokens = isinstance(recipe.start, Checkpoint) or recipe.vocabulary.tokenizer is not None
    return bool(recipe.weights) and not recipe.phase.hides_words and not own_tokens


def is_wanted(recipe: Recipe) -> bool:
    """Say whether a student is known to be missing, or to be made by other settings."""
    if recipe.how.is_finished:
        return False
    made = _made(recipe)
    if not made.is_file():
        return not (GENERAL / recipe.system).is_dir()
    return made.read_text(encoding="utf-8") != recipe.how.checkpoints.name


def _made(recipe: Recipe) -> Path:
    """Return the file that says by which settings a student was made last."""
    return recipe.how.checkpoints.parent / f"{recipe.system}.made"


def load_teacher(recipe: Recipe, encoder: PreTrainedModel) -> PreTrainedModel:
    """Return what a phase learns from: the encoder, or its masked-word model, loaded here."""
    if not recipe.phase.hides_words:
        return encoder
    if not (PRETRAINED / "masked_lm").is_dir():
        raise InputError(
            f"params/systems/{recipe.system}.yaml: general_distill hides words, which needs "
            "the masked-word model, got fetch_teacher.masked_lm false; write true"
        )
    model = load_masked_lm(PRETRAINED / "masked_lm")
    kept, every = (each.config.num_hidden_layers for each in (model, encoder))
    if kept < every and set(recipe.phase.terms) - {"mlm", "next_sentence"}:
        raise InputError(
            f"params/systems/{recipe.system}.yaml: general_distill learns from the masked-word "
            f"model, which must have all {every} layers of the teacher, got {kept}; set "
            "fetch_teacher.num_hidden_layers to null"
        )
    return model


def general_distill(
    own: Recipe,
    others: list[Recipe],
    teacher: PreTrainedModel,
    tokenizer: Any,
    teachers: Any,
    corpus: Path,
) -> tuple[Distillation, pd.DataFrame]:
    """Train a student on the corpus; return it with its projections, and the history.

    Args:
        own: The student to make.
        others: Students to train along; kept where their own stages look.
        teacher: Of `load_teacher`.
        tokenizer: The student's.
        teachers: The teacher's tokenizer, whose tokens the corpus is in.
        corpus: The folder of `prepare_corpus`.
    """
    recipes = (own, *others)
    students = {
        each.system: make_student(each.shape, each.start, teacher.base_model, each.how.seed)
        for each in recipes
    }
    heads = {
        each.system: _pretraining(each, students[each.system], teacher, tokenizer)
        for each in recipes
    }
    # A copy where it is cast: students that start from its layers need float32.
    fits = any(each.start == "closed_form" for each in recipes)
    encoder = copy.deepcopy(teacher.base_model) if fits else teacher.base_model
    frozen = Teacher(encoder, own.how.dtype)
    models = {
        each.system: _distillation(each, students[each.system], frozen, heads[each.system])
        for each in recipes
    }
    for each in recipes:
        if each.start == "closed_form":
            theirs, student = teacher.base_model.to(computing_device()), students[each.system]
            found = models[each.system].projections
            fit = fit_student(student, theirs, Blocks(corpus), each.layers, each.how.seed, found)
            print(f"{each.how.phase}: {fit.as_text()}")
    model = models[own.system]
    if own.vocabulary.tokenizer is not None:
        model = _with_tokenizer(own, model, frozen, teachers, tokenizer)
    pad = model.student.config.pad_token_id or 0
    if not own.weights:
        return model, empty_history()
    kept = own.how.checkpoints
    rows = general_rows(corpus, tokenizer, teachers, own.weights, own.how.seed, kept)
    length = Blocks(corpus).blocks.shape[1]
    for each, whose in ((teacher, "teacher"), (model.student, "student")):
        require_positions(length, each.config, "prepare_corpus.block_length", whose)
    together = Together(models) if others else model
    doctor().training(together, rows, pad, [own.schedule], own.how)
    if others:
        names = ", ".join(each.system for each in others)
        print(f"{own.how.phase}: trains {names} along, on the same passes of the teacher")
        runs = {each.system: each.how for each in recipes}
        train_together(models, rows, pad, own.schedule, runs)
    history, _ = train(model, rows, pad, own.schedule, own.how)
    return model, history


def _pretraining(
    recipe: Recipe, student: PreTrainedModel, teacher: PreTrainedModel, tokenizer: Any
) -> Pretraining | None:
    """Make what hides words, with a head that starts as the teacher's where the layers do."""
    if not recipe.phase.hides_words:
        return None
    torch.manual_seed(recipe.how.seed + 1)
    temperature, places = recipe.phase.temperature, recipe.phase.mlm_kl_at
    made = Pretraining(student, tokenizer, recipe.weights, teacher, temperature, places)
    if made.words is not None and isinstance(recipe.start, TeacherLayers):
        made.words.start_from(teacher)
    return made


def _distillation(
    recipe: Recipe, student: PreTrainedModel, teacher: Teacher, pretraining: Pretraining | None
) -> Distillation:
    """Put a student beside the teacher; its projections' first weights hang on the seed alone."""
    torch.manual_seed(recipe.how.seed + 1)
    return Distillation(
        student,
        recipe.weights,
        teacher if reads_teacher(recipe.weights) else None,
        recipe.layers,
        recipe.projection,
        average_heads=recipe.phase.heads == "mean",
        pretraining=pretraining,
        relation=recipe.relation,
    )


def _with_tokenizer(
    recipe: Recipe, model: Distillation, teacher: Teacher, teachers: Any, tokenizer: Any
) -> Distillation:
    """Return what is trained, with another tokenizer's vocabulary and the same projections."""
    read = student_tokenizer(recipe.start, teachers)
    student = with_vocabulary(model.student, read, tokenizer)
    made = _distillation(recipe, student, teacher, None)
    if made.projections is not None and model.projections is not None:
        made.projections.load_state_dict(model.projections.state_dict())
    return made


def main(system: str) -> str:
    """Read the settings and make one system's general student."""
    settings = read_section("general_distill", GeneralDistillSettings)
    teachers = load_tokenizer(PRETRAINED)
    require_same_vocabulary(load_tokenizer(CORPUS), teachers, str(CORPUS))
    encoder = load_encoder(PRETRAINED)
    doctor().augmentation(f"general_distill {system}", PRETRAINED)
    own = read_recipe(system, settings, encoder, said=True)
    named = own.vocabulary.tokenizer
    tokenizer = named_tokenizer(named) if named else student_tokenizer(own.start, teachers)
    if own.vocabulary.max_pieces is not None:  # said here, before the task's stages
        require_enough(tokenizer, own.vocabulary.max_pieces)
    average = own.phase.heads == "mean"
    doctor().fit(
        own.how.phase,
        own.shape,
        encoder.config,
        own.weights,
        own.layers,
        own.projection,
        average,
        own.relation,
    )
    doctor().next_phase(own.how.phase, system, encoder)
    with _one_at_a_time(own):
        others = companions(own, settings, encoder)
        made = partial(general_distill, tokenizer=tokenizer, teachers=teachers, corpus=CORPUS)
        try:
            model, history = made(own, others, load_teacher(own, encoder))
        except InputError as error:
            if not others:
                raise
            print(f"{own.how.phase}: goes on alone: {error}", flush=True)
            # Again, since the first may be cast to another number format.
            model, history = made(own, [], load_encoder(PRETRAINED))
    folder = GENERAL / system
    with replace_folder(folder) as made_folder:
        model.student.save_pretrained(made_folder)
        tokenizer.save_pretrained(made_folder)
        if model.projections is not None:
            model.projections.save(made_folder / "projections.safetensors")
    with replace_file(Path(f"reports/training/general_distill/{system}.csv")) as file:
        history.to_csv(file, index=False)
    own.how.finish()
    if not own.weights:
        return f"made a student without general distillation in {folder}"
    with replace_file(_made(own)) as file:
        file.write_text(own.how.checkpoints.name, encoding="utf-8")
    return f"made the general student in {folder} (loss {history['loss'].iloc[-1]:.3f})"


def _one_at_a_time(own: Recipe) -> AbstractContextManager[Any]:
    """Let stages that could train each other along wait for each other."""
    if num_processes() > 1 or not shares_passes(own):
        return nullcontext()
    own.how.checkpoints.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(own.how.checkpoints.parent / "lock")


if __name__ == "__main__":
    run(main)
