"""Whether an exported classifier may be handed on: it answers as the one it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import TaskSplit
from tinybert.runtime.errors import InputError
from tinybert.tasks.metrics import main_metric

MOST_DIFFERENT = 1e-3  # of a logit, between PyTorch and ONNX in float32
RESAMPLES = 400
INTERVAL = (0.025, 0.975)

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """How a model's answers on dev compare with those of the model it was made of.

    Attributes:
        name: How it was made.
        score: Its main metric, a fraction.
        drop: What of the other's score is lost; negative where it is better.
        drop_low: Lower end of the drop's 95% interval, over rows drawn again for both at once.
        drop_high: Its upper end.
        agreement: Share of rows with the same answer; None for values.
        largest_difference: Of a logit.
        size_mb: Of its file.
    """

    name: str
    score: float
    drop: float
    drop_low: float
    drop_high: float
    agreement: float | None
    largest_difference: float
    size_mb: float


def compare(
    name: str,
    before: Logits,
    after: Logits,
    dev: TaskSplit,
    decision: Decision,
    size_mb: float,
    seed: int,
) -> Comparison:
    """Compare two models' answers on the same rows.

    Args:
        name: How the second was made.
        before: The first one's logits, of `predict_logits`.
        after: The second one's.
        dev: The rows.
        decision: Their thresholds.
        size_mb: Of the second one's file.
        seed: Of the rows drawn again.
    """
    info, gold = dev.info, dev.gold
    theirs, ours = dev.predictions(before, decision), dev.predictions(after, decision)
    score_of = [main_metric(info, predictions, gold) for predictions in (theirs, ours)]
    everything = np.arange(len(gold))
    generator = np.random.default_rng(seed)
    draws = generator.integers(len(gold), size=(RESAMPLES, len(gold)))
    low, high = np.quantile([score_of[0](d) - score_of[1](d) for d in draws], INTERVAL)
    same = [bool(np.array_equal(*pair)) for pair in zip(theirs, ours, strict=True)]
    return Comparison(
        name,
        score_of[1](everything),
        score_of[0](everything) - score_of[1](everything),
        float(low),
        float(high),
        None if info.kind == "regression" else float(np.mean(same)),
        float(np.abs(before - after).max()),
        size_mb,
    )


def megabytes(file: Path) -> float:
    """Return a file's size, in millions of bytes."""
    return file.stat().st_size / 1e6


def require_same(place: str, before: Logits, after: Logits) -> float:
    """Return the largest difference of a logit between PyTorch and ONNX in float32.

    Raises:
        InputError: It is more than `MOST_DIFFERENT`, or no number.
    """
    most = float(np.abs(before - after).max())
    if not most <= MOST_DIFFERENT:
        raise InputError(
            f"{place}: ONNX answers otherwise than PyTorch, got logits that differ by {most:.2g}; "
            f"at most {MOST_DIFFERENT:g} may be: export with the versions of requirements.lock"
        )
    return most


def choose(place: str, tried: Sequence[Comparison], max_score_drop: float) -> Comparison:
    """Return the model that loses least of the score; of like ones, the one that agrees most.

    Raises:
        InputError: Each loses more than it may.
    """
    best = min(tried, key=lambda one: (one.drop, -(one.agreement or 0), one.largest_difference))
    if not best.drop <= max_score_drop:
        lost = ", ".join(f"{one.name} {100 * one.drop:.1f}" for one in tried)
        raise InputError(
            f"{place}: every int8 model loses too much of the score, got points lost {lost}; at "
            f"most {100 * max_score_drop:g} may be (export.max_score_drop): name further "
            "export.calibrations, or deploy float32"
        )
    return best
