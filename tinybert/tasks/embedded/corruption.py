"""Make an English sentence ungrammatical by one small change, of the kinds learners make."""

import random
import re
from collections.abc import Callable

from tinybert.text.embedded.words import ARTICLES, AUXILIARIES, FUNCTION_WORDS, PREPOSITIONS

Words = list[str]
Fault = Callable[[Words, int, random.Random], Words | None]  # None: it does not fit there
DROPPABLE = frozenset(
    {"of", "to", "is", "are", "be", "by", "from", "with", "for", "was", "were", "has"}
)
INSERTED = ("of", "to", "is", "with", "are", "for", "be", "by", "from", "in")
MODALS = frozenset(
    {"can", "could", "may", "might", "must", "shall", "should", "will", "would", "cannot"}
)
SWAPPABLE = ARTICLES | PREPOSITIONS | AUXILIARIES
DISAGREEING = {
    **{"is": "are", "are": "is", "was": "were", "were": "was", "has": "have", "have": "has"},
    **{"does": "do", "do": "does", "this": "these", "these": "this", "those": "that"},
    **{"a": "an", "an": "a", "its": "it", "their": "them"},
}
CONTENT = re.compile(r"[a-z]{3,}")
PARTICIPLE = re.compile(r"([a-z]{3,}[^e])ed")


def corrupt(sentence: str, rng: random.Random) -> str | None:
    """Return the sentence with one fault, or None where no kind of fault fits.

    The first word and the last stay, so that neither case nor punctuation tells. Shortening and
    lengthening faults are about equally frequent, so that length does not tell.
    """
    words = sentence.split()
    for fault in rng.sample(FAULTS, len(FAULTS)):
        places = [place for place in range(1, len(words) - 2) if fault(words, place, rng)]
        if places:
            return " ".join(fault(words, rng.choice(places), rng) or words)
    return None


def _swap(words: Words, place: int, rng: random.Random) -> Words | None:
    """Swap a function word and the content word after it: "of array the"."""
    left, right = words[place], words[place + 1]
    if left not in SWAPPABLE or right in FUNCTION_WORDS or not CONTENT.fullmatch(right):
        return None
    return [*words[:place], right, left, *words[place + 2 :]]


def _drop(words: Words, place: int, rng: random.Random) -> Words | None:
    """Leave a preposition or an auxiliary out: "the shape the array"."""
    if words[place] not in DROPPABLE or not CONTENT.fullmatch(words[place - 1]):
        return None
    return [*words[:place], *words[place + 1 :]]


def _insert(words: Words, place: int, rng: random.Random) -> Words | None:
    """Add a preposition or an auxiliary after an article: "the of array"."""
    if words[place] not in ARTICLES:
        return None
    return [*words[: place + 1], rng.choice(INSERTED), *words[place + 1 :]]


def _disagree(words: Words, place: int, rng: random.Random) -> Words | None:
    """Break agreement in number or sound: "the values is", "a array"."""
    wrong = DISAGREEING.get(words[place])
    if wrong is None or not CONTENT.fullmatch(words[place + 1]):
        return None
    return [*words[:place], wrong, *words[place + 1 :]]


def _inflect(words: Words, place: int, rng: random.Random) -> Words | None:
    """Give a verb a form its auxiliary does not take: "must is", "are compute"."""
    left, right = words[place], words[place + 1]
    participle = PARTICIPLE.fullmatch(right)
    if left in MODALS and right == "be":
        wrong = rng.choice(("is", "been", "being"))
    elif left in {"is", "are", "be", "been"} and participle:
        wrong = participle[1]
    elif left in MODALS and CONTENT.fullmatch(right) and right not in FUNCTION_WORDS:
        wrong = right.removesuffix("e") + "ing"
    else:
        return None
    return [*words[: place + 1], wrong, *words[place + 2 :]]


def _move(words: Words, place: int, rng: random.Random) -> Words | None:
    """Carry the noun off from its article: "the of the input shape"."""
    left, moved = words[place - 1], words[place]
    room = range(place + 2, len(words) - 1)
    if left not in ARTICLES or not CONTENT.fullmatch(moved) or moved.endswith("ly") or not room:
        return None
    if words[place + 1] not in PREPOSITIONS | AUXILIARIES:
        return None
    rest = [*words[:place], *words[place + 1 :]]
    target = rng.choice(room)
    return [*rest[:target], moved, *rest[target:]]


FAULTS: list[Fault] = [_swap, _drop, _insert, _disagree, _inflect, _move]
