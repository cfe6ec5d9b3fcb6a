"""How much of a task's rows its `max_length` cuts off."""

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tinybert.doctor.findings import Finding, as_findings, doubt, right
from tinybert.encoders.positions import require_positions
from tinybert.tasks.encoding import question_windows
from tinybert.tasks.task import Encoding
from tinybert.text.windows import answer_positions

MAX_ROWS, SEED = 5_000, 0
OFTEN = 0.01
judge_positions = as_findings(require_positions)  # rows longer than a model's positions are wrong


class Lengths(NamedTuple):
    """Tokens of a task's rows, special ones included.

    Attributes:
        num_rows: That were looked at.
        longer: Share that is longer than `max_length`.
        beyond: Share of all tokens that stand beyond it.
        percentile_99: Tokens that 99 in 100 rows do not exceed.
        enough: The smallest `max_length` that cuts off fewer than 1 in 100.
    """

    num_rows: int
    longer: float
    beyond: float
    percentile_99: int
    enough: int


def lengths_of(frame: pd.DataFrame, tokenizer: Any, encoding: Encoding) -> Lengths:
    """Count the tokens of up to 5,000 rows, drawn at random."""
    frame = drawn(frame)
    second = frame["sentence2"].tolist() if "sentence2" in frame else None
    encoded = tokenizer(frame["sentence1"].tolist(), second, truncation=False, verbose=False)
    return summary(np.array([len(ids) for ids in encoded["input_ids"]]), encoding.max_length)


def drawn(frame: pd.DataFrame) -> pd.DataFrame:
    """Return up to 5,000 rows, drawn at random."""
    return frame.iloc[np.random.default_rng(SEED).permutation(len(frame))[:MAX_ROWS]]


def judge_windows(frame: pd.DataFrame, tokenizer: Any, encoding: Encoding, task: str) -> Finding:
    """Say how many answers of a span task stand in no window whole, and how many questions are cut.

    Such an answer is trained as none, since no window holds it.
    """
    frame = drawn(frame)
    found = question_windows(frame, tokenizer, encoding)
    answers = [list(of) for of in frame["label"]]
    held = answer_positions(answers, found.ends, found.origins, found.places).any(axis=1)
    whole = np.bincount(found.origins, weights=held, minlength=len(frame)) > 0
    there = np.array([bool(of) for of in answers])
    lost, count = int((there & ~whole).sum()), int(there.sum())
    shown = (
        f"{lost:,} of {count:,} answers stand in no window of {encoding.max_length} tokens whole, "
        f"{found.num_cut:,} of {len(frame):,} questions lose their end"
    )
    if lost <= OFTEN * count and found.num_cut <= OFTEN * len(frame):
        return right(shown)
    return doubt(
        f"{shown}: the answers are trained as none; raise stride (now {encoding.stride}) or "
        f"max_length in params/tasks/{task}.yaml"
    )


def summary(tokens: "np.ndarray[Any, Any]", max_length: int) -> Lengths:
    """Sum up the rows' numbers of tokens."""
    ascending = np.sort(tokens)
    num_rows = len(ascending)
    allowed = math.ceil(OFTEN * num_rows) - 1  # rows that may be longer, at fewer than 1 in 100
    return Lengths(
        num_rows,
        float((ascending > max_length).mean()),
        float(np.maximum(ascending - max_length, 0).sum() / ascending.sum()),
        int(ascending[math.ceil(0.99 * num_rows) - 1]),
        int(ascending[num_rows - 1 - allowed]),
    )


def judge(lengths: Lengths, encoding: Encoding, task: str) -> Finding:
    """Say whether too much is cut off."""
    most, share = encoding.max_length, f"{lengths.longer:.1%} of rows"
    if encoding.long == "windows":
        stride = f"windows of {most} tokens that share {encoding.stride}"
        return right(f"nothing cut off: {share} are read in {stride}")
    if encoding.long == "head_tail":
        return right(f"{share} lose their middle, {lengths.beyond:.1%} of all tokens, at {most}")
    shown = f"{share} cut off at {most} tokens, {lengths.beyond:.1%} of all tokens"
    if lengths.longer <= OFTEN:
        return right(shown)
    return doubt(
        f"{shown}; 99 in 100 have at most {lengths.percentile_99}: max_length: {lengths.enough} in "
        f"params/tasks/{task}.yaml would cut off fewer than 1%, and `long: windows` nothing"
    )
