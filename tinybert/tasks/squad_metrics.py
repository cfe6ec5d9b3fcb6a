"""SQuAD's metrics: exact match and F1 of an answer's words.

Source: the rules of SQuAD 2.0's evaluation script, Rajpurkar et al. 2018, arXiv 1806.03822. An
empty prediction says that the passage does not answer the question.

The script parts words at spaces, so that a Chinese or Thai answer would be one word, right or wrong
as a whole. Of scripts without spaces each character is a word here, as in MLQA's script for Chinese
(Lewis et al. 2019, arXiv 1910.07475), and no punctuation counts beside them. Answers in other
scripts score as SQuAD's script scores them, whose articles are English.
"""

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tinybert.text.scripts import CHARACTER, count_unspaced

ARTICLES = re.compile(r"\b(a|an|the)\b")
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)  # of ASCII alone, as the script has it
PARTS = {"HasAns": True, "NoAns": False}  # what the script calls questions with and without answer


def normalized(text: str) -> str:
    """Return an answer in lower case, without punctuation, articles and further white space.

    Characters of scripts without spaces stand apart.
    """
    words = ARTICLES.sub(" ", text.lower().translate(NO_PUNCTUATION))
    if count_unspaced(words):
        words = "".join(char for char in words if unicodedata.category(char)[0] != "P")
        words = CHARACTER.sub(r" \g<0> ", words)
    return " ".join(words.split())


def exact_match(prediction: str, golds: Sequence[str]) -> float:
    """Return 1 where a prediction is one of the gold answers once both are normalized, else 0."""
    return _best(_equal, prediction, golds)


def f1(prediction: str, golds: Sequence[str]) -> float:
    """Return the F1 of a prediction's words, counted, against the gold answer that it is best for.

    Where the prediction or the gold answer has no word left, it is 1 if neither has one, else 0.
    """
    return _best(_word_f1, prediction, golds)


def gold_texts(labels: Iterable[Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """Return the texts of each question's gold answers, of labels as a prepared split has them."""
    return [[answer["text"] for answer in of] for of in labels]


def squad_scores(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return both metrics, averaged over the questions, as fractions.

    Args:
        predictions: An answer for each question; empty for none.
        golds: Its gold answers, of which the best counts; none where it is unanswerable.

    Raises:
        ValueError: There is no question, or the two differ in length.
    """
    if not predictions:
        raise ValueError("scores must be of some questions, got none")
    pairs = list(zip(predictions, golds, strict=True))
    return {
        "squad_f1": sum(f1(*pair) for pair in pairs) / len(pairs),
        "exact_match": sum(exact_match(*pair) for pair in pairs) / len(pairs),
    }


def squad_parts(predictions: Sequence[str], golds: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return both metrics of the questions with an answer and of those without, as fractions.

    Their names begin with `HasAns_` and `NoAns_`; a part without a question is left out.
    """
    found: dict[str, float] = {}
    for part, answerable in PARTS.items():
        chosen = [place for place, answers in enumerate(golds) if bool(len(answers)) == answerable]
        if chosen:
            scores = squad_scores([predictions[n] for n in chosen], [golds[n] for n in chosen])
            found |= {f"{part}_{name}": value for name, value in scores.items()}
    return found


def _best(metric: Callable[[str, str], float], prediction: str, golds: Sequence[str]) -> float:
    """Return the best over the gold answers that hold a word; the empty one where none does."""
    known = [gold for gold in golds if normalized(gold)] or [""]
    return max(metric(prediction, gold) for gold in known)


def _equal(prediction: str, gold: str) -> float:
    return float(normalized(prediction) == normalized(gold))


def _word_f1(prediction: str, gold: str) -> float:
    found, wanted = (Counter(normalized(text).split()) for text in (prediction, gold))
    if not found or not wanted:
        return float(found == wanted)
    common = (found & wanted).total()
    return 2 * common / (found.total() + wanted.total())
