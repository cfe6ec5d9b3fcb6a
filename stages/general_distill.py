"""Distil the pretrained teacher into a general student on the corpus.

python -m stages.general_distill SYSTEM
"""

from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from transformers import PreTrainedModel

from stages import run
from tinybert.batching import Blocks
from tinybert.checkpoints import load_encoder, load_tokenizer, require_same_vocabulary
from tinybert.distillation import Distillation, Loss, Weights, phase_weights
from tinybert.fingerprint import checkpoints_folder
from tinybert.layer_map import LayerMap, teacher_layers
from tinybert.outputs import replace_file, replace_folder
from tinybert.precision import Precision, autocast_dtype
from tinybert.projections import Projection
from tinybert.schedule import Run, Schedule
from tinybert.settings import read_param, read_section, read_system
from tinybert.student import Initialisation, Shape, make_student
from tinybert.systems import LayerPhase
from tinybert.teacher import Teacher
from tinybert.training import empty_history, train

CORPUS, PRETRAINED = Path("data/corpus"), Path("models/pretrained")


class GeneralDistillSettings(Schedule):
    """The profile's section `general_distill`."""

    save_steps: int = Field(ge=1)  # steps between checkpoints


SETTINGS = GeneralDistillSettings


def general_distill(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    corpus: Path,
    weights: Weights,
    layers: list[int],
    projection: Projection,
    schedule: Schedule,
    how: Run,
) -> tuple[Distillation, pd.DataFrame]:
    """Train the student, in place, on the corpus; return it with its projections, and the history.

    Args:
        student: The student at its first weights.
        teacher: The pretrained teacher.
        corpus: The folder of `prepare_corpus`.
        weights: The phase's terms; none: the student stays as it is.
        layers: [g(1), ..., g(M)].
        projection: Kind of W_h.
        schedule: Length and speed.
        how: Seed, precision, checkpoints.
    """
    model = Distillation(student, weights, Teacher(teacher, how.dtype), layers, projection)
    if not weights:
        return model, empty_history()
    history, _ = train(model, Blocks(corpus), student.config.pad_token_id or 0, schedule, how)
    return model, history


def main(system: str) -> str:
    """Read the settings and distil one system's general student."""
    settings = read_section("general_distill", GeneralDistillSettings)
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
    tokenizer, teacher = load_tokenizer(PRETRAINED), load_encoder(PRETRAINED)
    require_same_vocabulary(load_tokenizer(CORPUS), tokenizer, str(CORPUS))
    weights = phase_weights(phase.terms, loss)
    student = make_student(shape, start, teacher, seed)
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
            "general_distill", {**read, "precision": precision}, [PRETRAINED, CORPUS]
        ),
        seed=seed,
        dtype=autocast_dtype(precision),
        save_steps=settings.save_steps,
    )
    model, history = general_distill(
        student, teacher, CORPUS, weights, layers, projection, settings, how
    )
    folder = Path("models/general") / system
    with replace_folder(folder) as partial:
        student.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        if model.projections is not None:
            model.projections.save(partial / "projections.safetensors")
    with replace_file(Path(f"reports/training/general_distill/{system}.csv")) as file:
        history.to_csv(file, index=False)
    how.finish()
    if not weights:
        return f"made a student without general distillation in {folder}"
    return f"made the general student in {folder} (loss {history['loss'].iloc[-1]:.3f})"


if __name__ == "__main__":
    run(main)
