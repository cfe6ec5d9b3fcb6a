"""Recognise a sentence that was seen before, word for word or nearly so."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

NEAR = 0.8  # Jaccard's coefficient of two sentences' words from which on they are near copies
ROUNDING = 1e-9  # a coefficient of just NEAR counts
SHINGLE = 4  # words
MAX_SEEN_SHARE = 0.5  # of a sentence's shingles that earlier sentences had: above, it is a copy
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.]*[A-Za-z0-9_]|[A-Za-z]")
NAME = re.compile(r"[_.\d]|[a-z][A-Z]|^[A-Z][A-Z]")
ANY_NAME = "*"  # all names alike: two sentences that differ in a class's name are copies
BITS = 24  # per word in a shingle's key: room for 16 million different words
WINDOW = (1 << BITS * SHINGLE) - 1


class CopyFilter:
    """Let each sentence pass once. The first one seen stays."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._of_word: dict[str, int] = {}  # as written: a dictionary is quicker than NAME
        self._seen: set[int] = set()

    def keep(self, runs: list[list[str]]) -> list[list[str]]:
        """Return the runs without copies; a run is cut where one was taken out."""
        kept: list[list[str]] = []
        for run in runs:
            kept.append([])
            for sentence in run:
                if self.is_new(sentence):
                    kept[-1].append(sentence)
                elif kept[-1]:
                    kept.append([])
        return [run for run in kept if run]

    def is_new(self, sentence: str) -> bool:
        """Say whether a sentence is no copy, and remember it."""
        keys = self._keys(sentence)
        seen = sum(key in self._seen for key in keys)
        self._seen.update(keys)
        return seen <= MAX_SEEN_SHARE * len(keys) if len(keys) > 1 else not seen

    def _keys(self, sentence: str) -> list[int]:
        """Number the sentence's shingles; exact, so that no run of hashes can differ."""
        keys = []
        key = 0
        for position, word in enumerate(WORD.findall(sentence), start=1):
            key = (key << BITS | self._number(word)) & WINDOW
            if position >= SHINGLE:
                keys.append(key)
        return keys or [key]

    def _number(self, word: str) -> int:
        number = self._of_word.get(word)
        if number is None:
            normal = normalised_word(word)
            number = self._of_word[word] = self._numbers.setdefault(normal, len(self._numbers) + 1)
        return number


@lru_cache(maxsize=1 << 17)
def normalised_word(word: str) -> str:
    """Return a word in lower case, without a plural's s; `ANY_NAME` for a name."""
    return ANY_NAME if NAME.search(word) else word.lower().rstrip("s")


def normalised_words(sentence: str) -> list[str]:
    """Return the words in lower case, names replaced by `ANY_NAME`, numbers left out."""
    return [normalised_word(word) for word in WORD.findall(sentence)]


class NearCopies:
    """Find near copies of given sentences, exactly.

    Sets as alike as `NEAR` share one of the rarest few words of either, and differ little in size,
    so only such sentences are compared [Bayardo et al. 2007, Scaling up all pairs similarity
    search].

    Args:
        sentences: Those to compare with.
    """

    def __init__(self, sentences: Iterable[str]) -> None:
        sets = [frozenset(normalised_words(sentence)) for sentence in sentences]
        self._counts = Counter(word for words in sets for word in words)
        self._found: dict[tuple[str, int], list[frozenset[str]]] = {}
        for words in sets:
            for word in self._rarest(words):
                self._found.setdefault((word, len(words)), []).append(words)

    def __contains__(self, sentence: str) -> bool:
        words = frozenset(normalised_words(sentence))
        rarest = self._rarest(words)
        for size in range(math.ceil(NEAR * len(words)), math.floor(len(words) / NEAR) + 1):
            # Jaccard's coefficient, solved for the words in common.
            least = NEAR / (1 + NEAR) * (len(words) + size) - ROUNDING
            for word in rarest:
                if any(len(words & other) >= least for other in self._found.get((word, size), ())):
                    return True
        return False

    def _rarest(self, words: frozenset[str]) -> list[str]:
        ordered = sorted(words, key=lambda word: (self._counts[word], word))
        return ordered[: len(words) - math.ceil(NEAR * len(words)) + 1]
