"""Encode questions with their passages, a long passage as windows that overlap.

Where each token stands in its passage is kept, so that tokens can be turned into answers and
answers into tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinybert.text.encoded import pieces_of

CHUNK = 1000  # questions at once, which bounds the memory of the tokenizer's own objects
OUTSIDE = (-1, -1)  # the place of a token that is not of the passage


class QuestionWindows(NamedTuple):
    """Questions with a window of their passage each.

    Attributes:
        ids: Token ids of each window, special ones included; int32.
        first_lengths: Tokens of the question and the special ones with it, by window; all tokens
            of a tokenizer without types of tokens.
        origins: The question of each window, ascending; int64, shape (windows,).
        characters: As `EncodedRows` has them, the passage as second segment; int32, shape (tokens
            of all windows, 3).
        num_cut: How many questions were so long that their end was cut off.
    """

    ids: list[NDArray[np.int32]]
    first_lengths: list[int]
    origins: NDArray[np.int64]
    characters: NDArray[np.int32]
    num_cut: int

    @property
    def places(self) -> NDArray[np.int32]:
        """Each token's first character in its passage and the one behind its last, (tokens, 2).

        (-1, -1) for a token that is not of it, or has no characters of its own.
        """
        segment, start, end = self.characters.T
        inside = (segment == 1) & (start < end)
        return np.where(inside[:, None], self.characters[:, 1:], np.array(OUTSIDE, dtype=np.int32))

    @property
    def ends(self) -> NDArray[np.int64]:
        """Where each window ends among the tokens of all, shape (windows,)."""
        return np.cumsum([len(each) for each in self.ids], dtype=np.int64)


def encode_questions(
    tokenizer: Any, questions: Sequence[str], contexts: Sequence[str], max_length: int, stride: int
) -> QuestionWindows:
    """Encode questions with their passages in windows; an empty passage gives one window too.

    Of the tokens that special ones and `stride` leave, a question may have half: the end of a
    longer one is cut off, so that each window goes on in the passage by the other half at least.

    Args:
        tokenizer: A fast one, whose windows begin with one special token.
        questions: One for each passage.
        contexts: The passages, shape as `questions`.
        max_length: Tokens of a window.
        stride: Tokens of the passage that a window shares with the next one; well below
            `max_length`.
    """
    limit = (max_length - tokenizer.num_special_tokens_to_add(pair=True) - stride) // 2
    ids, first_lengths, origins = list[NDArray[np.int32]](), list[int](), list[int]()
    pieces, num_cut = [np.empty((0, 3), np.int32)], 0
    for start in range(0, len(questions), CHUNK):
        whole = list(questions[start : start + CHUNK])
        cut = _cut(tokenizer, whole, limit)
        num_cut += sum(one != other for one, other in zip(whole, cut, strict=True))
        encoded = tokenizer(
            cut,
            list(contexts[start : start + CHUNK]),
            truncation="only_second",
            max_length=max_length,
            stride=stride,
            return_overflowing_tokens=True,
        )
        origins += [start + row for row in encoded["overflow_to_sample_mapping"]]
        for window, tokens in enumerate(encoded["input_ids"]):
            others = sum(encoded["token_type_ids"][window]) if "token_type_ids" in encoded else 0
            ids.append(np.asarray(tokens, dtype=np.int32))
            first_lengths.append(len(tokens) - others)
        pieces.append(pieces_of(encoded.encodings))
    return QuestionWindows(
        ids,
        first_lengths,
        np.asarray(origins, dtype=np.int64),
        np.concatenate(pieces),
        num_cut,
    )


def _cut(tokenizer: Any, questions: list[str], limit: int) -> list[str]:
    """Return questions of at most `limit` tokens, the end of longer ones cut off."""
    found = list(questions)
    left = list(range(len(found)))
    while left:  # again: the last word of a cut text may be other pieces, and more
        encoded = tokenizer(
            [found[row] for row in left], add_special_tokens=False, return_offsets_mapping=True
        )
        long = []
        for row, offsets in zip(left, encoded["offset_mapping"], strict=True):
            if len(offsets) > limit:
                found[row] = found[row][: offsets[limit][0]]
                long.append(row)
        left = long
    return found


def answer_positions(
    answers: Sequence[Sequence[Mapping[str, Any]]],
    ends: NDArray[np.int64],
    origins: NDArray[np.int64],
    places: NDArray[np.int32],
) -> NDArray[np.int64]:
    """Return the first and last token of each row's first answer in each of its windows.

    Tokens that share a character with the answer are its tokens, so an answer that begins inside of
    one takes all of it.

    Args:
        answers: Each row's answers, which have `start` and `text`; none where it is unanswerable.
        ends: Where each window ends among the tokens, shape (windows,).
        origins: The row of each window, ascending, shape (windows,).
        places: As `QuestionWindows` has them, shape (tokens, 2).

    Returns:
        Positions counted from the window's first token; (0, 0) where it does not hold the whole
        answer or there is none; shape (windows, 2).
    """
    chars = np.array(
        [
            (each[0]["start"], each[0]["start"] + len(each[0]["text"])) if len(each) else OUTSIDE
            for each in answers
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    windows = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    rows = origins[windows]
    of_answer = (places[:, 0] < chars[rows, 1]) & (places[:, 1] > chars[rows, 0])
    tokens = np.flatnonzero(of_answer & (places[:, 0] >= 0))
    # The answer's outermost characters that any window has a token for: the whole answer.
    first = np.full(len(answers), np.iinfo(np.int64).max)
    last = np.full(len(answers), -1, dtype=np.int64)
    np.minimum.at(first, rows[tokens], places[tokens, 0])
    np.maximum.at(last, rows[tokens], places[tokens, 1])
    found, begins = np.unique(windows[tokens], return_index=True)
    stops = np.append(begins[1:], len(tokens)) - 1
    positions = np.zeros((len(ends), 2), dtype=np.int64)
    if not len(tokens):
        return positions
    outer = np.stack([tokens[begins], tokens[stops]], axis=1)
    whole = places[outer[:, 0], 0] == first[origins[found]]
    whole &= places[outer[:, 1], 1] == last[origins[found]]
    offsets = np.concatenate([[0], ends[:-1]])[found]
    positions[found[whole]] = (outer - offsets[:, None])[whole]
    return positions
