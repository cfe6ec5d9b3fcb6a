"""Probabilities out of logits, by numpy: stages that only read predictions need no torch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def certainty(logits: Logits) -> NDArray[np.floating]:
    """Return the probability of the label that is predicted, shape (rows,)."""
    from scipy.special import softmax  # late: not every stage that predicts asks for it

    return np.asarray(softmax(logits, axis=1).max(axis=1))


def probabilities(logits: Logits) -> NDArray[np.floating]:
    """Return each label's probability by itself, shape (rows, labels)."""
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)))


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an array of objects, one each, whatever their own shapes."""
    found = np.empty(len(values), dtype=object)
    for number, value in enumerate(values):
        found[number] = value
    return found
