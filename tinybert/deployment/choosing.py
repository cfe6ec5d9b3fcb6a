"""Which student? Shapes fitted in closed form to a task's teacher, scored and timed, untrained.

A fit costs seconds, so many shapes are compared before one of them is trained.
"""

import copy
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.closed_form.start import choose_head_targets, fit_student
from tinybert.deployment.engines import TYPES, Engine, onnx_engine, torch_engine
from tinybert.deployment.int8 import processor_flags, quantize, sums_overflow
from tinybert.deployment.latency import Draw, measure_engines
from tinybert.deployment.onnx_file import export_onnx
from tinybert.deployment.sections import EngineName
from tinybert.distillation.losses import binary_kl_loss, kl_loss
from tinybert.encoders.checkpoints import head_class
from tinybert.encoders.cost import num_parameters
from tinybert.encoders.student import student_config
from tinybert.evaluation.prediction import TaskSplit, predict_logits
from tinybert.runtime.errors import InputError
from tinybert.settings.heads import kind_of_head
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.systems import Shape
from tinybert.text.encoded import EncodedRows

LAYERS = (1, 2, 3, 4, 6)  # of a student
WIDTHS = (Fraction(1, 4), Fraction(1, 2), Fraction(3, 4))  # of the teacher's
FIT_TOKENS = 12_000  # fewer than a start is fitted on: an order of shapes is all that is asked
REPEATS, WARMUP = 30, 3  # timed passes of each shape, in turn


class Candidate(NamedTuple):
    """A shape, and what is known of it without a step of training.

    Attributes:
        shape: Layers, widths, heads.
        parameters: Of the encoder and its head.
        ms: Median time of one row.
        lost: What its answers lose of the teacher's, see `lost_answers`; on dev.
        score: Main metric on dev, a fraction.
    """

    shape: Shape
    parameters: int
    ms: float
    lost: float
    score: float

    @property
    def name(self) -> str:
        """Layers times width, for instance `3x192`."""
        return shape_name(self.shape)


def shape_name(shape: Shape) -> str:
    """Return layers times width, for instance `3x192`."""
    return f"{shape.num_hidden_layers}x{shape.hidden_size}"


def candidate_shapes(teacher: Any) -> list[Shape]:
    """Return the shapes that are compared: no layer, head or width more than the teacher has.

    Args:
        teacher: Its configuration.
    """
    heads = teacher.num_attention_heads
    inner = getattr(teacher, "intermediate_size", None) or teacher.hidden_dim  # DistilBERT's name
    widths = {max(1, int(part * teacher.hidden_size / heads)) * heads for part in WIDTHS}
    return [
        Shape(
            num_hidden_layers=layers,
            hidden_size=width,
            intermediate_size=width * inner // teacher.hidden_size,  # as many times the width
            num_attention_heads=heads,
            dropout=0.0,
        )
        for layers in LAYERS
        if layers <= teacher.num_hidden_layers
        for width in sorted(widths)
    ]


def new_student(shape: Shape, teacher: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Make a classifier of a shape with the teacher's vocabulary and outputs; random weights."""
    theirs: Any = teacher.config
    config = student_config(shape, theirs)
    config.num_labels, config.problem_type = theirs.num_labels, theirs.problem_type
    torch.manual_seed(seed)
    head = head_class(kind_of_head([type(teacher).__name__]))
    model: PreTrainedModel = head.from_config(config)
    return model.eval()


def measure_shapes(
    shapes: Sequence[Shape],
    teacher: PreTrainedModel,
    engine: EngineName,
    length: int,
    num_threads: int,
    seed: int,
    advance: Callable[[], object] = lambda: None,
) -> list[float]:
    """Time one row of so many tokens in each shape, all in turn; return medians, milliseconds.

    Weights are random: speed does not depend on them.

    Args:
        shapes: What is timed.
        teacher: The classifier whose vocabulary the students have.
        engine: How they run.
        length: Tokens.
        num_threads: Of one pass.
        seed: Of weights and tokens.
        advance: Called after each shape was made, for a progress bar.
    """
    engines: dict[str, Engine] = {}
    before = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        for number, shape in enumerate(shapes):
            place = Path(folder) / str(number)
            student = new_student(shape, teacher, seed)
            engines[str(number)] = _engine(student, engine, place, num_threads)
            advance()
        torch.set_num_threads(num_threads)
        try:
            batches = Draw(teacher.config.vocab_size, seed)(1, length, 1)
            times = measure_engines(engines, batches, REPEATS, WARMUP)
        finally:
            torch.set_num_threads(before)
    return [float(np.median(of)) for of in times.values()]


def _engine(model: PreTrainedModel, name: EngineName, place: Path, num_threads: int) -> Engine:
    if name in TYPES:
        return torch_engine(model, name, torch.device("cpu"))
    place.mkdir()
    file, int8 = place / "model.onnx", place / "int8.onnx"
    export_onnx(model, file)
    if name == "onnx_int8":
        quantize(file, int8, "dynamic", [], sums_overflow(processor_flags()))
        file = int8
    return onnx_engine(file, num_threads)


class Judge:
    """Fits shapes to a task's teacher, and scores them on dev.

    Args:
        teacher: The fine-tuned classifier, on the device to compute on.
        rows: Texts of the task to fit on.
        dev: Its dev rows.
        layer_map: g.
        seed: Of the fits.
    """

    def __init__(
        self,
        teacher: PreTrainedModel,
        rows: EncodedRows,
        dev: TaskSplit,
        layer_map: LayerMap,
        seed: int,
    ) -> None:
        self.teacher, self.rows, self.dev = teacher, rows, dev
        self.layer_map, self.seed = layer_map, seed
        self.answers = predict_logits(teacher, dev.rows, None)
        self.head = choose_head_targets(teacher, rows, seed, FIT_TOKENS)

    def __call__(self, shape: Shape, ms: float) -> Candidate:
        """Fit a shape and return what is known of it.

        Raises:
            InputError: It cannot be fitted.
        """
        student = new_student(shape, self.teacher, self.seed)
        num_teacher = self.teacher.config.num_hidden_layers
        layers = teacher_layers(self.layer_map, shape.num_hidden_layers, num_teacher)
        of = (student, self.teacher, self.rows, layers, self.seed)
        fit_student(*of, max_tokens=FIT_TOKENS, head=self.head)
        logits = predict_logits(student, self.dev.rows, None)
        lost, score = lost_answers(logits, self.answers, self.dev), self.dev.scores(logits)
        return Candidate(shape, num_parameters(student), ms, lost, next(iter(score.values())))


def lost_answers(ours: NDArray[np.float32], theirs: NDArray[np.float32], dev: TaskSplit) -> float:
    """Return how far a student's answers are from its teacher's.

    Args:
        ours: Its logits, of `predict_logits`.
        theirs: The teacher's.
        dev: The rows.

    Returns:
        The mean divergence of its distribution from the teacher's, in nats, by row, word or label;
        of values the mean squared difference as a share of the teacher's variance; of span that of
        the scores of all tokens.
    """
    if dev.info.kind in ("regression", "span"):
        return float(np.square(ours - theirs).mean() / theirs.var())
    if dev.info.kind == "tokens":
        ours, theirs = dev.word_logits(ours), dev.word_logits(theirs)
    student, teacher = (torch.from_numpy(of).double() for of in (ours, theirs))
    if dev.info.kind == "multilabel":
        return float(binary_kl_loss(student, teacher, 1.0))
    return float(kl_loss(student, teacher, 1.0))


def require_reachable(shapes: Sequence[Shape], times: Sequence[float], limit: float) -> None:
    """Check that one of the shapes is fast enough, before minutes are spent on fits.

    Args:
        shapes: At least one.
        times: Milliseconds of one row in each.
        limit: What one may take.

    Raises:
        InputError: None is so fast; the fastest is named.
    """
    fastest = int(np.argmin(times))
    if times[fastest] > limit:
        raise InputError(
            f"MS: no shape takes at most {limit:g} ms a row here, got {times[fastest]:.2f} ms for "
            f"the fastest, {shape_name(shapes[fastest])}; allow more, shorter rows (LENGTH) or "
            "more THREADS"
        )


def choose_candidate(candidates: Sequence[Candidate], limit: float) -> Candidate:
    """Return the candidate within a limit that loses least of the teacher's answers.

    Args:
        candidates: Of which one is within it, as `require_reachable` checks.
        limit: Milliseconds of one row.
    """
    within = [each for each in candidates if each.ms <= limit]
    return min(within, key=lambda each: (each.lost, each.ms))


def system_file(recipe: dict[str, Any], shape: Shape, ms: float, said: str) -> dict[str, Any]:
    """Return what a file of params/systems/ says of a shape that was chosen.

    Args:
        recipe: The file of the system whose phases it takes over.
        shape: The shape.
        ms: What was measured.
        said: Of what.
    """
    found = copy.deepcopy(recipe)
    found["description"] = f"closed form, {shape_name(shape)}: {ms:.2f} ms {said}"
    found["shape"] = shape.model_dump(exclude_defaults=True)
    return found
