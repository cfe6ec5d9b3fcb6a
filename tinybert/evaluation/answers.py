"""From the logits of windows to answers in passages, and when to give none.

A window's first token stands for no answer: its start and end logits together are the null score.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FAR = 1e6  # beyond any sum of two logits; as a score, that of no answer at all
ALWAYS_ANSWER = FAR  # the null threshold where every question has an answer; JSON holds it
SAME_F1 = 1e-9  # sums of F1 that differ by less are alike: they were added in another order


@dataclass(frozen=True)
class Answers:
    """The best answer to each row's question; every array of shape (rows,).

    Attributes:
        starts: The first character of the answer in its passage; int64.
        ends: The character behind its last one; that of `starts` where there is no token to answer
            with.
        scores: Start and end logit of the answer together; -`FAR` where there is none; float64.
        null_scores: The least null score of the row's windows; float64.
        probabilities: The answer's share of the exponentials of all scores, of every pair of
            tokens allowed in every window and the null score; float64.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    scores: NDArray[np.float64]
    null_scores: NDArray[np.float64]
    probabilities: NDArray[np.float64]

    @property
    def null_odds(self) -> NDArray[np.float64]:
        """By how much the null score is above the answer's, shape (rows,)."""
        return self.null_scores - self.scores


def best_answers(
    logits: NDArray[np.float32],
    ends: NDArray[np.int64],
    origins: NDArray[np.int64],
    places: NDArray[np.int32],
    num_rows: int,
    max_answer_length: int,
) -> Answers:
    """Return each row's best answer, exactly: every pair of tokens that is allowed is looked at.

    A pair is allowed if both are of the passage and of one window, the start not behind the end, at
    most `max_answer_length` tokens in all. Of equal ones the first start counts, then the shortest.

    Args:
        logits: Start and end logits of the tokens of all windows, shape (tokens, 2).
        ends: Where each window ends among the tokens, shape (windows,).
        origins: The row of each window, ascending, shape (windows,).
        places: Each token's first character in the passage and the one behind its last, shape
            (tokens, 2); (-1, -1) for a token that is not of the passage.
        num_rows: How many rows there are; one without a token of its passage gets no answer.
        max_answer_length: Tokens of an answer, at least 1.
    """
    scores_of = np.nan_to_num(logits.astype(np.float64), nan=-FAR, posinf=FAR, neginf=-FAR)
    begins = np.concatenate([[0], ends[:-1]]).astype(np.int64)[: len(ends)]
    null_scores = np.full(num_rows, FAR)
    np.minimum.at(null_scores, origins, scores_of[begins].sum(axis=1))
    null_scores[null_scores == FAR] = 0.0
    of_passage = places[:, 0] >= 0
    starts = np.flatnonzero(of_passage)
    window_of = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    rows_of, limits = origins[window_of][starts], ends[window_of][starts]
    best, lengths, shares = _best_of_starts(
        scores_of, of_passage, starts, limits, max_answer_length
    )
    scores = np.full(num_rows, -FAR)
    np.maximum.at(scores, rows_of, best)
    winners = np.flatnonzero(best == scores[rows_of])
    found, first = np.unique(rows_of[winners], return_index=True)
    chosen = winners[first]
    from_place, to_place = np.zeros((2, num_rows), dtype=np.int64)
    from_place[found] = places[starts[chosen], 0]
    to_place[found] = places[starts[chosen] + lengths[chosen], 1]
    total = null_scores.copy()
    np.logaddexp.at(total, rows_of, shares)
    return Answers(from_place, to_place, scores, null_scores, np.exp(scores - total))


def _best_of_starts(
    logits: NDArray[np.float64],
    of_passage: NDArray[np.bool_],
    starts: NDArray[np.int64],
    limits: NDArray[np.int64],
    max_answer_length: int,
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the best score from each start on, its last token's distance, and its exponentials.

    Args:
        logits: Of start and end, shape (tokens, 2).
        of_passage: Whether a token is of the passage, shape (tokens,).
        starts: Tokens to begin with, shape (starts,).
        limits: Where the window of each of them ends, shape (starts,).
        max_answer_length: Tokens of an answer.

    Returns:
        The best score; how many tokens behind the start its end is; and the logarithm of the sum of
        the exponentials of all scores; each of shape (starts,).
    """
    best, shares = np.full(len(starts), -np.inf), np.full(len(starts), -np.inf)
    distances = np.zeros(len(starts), dtype=np.int64)
    longest = int((limits - starts).max(initial=0))
    for distance in range(min(max_answer_length, longest)):
        lasts = starts + distance
        inside = np.flatnonzero(lasts < limits)
        inside = inside[of_passage[lasts[inside]]]
        scores = logits[starts[inside], 0] + logits[lasts[inside], 1]
        better = scores > best[inside]
        best[inside[better]] = scores[better]
        distances[inside[better]] = distance
        shares[inside] = np.logaddexp(shares[inside], scores)
    return best, distances, shares


def answer_texts(contexts: Sequence[str], answers: Answers, null_threshold: float) -> list[str]:
    """Return each row's answer as its passage has it; empty where its null odds are too high."""
    return [
        "" if odds > null_threshold else context[start:end]
        for context, start, end, odds in zip(
            contexts, answers.starts, answers.ends, answers.null_odds, strict=True
        )
    ]


def choose_null_threshold(
    null_odds: NDArray[np.float64], f1: NDArray[np.float64], unanswerable: NDArray[np.bool_]
) -> float:
    """Return the threshold of the null odds, above which no answer is given, of the best mean F1.

    It stands halfway between neighbouring odds, or 1 beyond the outermost. Of equally good ones it
    is the one nearest to 0, then the lower one.

    Args:
        null_odds: By how much the null score is above the best answer's, shape (rows,).
        f1: Of the best answer, if it is given; 0 where the row is unanswerable, shape (rows,).
        unanswerable: Whether no answer is right, which then has F1 1, else 0; shape (rows,).
    """
    if not unanswerable.any():
        return ALWAYS_ANSWER
    order = np.argsort(null_odds, kind="stable")
    odds = null_odds[order].astype(np.float64)
    # What is gained over giving no answer at all, by answering the rows up to each place.
    gains = np.concatenate([[0.0], np.cumsum((f1 - unanswerable)[order])])
    middles = (odds[:-1] + odds[1:]) / 2
    middles = np.where(middles < odds[1:], middles, odds[:-1])  # neighbouring floats have none
    thresholds = np.concatenate([[odds[0] - 1], middles, [odds[-1] + 1]])
    apart = np.concatenate([[True], odds[:-1] < odds[1:], [True]])
    good = np.flatnonzero(apart & (gains >= gains[apart].max() - SAME_F1))
    nearest = np.abs(thresholds[good])
    return float(thresholds[good[nearest == nearest.min()][0]])
