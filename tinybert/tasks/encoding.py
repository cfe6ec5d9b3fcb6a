"""How a task's rows become token ids: one row each, or several windows of a long text.

What a kind trains on and is scored by is put beside the ids: a label per row, or per token with
`SCORED`, which says whose logits count.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tinybert.tasks.metrics import multi_hot
from tinybert.tasks.task import Encoding
from tinybert.text.encoded import SCORED, EncodedRows, encode, joined, pieces_of
from tinybert.text.windows import QuestionWindows, answer_positions, encode_questions

CHUNK = 10_000  # texts at once: bounds the memory the tokenizer's own objects take
SPECIAL_OF_PAIR = 4  # tokens at most: RoBERTa's </s></s> between the two


def encode_split(
    frame: pd.DataFrame, tokenizer: Any, encoding: Encoding, characters: bool = False
) -> EncodedRows:
    """Encode a split; its labels, if any, become the target `labels`.

    Args:
        frame: Columns as in `task`'s docstring.
        tokenizer: A fast one.
        encoding: Of the task.
        characters: Whether rows keep their tokens' characters, where they need not.

    Returns:
        Rows with `labels`: of shape (rows,); of several labels (rows, outputs), float32 of 0 and 1;
        of tokens a value per token; of span (rows, 2), the tokens where the answer begins and ends,
        0 where the window holds none.
    """
    if encoding.kind == "tokens":
        return _encode_words(frame, tokenizer, encoding)
    if encoding.kind == "span":
        return _encode_questions(frame, tokenizer, encoding)
    rows = _encode_texts(frame, tokenizer, encoding, characters)
    if "label" not in frame:
        return rows
    labels = _labels(frame["label"], encoding)
    return rows.with_targets(labels=labels if rows.origins is None else labels[rows.origins])


def _labels(column: pd.Series, encoding: Encoding) -> NDArray[Any]:
    if encoding.kind == "multilabel":
        return multi_hot(column, encoding.num_outputs).astype(np.float32)
    kind = np.float32 if encoding.kind == "regression" else np.int64
    return column.to_numpy().astype(kind)


def _encode_texts(
    frame: pd.DataFrame, tokenizer: Any, encoding: Encoding, characters: bool
) -> EncodedRows:
    first = frame["sentence1"].tolist()
    second = frame["sentence2"].tolist() if "sentence2" in frame else None
    if encoding.long == "windows":
        return _windows(tokenizer, first, second, encoding)
    if encoding.long == "head_tail":
        return _heads_and_tails(tokenizer, first, encoding.max_length, characters)
    return encode(tokenizer, first, second, encoding.max_length, characters)


def _heads_and_tails(
    tokenizer: Any, texts: Sequence[str], max_length: int, characters: bool
) -> EncodedRows:
    """Keep of a longer text its first quarter of the tokens allowed, and its last three quarters.

    Source: Sun et al. 2019, 1905.05583, section 5.3.1 (128 and 382 of 510).
    """
    rows, pieces = [], [np.empty((0, 3), np.int32)]
    for start in range(0, len(texts), CHUNK):
        found = tokenizer(list(texts[start : start + CHUNK]), verbose=False)
        for number, ids in enumerate(found["input_ids"]):
            kept = _head_and_tail(np.asarray(ids, dtype=np.int32), tokenizer, max_length)
            rows.append(np.asarray(ids, dtype=np.int32)[kept])
            if characters:
                pieces.append(pieces_of([found.encodings[number]])[kept])
    joint = joined(rows, [len(ids) for ids in rows], {})
    return replace(joint, characters=np.concatenate(pieces)) if characters else joint


def _head_and_tail(ids: NDArray[np.int32], tokenizer: Any, max_length: int) -> NDArray[np.int64]:
    """Return which tokens stay when the middle goes; the tokenizer's own stand at the ends."""
    if len(ids) <= max_length:
        return np.arange(len(ids))
    num_special = tokenizer.num_special_tokens_to_add()
    begins = 1 if num_special and ids[0] in tokenizer.all_special_ids else 0
    head = begins + (max_length - num_special) // 4
    return np.concatenate([np.arange(head), np.arange(len(ids) - (max_length - head), len(ids))])


class _Window(NamedTuple):
    """One window of a text.

    Attributes:
        origin: The text's number.
        ids: Shape (tokens,).
        first_length: Tokens of the first segment.
        characters: As `EncodedRows` has them, shape (tokens, 3).
    """

    origin: int
    ids: NDArray[np.int32]
    first_length: int
    characters: NDArray[np.int32]


def _cut_windows(
    tokenizer: Any,
    first: Sequence[str],
    second: Sequence[str] | None,
    numbers: Sequence[int],
    truncation: Any,
    max_length: int,
    stride: int | None,
) -> Iterator[_Window]:
    """Yield the windows of some texts, those of a text one after the other; None: the first."""
    for start in range(0, len(numbers), CHUNK):
        chosen = numbers[start : start + CHUNK]
        found = tokenizer(
            [first[number] for number in chosen],
            None if second is None else [second[number] for number in chosen],
            truncation=truncation,
            max_length=max_length,
            stride=stride or 0,
            return_overflowing_tokens=stride is not None,
        )
        samples = found.get("overflow_to_sample_mapping", range(len(chosen)))
        for number, sample in enumerate(samples):
            types = found["token_type_ids"][number] if "token_type_ids" in found else [0]
            yield _Window(
                chosen[sample],
                np.asarray(found["input_ids"][number], dtype=np.int32),
                len(found["input_ids"][number]) - sum(types),
                pieces_of([found.encodings[number]]),
            )


def _windows(
    tokenizer: Any, first: list[str], second: list[str] | None, encoding: Encoding
) -> EncodedRows:
    """Cut long texts to windows; of a pair the longer text, each with the shorter one.

    A shorter one that leaves less than half of the room is cut to that half first.
    """
    length, stride = encoding.max_length, encoding.stride
    everything = range(len(first))
    if second is None:
        found = _cut_windows(tokenizer, first, None, everything, True, length, stride)
    else:
        half = (length - SPECIAL_OF_PAIR) // 2
        sizes = [_num_tokens(tokenizer, texts) for texts in (first, second)]
        ahead = sizes[0] > sizes[1]
        pairs = [
            [_cut(tokenizer, text, half) if cut else text for text, cut in zip(*of, strict=True)]
            for of in ((first, ~ahead & (sizes[0] > half)), (second, ahead & (sizes[1] > half)))
        ]
        stride = min(stride, half // 2)
        parts = [
            _cut_windows(
                tokenizer, pairs[0], pairs[1], np.flatnonzero(of).tolist(), which, length, stride
            )
            for of, which in ((ahead, "only_first"), (~ahead, "only_second"))
        ]
        found = iter(sorted([*parts[0], *parts[1]], key=lambda window: window.origin))
    return _as_rows(list(found))


def _as_rows(windows: Sequence[_Window]) -> EncodedRows:
    rows = joined([of.ids for of in windows], [of.first_length for of in windows], {})
    pieces = np.concatenate([np.empty((0, 3), np.int32), *(of.characters for of in windows)])
    rows = rows.with_origins(np.array([of.origin for of in windows], dtype=np.int64))
    return replace(rows, characters=pieces)


def _num_tokens(tokenizer: Any, texts: Sequence[str]) -> NDArray[np.int64]:
    counts = []
    for start in range(0, len(texts), CHUNK):
        part = list(texts[start : start + CHUNK])
        found = tokenizer(part, add_special_tokens=False, verbose=False)["input_ids"]
        counts += [len(ids) for ids in found]
    return np.array(counts, dtype=np.int64)


def _cut(tokenizer: Any, text: str, num_tokens: int) -> str:
    """Return as much of the beginning of a text as has so many tokens."""
    found = tokenizer(
        text,
        add_special_tokens=False,
        truncation=True,
        max_length=num_tokens,
        return_offsets_mapping=True,
    )
    return text[: found["offset_mapping"][-1][1]]


def _encode_words(frame: pd.DataFrame, tokenizer: Any, encoding: Encoding) -> EncodedRows:
    """Encode tagged texts: the first piece of each word is scored, once.

    Where windows share a word it is scored in the one that shows most on its shorter side; a word
    that is cut off, or has no piece, is scored nowhere.
    """
    texts = frame["sentence1"].tolist()
    stride = encoding.stride if encoding.long == "windows" else None
    everything, length = range(len(texts)), encoding.max_length
    windows = list(_cut_windows(tokenizer, texts, None, everything, True, length, stride))
    ends = frame["word_ends"].tolist()
    starts = [
        _shown_starts(*row) for row in zip(texts, frame["word_starts"].tolist(), ends, strict=True)
    ]
    firsts = [_first_pieces(of, starts[of.origin], ends[of.origin]) for of in windows]
    places = np.concatenate([np.empty(0, np.int32), *_scored_once(windows, firsts)])
    rows = _as_rows(windows).with_places(places)
    scored = places >= 0
    rows = rows.with_token_targets(scored=torch.from_numpy(scored))
    if "label" not in frame:
        return rows
    labels = np.zeros(len(places), dtype=np.int64)
    of_word = np.cumsum([0, *map(len, starts)])
    tags = np.concatenate([np.empty(0, np.int64), *frame["label"]]).astype(np.int64)
    labels[scored] = tags[of_word[rows.token_origins[scored]] + places[scored]]
    return rows.with_token_targets(labels=torch.from_numpy(labels))


def _shown_starts(text: str, starts: Any, ends: Any) -> list[int]:
    """Return where each word begins once what a tokenizer may drop of its beginning is left out."""
    found = []
    for start, end in zip(map(int, starts), map(int, ends), strict=True):
        dropped = takewhile(
            lambda at: unicodedata.category(text[at])[0] in "CMZ", range(start, end)
        )
        shown = start if text[start].isalnum() else start + sum(1 for _ in dropped)
        found.append(shown if shown < end else start)
    return found


def _first_pieces(window: _Window, starts: Any, ends: Any) -> NDArray[np.int32]:
    """Return the word that each token is the first piece of, -1 of other tokens."""
    segments, begins, stops = window.characters.T
    starts, ends = np.asarray(starts, dtype=np.int64), np.asarray(ends, dtype=np.int64)
    if not len(starts):
        return np.full(len(begins), -1, np.int32)
    word = np.minimum(np.searchsorted(ends, begins, side="right"), len(ends) - 1)
    # A tokenizer may count the space before a word to its first piece.
    is_first = (begins <= starts[word]) & (starts[word] < stops) & (segments >= 0)
    found = np.where(is_first, word, -1).astype(np.int32)
    seen = np.concatenate([[False], (found[1:] == found[:-1]) & (found[1:] >= 0)])
    return np.where(seen, np.int32(-1), found)


def _scored_once(
    windows: Sequence[_Window], firsts: Sequence[NDArray[np.int32]]
) -> Iterator[NDArray[np.int32]]:
    """Leave each word to the one of its windows in which it stands farthest from an end."""
    best: dict[tuple[int, int], tuple[int, int]] = {}
    for number, (window, words) in enumerate(zip(windows, firsts, strict=True)):
        for at in np.flatnonzero(words >= 0):
            margin = min(int(at), len(words) - 1 - int(at))
            key = (window.origin, int(words[at]))
            if key not in best or margin > best[key][0]:
                best[key] = (margin, number)
    for number, (window, words) in enumerate(zip(windows, firsts, strict=True)):
        kept = [
            word >= 0 and best[window.origin, int(word)][1] == number for word in words.tolist()
        ]
        yield np.where(kept, words, np.int32(-1))


def question_windows(frame: pd.DataFrame, tokenizer: Any, encoding: Encoding) -> QuestionWindows:
    """Cut the passages of questions to windows as the task reads them."""
    first, second = frame["sentence1"].tolist(), frame["sentence2"].tolist()
    return encode_questions(tokenizer, first, second, encoding.max_length, encoding.stride)


def _encode_questions(frame: pd.DataFrame, tokenizer: Any, encoding: Encoding) -> EncodedRows:
    """Encode questions with windows of their passages; [CLS] and the passage are scored."""
    found = question_windows(frame, tokenizer, encoding)
    rows = joined(found.ids, found.first_lengths, {})
    rows = rows.with_origins(found.origins).with_places(found.places)
    rows = replace(rows, characters=found.characters)
    scored = found.places[:, 0] >= 0
    scored[rows.ends - rows.lengths] = True
    rows = rows.with_token_targets(**{SCORED: torch.from_numpy(scored)})
    if "label" not in frame:
        return rows
    answers = [list(of) for of in frame["label"]]
    return rows.with_targets(
        labels=answer_positions(answers, rows.ends, found.origins, found.places)
    )
