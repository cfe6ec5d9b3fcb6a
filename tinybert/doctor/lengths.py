"""How many rows a task's `max_length` cuts off."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tinybert.doctor.findings import Finding, as_findings, doubt, right
from tinybert.encoders.positions import require_positions

MAX_ROWS, SEED = 5_000, 0
OFTEN = 0.01
judge_positions = as_findings(require_positions)  # rows longer than a model's positions are wrong


class Lengths(NamedTuple):
    """Tokens of a task's rows, special ones included.

    Attributes:
        num_rows: That were looked at.
        cut_off: Share that is longer than `max_length`.
        percentile_99: Tokens that 99 in 100 rows do not exceed.
        enough: The smallest `max_length` that cuts off fewer than 1 in 100.
    """

    num_rows: int
    cut_off: float
    percentile_99: int
    enough: int


def lengths_of(frame: pd.DataFrame, tokenizer: Any, max_length: int) -> Lengths:
    """Count the tokens of up to 5,000 rows, drawn at random."""
    drawn = np.random.default_rng(SEED).permutation(len(frame))[:MAX_ROWS]
    frame = frame.iloc[drawn]
    second = frame["sentence2"].tolist() if "sentence2" in frame else None
    encoded = tokenizer(frame["sentence1"].tolist(), second, truncation=False, verbose=False)
    return summary(np.array([len(ids) for ids in encoded["input_ids"]]), max_length)


def summary(tokens: "np.ndarray[Any, Any]", max_length: int) -> Lengths:
    """Sum up the rows' numbers of tokens."""
    ascending = np.sort(tokens)
    num_rows = len(ascending)
    allowed = math.ceil(OFTEN * num_rows) - 1  # rows that may be longer, at fewer than 1 in 100
    return Lengths(
        num_rows,
        float((ascending > max_length).mean()),
        int(ascending[math.ceil(0.99 * num_rows) - 1]),
        int(ascending[num_rows - 1 - allowed]),
    )


def judge(lengths: Lengths, max_length: int, task: str) -> Finding:
    """Say whether too much is cut off."""
    shown = f"{lengths.cut_off:.1%} of rows cut off at {max_length} tokens"
    if lengths.cut_off <= OFTEN:
        return right(shown)
    return doubt(
        f"{shown}; 99 in 100 have at most {lengths.percentile_99}: max_length: {lengths.enough} in "
        f"params/tasks/{task}.yaml would cut off fewer than 1%"
    )
