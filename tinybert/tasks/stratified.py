"""Draw rows so that every label keeps its share."""

import numpy as np
from numpy.typing import NDArray


def stratified_sample(strata: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Draw rows so that every stratum keeps its share, and none is lost while there is room.

    Args:
        strata: The stratum of each row; shape (rows,).
        size: How many rows to draw, at most all.
        seed: Of the draw.

    Returns:
        Positions of the rows in ascending order; shape (size,).
    """
    generator = np.random.default_rng(seed)
    names, counts = np.unique(strata, return_counts=True)
    chosen = [
        generator.permutation(np.flatnonzero(strata == name))[:quota]
        for name, quota in zip(names, _quotas(counts, size), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share `size` by largest remainders, at least one for each stratum if they fit."""
    share = counts * (size / counts.sum())
    quotas = np.maximum(np.floor(share), 1).astype(np.int64)
    while quotas.sum() < size:
        quotas[np.argmax(np.where(quotas < counts, share - quotas, -np.inf))] += 1
    while quotas.sum() > size:
        quotas[np.argmax(quotas - share)] -= 1
    return np.asarray(quotas, dtype=np.int64)
