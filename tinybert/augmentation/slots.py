"""Words of a sentence that may be replaced, and copies of it with some of them replaced."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinybert.augmentation.masked_words import Span


class Slot(NamedTuple):
    """A word of a sentence, and what may stand in its place.

    Attributes:
        span: Where it begins and ends.
        kind: Where its candidates come from: `masked`, `vectors`; `no_vector` if it has none;
            `kept` if it must stay; `entity` or `answer` if it must since the label is of it.
        words: The candidates.
    """

    span: Span
    kind: str
    words: tuple[str, ...]


class Change(NamedTuple):
    """What a copy has that its original has not.

    Attributes:
        side: The column of the sentence that is changed.
        slots: The sentence's words that have candidates, in its order.
        words: What stands in their places, shape (slots,); some are the original's.
    """

    side: str
    slots: Sequence[Slot]
    words: tuple[str, ...]

    def moved(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where character places of the original are in the copy.

        Args:
            places: Of the sentence, any shape, none of them inside a slot.
        """
        spans = np.array([slot.span for slot in self.slots], dtype=np.int64).reshape(-1, 2)
        lengths = np.array([len(word) for word in self.words], dtype=np.int64)
        shifts = np.concatenate([[0], np.cumsum(lengths - (spans[:, 1] - spans[:, 0]))])
        return np.asarray(places + shifts[np.searchsorted(spans[:, 1], places, side="right")])


def open_slots(slots: Sequence[Slot]) -> list[Slot]:
    """Return the slots that have candidates."""
    return [slot for slot in slots if slot.words]


def sample_words(
    sentence: str,
    slots: Sequence[Slot],
    num_copies: int,
    replace_probability: float,
    generator: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Return the words of N_a copies, each replaced with probability p_t by a random candidate.

    Args:
        sentence: The original.
        slots: Its words that have candidates.
        num_copies: N_a.
        replace_probability: p_t.
        generator: Of the draws.
    """
    shape = (num_copies, len(slots))
    replaced = generator.random(shape) < replace_probability
    sizes = np.array([len(slot.words) for slot in slots], dtype=np.int64)
    choices = np.where(replaced, generator.integers(0, sizes, size=shape), sizes)
    words = [(*slot.words, sentence[slice(*slot.span)]) for slot in slots]  # the last stays
    return [
        tuple([words[slot][choice] for slot, choice in enumerate(row)]) for row in choices.tolist()
    ]


def frame_of(sentence: str, slots: Sequence[Slot]) -> str:
    """Return the sentence with %s in each slot's place."""
    ends = [0, *(slot.span[1] for slot in slots)]
    starts = [*(slot.span[0] for slot in slots), len(sentence)]
    between = (sentence[slice(*span)] for span in zip(ends, starts, strict=True))
    return "%s".join(text.replace("%", "%%") for text in between)
