"""Further pairs of a task's own texts, which the teacher scores: no text is made up.

A student of a pair task has seen few of the pairs that its texts could form. As in Augmented SBERT
(Thakur et al. 2021, https://arxiv.org/abs/2010.08240), a first text is put beside second texts that
are like it, since pairs at random hold for hardly any task, and the better model says what they
are.
"""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray

NUM_ALIKE = 10  # second texts that a first one's are drawn from
# As many are drawn as are asked for, times this: some stand in the task already.
DRAWN_PER_ASKED = 2
MAX_SECONDS = 20_000  # second texts that are looked at; of more, some at random
CELLS_AT_ONCE = 20_000_000  # similarities in memory
# A word, a character of a script without spaces, or a sign: every text has one.
WORD = r"[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]"


def sample_pairs(rows: pd.DataFrame, number: int, seed: int) -> pd.DataFrame:
    """Put each first text beside second texts of other rows that share its rarer words.

    Args:
        rows: `sentence1` and `sentence2` of the task's rows.
        number: Pairs wanted; twice as many come out, at most ten for each first text.
        seed: Of the drawing.

    Returns:
        `sentence1` and `sentence2`, no pair twice, none whose texts are the same.
    """
    rng = np.random.default_rng(seed)
    firsts, seconds = rows["sentence1"].unique(), rows["sentence2"].unique()
    if len(seconds) > MAX_SECONDS:
        seconds = np.sort(rng.choice(seconds, MAX_SECONDS, replace=False))
    number *= DRAWN_PER_ASKED
    if len(firsts) > number:
        firsts = rng.choice(firsts, number, replace=False)
    alike = most_alike(list(firsts), list(seconds), NUM_ALIKE)
    num_drawn = min(alike.shape[1], math.ceil(number / len(firsts)))
    drawn = rng.permuted(alike, axis=1)[:, :num_drawn]
    pairs = pd.DataFrame(
        {"sentence1": firsts.repeat(num_drawn), "sentence2": seconds[drawn.ravel()]}
    )
    return pairs[pairs["sentence1"] != pairs["sentence2"]].reset_index(drop=True)


def most_alike(texts: list[str], others: list[str], number: int) -> NDArray[np.int64]:
    """Return for each text the places of the others with the greatest cosine of TF-IDF vectors.

    Args:
        texts: Non-empty texts.
        others: Those to choose from.
        number: How many of them.

    Returns:
        Shape (texts, at most `number`), in no order.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(token_pattern=WORD, sublinear_tf=True, dtype=np.float32)
    vectors = vectorizer.fit_transform(others)
    asked, number = vectorizer.transform(texts), min(number, len(others))
    at_once = max(1, CELLS_AT_ONCE // len(others))
    found = np.empty((len(texts), number), dtype=np.int64)
    for start in range(0, len(texts), at_once):
        part = slice(start, start + at_once)
        cosines = (asked[part] @ vectors.T).toarray()
        found[part] = np.argpartition(-cosines, number - 1, axis=1)[:, :number]
    return found
