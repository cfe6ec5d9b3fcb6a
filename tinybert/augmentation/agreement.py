"""Which augmented copies keep their original's meaning, as the fine-tuned teacher judges it.

A replaced word can turn a text's meaning. The teacher labels every copy anew, so that such a copy
is no wrong example, but it may be one that the task's texts have nothing like.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import TaskSplit
from tinybert.evaluation.probabilities import certainty, objects, probabilities

VERDICTS = ("original", "kept", "relabelled", "changed", "unsure")
DROPPED = ("changed", "unsure")


def answers_of(
    split: TaskSplit, logits: NDArray[np.float32], decision: Decision
) -> tuple[NDArray[Any], NDArray[np.floating]]:
    """Return a teacher's answers, which can be compared, and how sure it is; shape (rows,) each.

    Args:
        split: Rows of a task.
        logits: The teacher's, of `predict_logits`.
        decision: Its thresholds.

    Returns:
        Labels or values; of several labels, of tags and of span tuples or texts. The probability of
        the label; of several labels the mean over them, of tags the mean over words, 1 of answers.
    """
    answers = split.predictions(logits, decision)
    if split.info.kind in ("classification", "regression"):
        return answers, certainty(split.row_logits(logits))
    sure: NDArray[np.floating] = np.ones(len(answers))
    if split.info.kind == "multilabel":
        given = probabilities(split.row_logits(logits))
        sure = np.maximum(given, 1 - given).mean(axis=1)
    if split.info.kind == "tokens":
        sure = _mean_certainty(split, logits)
    if split.info.kind == "span":
        return answers, sure
    return objects([tuple(of.tolist()) for of in answers]), sure


def _mean_certainty(split: TaskSplit, logits: NDArray[np.float32]) -> NDArray[np.floating]:
    rows, num = split.rows, len(split.frame)
    assert rows.places is not None
    texts = rows.token_origins[rows.places >= 0]
    counts = np.maximum(np.bincount(texts, minlength=num), 1)
    summed = np.bincount(texts, weights=certainty(split.word_logits(logits)), minlength=num)
    return np.asarray(summed / counts)


def judge_copies(
    frame: pd.DataFrame,
    answers: NDArray[Any],
    sure: NDArray[np.floating],
    min_probability: float,
    max_change: float,
) -> pd.Series:
    """Return a verdict on each row.

    `original`: a row as it was before augmentation. Of the copies, `changed` ones have another
    label (labels, tags, answer) than the teacher gives their original, or for regression a value
    too far from its;
    `unsure` ones have the same label with too little probability; of the others `relabelled` ones
    have a label that is not the task's own, since the teacher errs on their original too; all
    others are `kept`.

    Args:
        frame: Rows with `label`, and `row`: the number of the original, which comes first.
        answers: The teacher's, of `answers_of`.
        sure: Its probability of them; not looked at where answers are values.
        min_probability: Of the copy's label.
        max_change: Standard deviations of the teacher's values of the originals.
    """
    first = ~frame["row"].duplicated().to_numpy()
    of = np.flatnonzero(first)[np.unique(frame["row"], return_inverse=True)[1]]
    verdicts = np.where(first, "original", "kept").astype(object)
    if answers.dtype.kind == "f":
        values = answers.astype(np.float64)
        far = np.abs(values - values[of]) > max_change * values[first].std()
        verdicts[~first & far] = "changed"
    else:
        if answers.dtype != object:
            verdicts[~first & (answers != frame["label"].to_numpy())] = "relabelled"
        verdicts[~first & (sure < min_probability)] = "unsure"
        verdicts[~first & (answers != answers[of])] = "changed"
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
