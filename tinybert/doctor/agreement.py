"""Whether a classifier's outputs agree with the gold labels, and in which order they do.

Agreement is counted beyond what the two margins give by chance, so a classifier that mostly names
one label is judged by the rest.
"""

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

# z has mean kappa * sqrt(n) and a deviation of about 1. A teacher with a Matthews correlation of
# 0.15 over 1,000 rows has 4.74 and falls below 1.3 once in 3,000 times (the normal tail at 3.44;
# 20,000 tables drawn so gave at most 1 in 2,000, whatever the margins); 0.2 over 600 rows, 0.3
# over 250: the same. One that guesses passes once in 10 times, so what the weights of its head
# say comes on top (`doctor.teacher`).
BETTER_THAN_CHANCE = 1.3
FALSE_SWAPS = 1e-3  # share of teachers in right order that are taken for swapped, at most

Table = NDArray[np.int64]


def agreement_z(table: Table) -> float:
    """Return how many deviations the agreement is above that of predictions drawn at random.

    Deviations are those of shuffled predictions [Hoeffding 1951, theorem 2]; with two classes this
    is Matthews' correlation times sqrt(n - 1).

    Args:
        table: Confusion matrix, gold by predicted, of shape (labels, labels).
    """
    num_rows, gold, named = _margins(table)
    centred = np.eye(len(table)) - named[:, None] - gold[None, :] + (gold * named).sum()
    variance = num_rows**2 / (num_rows - 1) * (np.outer(gold, named) * centred**2).sum()
    return _excess(table, np.arange(len(table))) / math.sqrt(variance) if variance > 0 else 0.0


def kappa(table: Table) -> float:
    """Return Cohen's kappa: 0 for chance, 1 for every row."""
    num_rows, gold, named = _margins(table)
    by_chance = float((gold * named).sum())
    return (np.trace(table) / num_rows - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0


def better_order(table: Table) -> list[int] | None:
    """Return the order in which outputs agree with labels, where it surely is not the given one.

    The order with the most agreement beyond chance is compared with the given one by the deviation
    of their difference (delta method). The bound is shared out to all k! - 1 other orders, so a
    teacher whose given order is the best one in truth is mistaken at most once in 1,000 times,
    however many labels and however weak it is.

    Returns:
        For each label the output that behaves like it; None where the given order may be right.
    """
    num_rows, _, _ = _margins(table)
    order = _best_order(table)
    given = np.arange(len(table))
    if (order == given).all():
        return None
    more = _excess(table, order) - _excess(table, given)
    smoothed = table + 0.5  # else a table without an exception has no deviation
    scores = _scores(table, order) - _scores(table, given)
    mean = np.average(scores, weights=smoothed)
    deviation = math.sqrt(num_rows * np.average((scores - mean) ** 2, weights=smoothed))
    return order.tolist() if more > _bound(len(table)) * deviation else None


def _bound(num_labels: int) -> float:
    log_orders = math.lgamma(num_labels + 1)
    return -NormalDist().inv_cdf(max(FALSE_SWAPS * math.exp(-min(log_orders, 600.0)), 1e-300))


def _best_order(table: Table) -> NDArray[np.int64]:
    num_rows, gold, named = _margins(table)
    return np.asarray(linear_sum_assignment(table - num_rows * np.outer(gold, named), True)[1])


def _margins(table: Table) -> tuple[int, NDArray[Any], NDArray[Any]]:
    num_rows = int(table.sum())
    return num_rows, table.sum(axis=1) / num_rows, table.sum(axis=0) / num_rows


def _excess(table: Table, order: NDArray[np.int64]) -> float:
    """Return the rows that agree in this order beyond those that do by chance."""
    num_rows, gold, named = _margins(table)
    return float(table[np.arange(len(table)), order].sum() - num_rows * (gold * named[order]).sum())


def _scores(table: Table, order: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return what one more row of each cell would add to the excess."""
    _, gold, named = _margins(table)
    agree = np.zeros(table.shape)
    agree[np.arange(len(table)), order] = 1.0
    agree -= named[order][:, None] + gold[np.argsort(order)][None, :]
    return agree
