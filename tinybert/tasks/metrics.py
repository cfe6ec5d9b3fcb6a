"""Metrics by name: GLUE's (Wang et al. 2019, arXiv 1804.07461, table 1), and those of other kinds.

scikit-learn and SciPy are imported late, for the stages that only name metrics.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.settings.choices import Kind
from tinybert.tasks.entities import entity_counts, entity_metrics, entity_rates
from tinybert.tasks.squad_metrics import gold_texts, squad_scores
from tinybert.tasks.task import METRICS, MetricName, TaskInfo


def default_metrics(kind: Kind) -> list[MetricName]:
    """Return the metrics of a task that names none."""
    return list(METRICS[kind][:2])


def score_task(info: TaskInfo, predictions: NDArray[Any], labels: NDArray[Any]) -> dict[str, float]:
    """Return a task's metrics as fractions, the selecting one first.

    Args:
        info: The task.
        predictions: One a row: a label's number, a value, label numbers, each word's tag, a text.
        labels: Gold ones, as `task`'s docstring has them.
    """
    if info.kind == "tokens":
        found = entity_metrics(list(labels), list(predictions), info.labels)
    elif info.kind == "span":
        found = squad_scores(list(predictions), gold_texts(labels))
    elif info.kind == "multilabel":
        ours, gold = (multi_hot(of, info.num_outputs) for of in (predictions, labels))
        return {name: _score_hot(name, ours, gold) for name in info.metrics}
    else:
        return score(info.metrics, predictions, labels)
    return {name: found[name] for name in info.metrics}


def main_metric(
    info: TaskInfo, predictions: NDArray[Any], labels: NDArray[Any]
) -> Callable[[NDArray[np.int64]], float]:
    """Return a function of row numbers that gives the main metric of these rows, quickly.

    What a row adds to it is computed once, where it is a sum over rows.
    """
    name = info.metrics[0]
    if info.kind == "span":
        pairs = zip(predictions, gold_texts(labels), strict=True)
        values = [squad_scores([text], [of])[name] for text, of in pairs]
        each = np.array(values)
        return lambda rows: float(each[rows].mean())
    if info.kind == "tokens":
        counts = entity_counts(list(labels), list(predictions), info.labels)
        return lambda rows: entity_rates(counts[rows].sum(axis=0))[name]
    if info.kind == "multilabel":
        ours, gold = (multi_hot(of, info.num_outputs) for of in (predictions, labels))
        return lambda rows: _score_hot(name, ours[rows], gold[rows])
    if name == "accuracy":
        right = np.asarray(predictions == labels)
        return lambda rows: float(right[rows].mean())
    return lambda rows: _score(name, predictions[rows], labels[rows])


def _score_hot(name: MetricName, ours: NDArray[np.bool_], gold: NDArray[np.bool_]) -> float:
    """Score several labels: F1 over all choices, its mean over labels, or rows that are all right.

    Args:
        name: The metric.
        ours: Predicted labels, shape (rows, labels).
        gold: Likewise.
    """
    if name == "accuracy":
        return float((ours == gold).all(axis=1).mean())
    axis = None if name == "f1_micro" else 0
    right, chosen = (ours & gold).sum(axis=axis), ours.sum(axis=axis) + gold.sum(axis=axis)
    return float(np.mean(2 * right / np.maximum(1, chosen)))  # 0 where nobody chose a label


def multi_hot(labels: Iterable[Any], num_labels: int) -> NDArray[np.bool_]:
    """Return which labels each row has, shape (rows, labels).

    Args:
        labels: For each row the numbers of its labels.
        num_labels: Of the task.
    """
    rows = list(labels)
    found = np.zeros((len(rows), num_labels), dtype=bool)
    for row, numbers in zip(found, rows, strict=True):
        row[np.asarray(numbers, dtype=np.int64)] = True
    return found


def score(
    names: Sequence[MetricName], predictions: NDArray[np.generic], labels: NDArray[np.generic]
) -> dict[str, float]:
    """Return each named metric as a fraction (0.83, not 83).

    A correlation with constant predictions is undefined and counts as 0, as does Matthews'.

    Args:
        names: Metrics to compute.
        predictions: Label numbers, or values for regression; shape (rows,).
        labels: Gold ones; shape (rows,).
    """
    return {name: _score(name, predictions, labels) for name in names}


def _score(
    name: MetricName, predictions: NDArray[np.generic], labels: NDArray[np.generic]
) -> float:
    from sklearn import metrics as sk

    if name == "accuracy":
        return float(sk.accuracy_score(labels, predictions))
    if name == "f1":
        return float(sk.f1_score(labels, predictions, pos_label=1, zero_division=0))
    if name == "f1_macro":
        return float(sk.f1_score(labels, predictions, average="macro", zero_division=0))
    if name == "f1_micro":
        return float(sk.f1_score(labels, predictions, average="micro", zero_division=0))
    if name == "matthews":
        return float(sk.matthews_corrcoef(labels, predictions))
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    from scipy import stats

    correlate: Any = stats.pearsonr if name == "pearson" else stats.spearmanr
    return float(correlate(predictions, labels).statistic)
