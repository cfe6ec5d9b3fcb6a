"""Distil the pretrained teacher into a general student on the corpus.

python -m stages.general_distill SYSTEM
"""

import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from filelock import FileLock
from pydantic import Field
from transformers import PreTrainedModel

from stages import run
from tinybert.checkpoints import load_encoder, load_tokenizer, require_same_vocabulary
from tinybert.distillation import Distillation, Loss, Weights, phase_weights
from tinybert.encoded import Blocks
from tinybert.errors import InputError
from tinybert.fingerprint import checkpoints_folder
from tinybert.layer_map import LayerMap, teacher_layers
from tinybert.outputs import replace_file, replace_folder
from tinybert.precision import Precision, autocast_dtype
from tinybert.processes import num_processes
from tinybert.projections import Projection
from tinybert.schedule import Run, Schedule
from tinybert.settings import PARAMS, read_param, read_section, read_system, read_yaml
from tinybert.student import Initialisation, Shape, make_student
from tinybert.systems import LayerPhase
from tinybert.teacher import Teacher
from tinybert.training import empty_history, train, train_together

CORPUS, PRETRAINED = Path("data/corpus"), Path("models/pretrained")
GENERAL = Path("models/general")
TOGETHER = "TINYBERT_TOGETHER"  # 0: make one student only, where other machines make the others


class GeneralDistillSettings(Schedule):
    """The profile's section `general_distill`."""

    save_steps: int = Field(ge=1)  # steps between checkpoints


SETTINGS = GeneralDistillSettings


class Recipe(NamedTuple):
    """One system's general phase.

    Attributes:
        system: Its name.
        shape: Of the student.
        start: What it starts from.
        weights: The phase's terms; none: the student stays as it is.
        layers: [g(1), ..., g(M)].
        projection: Kind of W_h.
        how: Seed, precision, checkpoints.
    """

    system: str
    shape: Shape
    start: Initialisation
    weights: Weights
    layers: list[int]
    projection: Projection
    how: Run


def read_recipe(system: str, settings: GeneralDistillSettings, teacher: PreTrainedModel) -> Recipe:
    """Read a system's file."""
    shape = read_system(system, "shape", Shape)
    start = read_system(system, "initialisation", Initialisation)
    layer_map = read_system(system, "layer_map", LayerMap)
    projection = read_system(system, "projection", Projection)
    phase = read_system(system, "general_distill", LayerPhase)
    loss = Loss(
        attn_weight=read_param("loss.attn_weight", float),
        hidden_weight=read_param("loss.hidden_weight", float),
        embedding_weight=read_param("loss.embedding_weight", float),
    )
    seed, precision = read_param("seed", int), read_param("precision", Precision)
    compiled = read_param("torch_compile", bool)
    weights = phase_weights(phase.terms, loss, phase.weights)
    layers = teacher_layers(layer_map, shape.num_hidden_layers, teacher.config.num_hidden_layers)
    read: dict[str, Any] = {
        "settings": settings.model_dump(),
        "shape": shape.model_dump(),
        "start": str(start),
    }
    read |= {"layers": layers, "projection": projection, "weights": weights, "seed": seed}
    how = Run(
        phase=f"general_distill {system}",
        checkpoints=checkpoints_folder(
            "general_distill",
            {**read, "precision": precision, "compile": compiled},
            [PRETRAINED, CORPUS],
        ),
        seed=seed,
        dtype=autocast_dtype(precision),
        compile=compiled,
        save_steps=settings.save_steps,
    )
    return Recipe(system, shape, start, weights, layers, projection, how)


def companions(
    own: Recipe, settings: GeneralDistillSettings, teacher: PreTrainedModel
) -> list[Recipe]:
    """Return the other systems of params.yaml whose general students are still to be made.

    They are trained along, on the same passes of the teacher; their own stages then find them
    done. They change nothing of this system's student, so their files are no `params` of it.
    """
    if not own.weights or os.environ.get(TOGETHER) == "0" or own.how.is_finished:
        return []
    names = [name for name in read_yaml(PARAMS).get("systems", []) if name != own.system]
    recipes = [read_recipe(name, settings, teacher) for name in names]
    return [each for each in recipes if each.weights and is_wanted(each)]


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


def general_distill(
    own: Recipe, others: list[Recipe], teacher: PreTrainedModel, corpus: Path, schedule: Schedule
) -> tuple[Distillation, pd.DataFrame]:
    """Train a student on the corpus; return it with its projections, and the history.

    Args:
        own: The student to make.
        others: Students to train along; kept where their own stages look.
        teacher: The pretrained teacher.
        corpus: The folder of `prepare_corpus`.
        schedule: Length and speed.
    """
    recipes = (own, *others)
    students = {
        each.system: make_student(each.shape, each.start, teacher, each.how.seed)
        for each in recipes
    }
    frozen = Teacher(teacher, own.how.dtype)  # after the students that start from its layers
    models = {each.system: _distillation(each, students[each.system], frozen) for each in recipes}
    model = models[own.system]
    pad = model.student.config.pad_token_id or 0
    if not own.weights:
        return model, empty_history()
    rows = Blocks(corpus)
    if others:
        names = ", ".join(each.system for each in others)
        print(f"{own.how.phase}: trains {names} along, on the same passes of the teacher")
        runs = {each.system: each.how for each in recipes}
        train_together(models, rows, pad, schedule, runs)
    history, _ = train(model, rows, pad, schedule, own.how)
    return model, history


def _distillation(recipe: Recipe, student: PreTrainedModel, teacher: Teacher) -> Distillation:
    """Put a student beside the teacher; its projections' first weights hang on the seed alone."""
    torch.manual_seed(recipe.how.seed + 1)
    return Distillation(student, recipe.weights, teacher, recipe.layers, recipe.projection)


def main(system: str) -> str:
    """Read the settings and distil one system's general student."""
    settings = read_section("general_distill", GeneralDistillSettings)
    tokenizer, teacher = load_tokenizer(PRETRAINED), load_encoder(PRETRAINED)
    require_same_vocabulary(load_tokenizer(CORPUS), tokenizer, str(CORPUS))
    own = read_recipe(system, settings, teacher)
    with _one_at_a_time(own):
        others = companions(own, settings, teacher)
        try:
            model, history = general_distill(own, others, teacher, CORPUS, settings)
        except InputError as error:
            if not others:
                raise
            print(f"{own.how.phase}: goes on alone: {error}", flush=True)
            model, history = general_distill(own, [], load_encoder(PRETRAINED), CORPUS, settings)
    folder = GENERAL / system
    with replace_folder(folder) as partial:
        model.student.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if model.projections is not None:
            model.projections.save(partial / "projections.safetensors")
    with replace_file(Path(f"reports/training/general_distill/{system}.csv")) as file:
        history.to_csv(file, index=False)
    own.how.finish()
    if not own.weights:
        return f"made a student without general distillation in {folder}"
    with replace_file(_made(own)) as file:
        file.write_text(own.how.checkpoints.name, encoding="utf-8")
    return f"made the general student in {folder} (loss {history['loss'].iloc[-1]:.3f})"


def _one_at_a_time(own: Recipe) -> AbstractContextManager[Any]:
    """Let stages that run at the same time wait for each other's companions."""
    if num_processes() > 1:
        return nullcontext()
    own.how.checkpoints.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(own.how.checkpoints.parent / "lock")


if __name__ == "__main__":
    run(main)
