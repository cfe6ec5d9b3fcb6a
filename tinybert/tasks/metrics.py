"""GLUE's metrics, by name. Source: Wang et al. 2019, arXiv 1804.07461, table 1.

scikit-learn and SciPy are imported late, for the stages that only name metrics.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.tasks.task import METRICS, Kind, MetricName


def default_metrics(kind: Kind) -> list[MetricName]:
    """Return the metrics of a task that names none."""
    return list(METRICS[kind][:2])


def score(
    names: Sequence[MetricName], predictions: NDArray[np.generic], labels: NDArray[np.generic]
) -> dict[str, float]:
    """Return each named metric as a fraction (0.83, not 83).

    Args:
        names: Metrics to compute.
        predictions: Label numbers, or values for regression; shape (rows,).
        labels: Gold ones; shape (rows,).

    A correlation with constant predictions is undefined and counts as 0, as does Matthews'.
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
    if name == "matthews":
        return float(sk.matthews_corrcoef(labels, predictions))
    if np.ptp(predictions) == 0 or np.ptp(labels) == 0:
        return 0.0
    from scipy import stats

    correlate: Any = stats.pearsonr if name == "pearson" else stats.spearmanr
    return float(correlate(predictions, labels).statistic)
