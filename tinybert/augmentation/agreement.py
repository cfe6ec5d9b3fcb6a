"""Which augmented copies keep their original's meaning, as the fine-tuned teacher judges it.

A replaced word can turn a text's meaning. The teacher labels every copy anew, so that such a copy
is no wrong example, but it may be one that the task's texts have nothing like.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.evaluation.prediction import certainty

VERDICTS = ("original", "kept", "relabelled", "changed", "unsure")
DROPPED = ("changed", "unsure")


def judge_copies(
    frame: pd.DataFrame,
    logits: NDArray[np.float32],
    regression: bool,
    min_probability: float,
    max_change: float,
) -> pd.Series:
    """Return a verdict on each row.

    `original`: a row as it was before augmentation. Of the copies, `changed` ones have another
    label than the teacher gives their original, or for regression a value too far from its;
    `unsure` ones have the same label with too little probability; of the others `relabelled` ones
    have a label that is not the task's own, since the teacher errs on their original too; all
    others are `kept`.

    Args:
        frame: Rows with `label`, and `row`: the number of the original, which comes first.
        logits: The teacher's, shape (rows, outputs).
        regression: Whether the one output is a value.
        min_probability: Of the copy's label.
        max_change: Standard deviations of the teacher's values of the originals.
    """
    first = ~frame["row"].duplicated().to_numpy()
    of = np.flatnonzero(first)[np.unique(frame["row"], return_inverse=True)[1]]
    verdicts = np.where(first, "original", "kept").astype(object)
    if regression:
        values = logits[:, 0].astype(np.float64)
        far = np.abs(values - values[of]) > max_change * values[first].std()
        verdicts[~first & far] = "changed"
    else:
        labels, sure = logits.argmax(axis=1), certainty(logits)
        verdicts[~first & (labels != frame["label"].to_numpy())] = "relabelled"
        verdicts[~first & (sure < min_probability)] = "unsure"
        verdicts[~first & (labels != labels[of])] = "changed"
    return pd.Series(verdicts, index=frame.index)


def count_copies(verdicts: pd.Series) -> dict[str, int]:
    """Return the number of copies with each verdict."""
    return {name: int((verdicts == name).sum()) for name in VERDICTS[1:]}


def describe_copies(counts: dict[str, int]) -> str:
    """Say in numbers which copies were kept and why others were not."""
    kept = counts["kept"] + counts["relabelled"]
    return (
        f"{kept:,} of {sum(counts.values()):,} copies kept ({counts['relabelled']:,} with another "
        f"label than the task's), {counts['changed']:,} dropped since the teacher labels them "
        f"otherwise than their original, {counts['unsure']:,} since it is unsure"
    )
