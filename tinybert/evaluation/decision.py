"""What turns logits into answers beside the largest one: thresholds, chosen on dev.

They are saved in the model's config.json: `thresholds`, a probability for each label of a
multilabel task; `null_threshold` of span, how much the score of no answer must exceed that of the
best one.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.settings.choices import Kind
from tinybert.tasks.task import TaskInfo

DECIDED: tuple[Kind, ...] = ("multilabel", "span")  # kinds that have some
EVEN = 0.5  # the threshold where nothing is known
FEWEST = 10  # rows of a label for a threshold of its own


@dataclass(frozen=True)
class Decision:
    """Thresholds of a task.

    Attributes:
        thresholds: Of each label's probability, in the labels' order; None: 0.5.
        null_threshold: What null score less best score must exceed; None: there is always an
            answer.
    """

    thresholds: tuple[float, ...] | None = None
    null_threshold: float | None = None

    def put_into(self, config: Any, info: TaskInfo) -> None:
        """Save it in a model's configuration."""
        if self.thresholds is not None:
            config.thresholds = dict(zip(info.labels, self.thresholds, strict=True))
        if self.null_threshold is not None:
            config.null_threshold = self.null_threshold


def saved_decision(config: Any, info: TaskInfo, place: str) -> Decision:
    """Read what a model's configuration holds; without, the usual thresholds.

    Args:
        config: The model's.
        info: The task.
        place: The model, for messages.

    Raises:
        InputError: Thresholds are of other labels, or are no probabilities.
    """
    found, null = getattr(config, "thresholds", None), getattr(config, "null_threshold", None)
    if null is not None and (not isinstance(null, int | float) or np.isnan(null)):
        raise InputError(f"{place}: null_threshold must be a number, got {null!r}; run `dvc repro`")
    if found is None or info.kind != "multilabel":
        return Decision(null_threshold=None if null is None else float(null))
    known = set(info.labels)
    strange = sorted(set(found) ^ known) if isinstance(found, dict) else ["no names"]
    if strange:
        raise InputError(
            f"{place}: thresholds must be of the labels of {info.name}, got {', '.join(strange)} "
            "on one side only; correct `thresholds` in config.json, or run `dvc repro`"
        )
    wrong = [name for name, value in found.items() if not _is_probability(value)]
    if wrong:
        raise InputError(
            f"{place}: thresholds must be probabilities, got {found[wrong[0]]!r} for {wrong[0]}; "
            "correct `thresholds` in config.json, or run `dvc repro`"
        )
    return Decision(thresholds=tuple(float(found[name]) for name in info.labels))


def _is_probability(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def choose_thresholds(
    probabilities: NDArray[np.floating], gold: NDArray[np.bool_], per_label: bool
) -> tuple[float, ...]:
    """Return the thresholds with the best F1.

    One for all labels is best for micro F1, one of its own for each is best for macro F1 (Lipton et
    al. 2014, 1402.1892); a label with few rows takes the common one, since its own would be luck.

    Args:
        probabilities: Of each label, shape (rows, labels).
        gold: Whether a row has it, same shape.
        per_label: Whether labels have thresholds of their own.
    """
    common = best_threshold(probabilities.ravel(), gold.ravel())
    if not per_label:
        return (common,) * int(probabilities.shape[1])
    return tuple(
        best_threshold(ours, theirs) if theirs.sum() >= FEWEST else common
        for ours, theirs in zip(probabilities.T, gold.T, strict=True)
    )


def best_threshold(probabilities: NDArray[np.floating], gold: NDArray[np.bool_]) -> float:
    """Return the threshold above which naming a label gives the best F1, midway between values.

    Args:
        probabilities: Shape (choices,).
        gold: What is right, same shape.
    """
    if not gold.any():
        return EVEN
    order = np.argsort(-probabilities, kind="stable")
    descending, right = probabilities[order], np.cumsum(gold[order])
    named = np.arange(1, len(order) + 1)
    scores = 2 * right / (named + gold.sum())
    # Equal probabilities are named together.
    last = np.append(descending[1:] < descending[:-1], True)
    best = int(np.argmax(np.where(last, scores, -1)))
    below = descending[best + 1] if best + 1 < len(order) else 0.0
    return float((descending[best] + below) / 2)
