"""Words of a text, by their character places."""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinybert.text.scripts import is_unspaced

# Runs of letters, digits and marks; what formats them, as a joiner does, may stand inside. Anything
# else but space is a word by itself, with the marks on it; so is a letter of a script without
# spaces, whose words can begin anywhere.
SHAPES = re.compile(r"[wm](?:[wmf]*[wm])?|pm*")
SHAPE_OF = {"L": "w", "N": "w", "M": "m", "P": "p", "S": "p", "Z": " "}  # by a category's letter
SHAPE_OF_OTHERS = {"Cf": "f", "Co": "p", "Cn": "p"}  # the rest are control characters
ZERO_WIDTH_SPACE = "\u200b"


class Words(NamedTuple):
    """A text, and where its words begin and end in it; an end is exclusive."""

    text: str
    starts: list[int]
    ends: list[int]

    def __len__(self) -> int:
        """Return the number of words."""
        return len(self.starts)

    def word(self, number: int) -> str:
        """Return one word."""
        return self.text[self.starts[number] : self.ends[number]]


def join_words(words: Sequence[str]) -> Words:
    """Return words as a text with a space between each two."""
    ends = [end - 1 for end in accumulate(len(word) + 1 for word in words)]
    starts = [end - len(word) for word, end in zip(words, ends, strict=True)]
    return Words(" ".join(words), starts, ends)


def split_words(text: str, borders: Iterable[int] = ()) -> Words:
    """Split a text into runs of letters, digits and marks, and single other characters.

    What white space and control characters stand between is split too, and so it is at `borders`.

    Args:
        text: Any text; it stays as it is.
        borders: Character places that part words.
    """
    shapes = "".join(map(_shape, text))
    places = sorted({0, len(text), *borders})
    found = [
        match.span()
        for start, end in pairwise(places)
        for match in SHAPES.finditer(shapes, start, end)
    ]
    return Words(text, [start for start, _ in found], [end for _, end in found])


def words_inside_pieces(
    text: str,
    starts: Sequence[int],
    ends: Sequence[int],
    shown: NDArray[np.bool_],
    to_end: bool,
) -> NDArray[np.int64]:
    """Return the words that begin inside of a piece of the word before them, ascending.

    A word of a script without spaces is a letter, and a piece may have several.

    Args:
        text: The text.
        starts: Where each of its words begins.
        ends: Where each ends.
        shown: Whether a piece begins with it, shape (words,).
        to_end: Whether all of the text was shown; else what follows the last piece was cut off.
    """
    of_pieces = np.flatnonzero(shown)
    if not len(of_pieces):
        return of_pieces
    stop = len(shown) if to_end else of_pieces[-1]
    words = [word for word in np.flatnonzero(~shown).tolist() if of_pieces[0] < word < stop]
    touching = [
        word for word in words if starts[word] == ends[word - 1] and is_unspaced(text[starts[word]])
    ]
    return np.array(touching, dtype=np.int64)


def _shape(character: str) -> str:
    category = unicodedata.category(character)
    if character == ZERO_WIDTH_SPACE:
        return " "
    if category[0] == "L" and is_unspaced(character):
        return "p"
    return SHAPE_OF.get(category[0]) or SHAPE_OF_OTHERS.get(category, " ")
