"""Derive a sentence from another one, and grade how much of its content is left."""

import random
import re

from tinybert.text.embedded.words import FUNCTION_WORDS

WORD = re.compile(r"[A-Za-z][\w'-]*")
TOP_GRADE = 5.0  # as in STS-B


def derive(first: str, other: str, rng: random.Random) -> tuple[str, float]:
    """Return a sentence between `first` and `other`, and its grade to `first`.

    Half of them carry words of `other` in places of `first`'s content words, half begin as
    `first` and end as `other`. How far they go is drawn uniformly.
    """
    make = _replace_words if rng.random() < 0.5 else _splice
    second = make(first, other, rng)
    return second, grade(first, second)


def grade(first: str, second: str) -> float:
    """Return 5 times Dice's coefficient of the sets of content words; from 0 to 5."""
    one, two = set(content_words(first)), set(content_words(second))
    if not one or not two:
        return 0.0
    return round(TOP_GRADE * 2 * len(one & two) / (len(one) + len(two)), 3)


def content_words(sentence: str) -> list[str]:
    """Return the words that are no function words, in lower case."""
    lowered = (word.lower() for word in WORD.findall(sentence))
    return [word for word in lowered if word not in FUNCTION_WORDS]


def _replace_words(first: str, other: str, rng: random.Random) -> str:
    places = [found.span() for found in WORD.finditer(first)]
    places = [(start, end) for start, end in places if content_words(first[start:end])]
    words = content_words(other)
    number = rng.randint(0, min(len(places), len(words)))
    chosen = sorted(rng.sample(range(len(places)), number), reverse=True)
    replacements = rng.sample(words, number)
    text = first
    for index, word in zip(chosen, replacements, strict=True):
        start, end = places[index]
        text = text[:start] + (word.capitalize() if start == 0 else word) + text[end:]
    return text


def _splice(first: str, other: str, rng: random.Random) -> str:
    share = rng.uniform(0.0, 0.9)  # of the first sentence; above, the end is often the same
    head, tail = first.split(), other.split()
    return " ".join([*head[: round(share * len(head))], *tail[round(share * len(tail)) :]])
