"""Token ids of text at the cost of its distinct words, not of its length.

BERT's tokenizers part text at spaces and at ASCII punctuation before all else, so what stands
between two of them has the same tokens everywhere. It goes to the tokenizer once and then stands
in a table of fixed size. The ids are the tokenizer's own, to the last one.
"""

import json
import string
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tinybert.text.scripts import CHARACTERS_A_WORD, count_unspaced

Ids = NDArray[Any]  # token ids, as narrow as the vocabulary allows
Numbers = NDArray[np.int64]
Keys = NDArray[np.uint64]

GAP, MARK, LETTER = 0, 1, 2  # a mark is a word by itself
KIND = np.full(256, LETTER, np.uint8)
KIND[list(b" \t\n\r")] = GAP  # all that ends a word in every tokenizer of BERT's kind
KIND[list(string.punctuation.encode())] = MARK
BLANK = np.zeros(256, np.bool_)  # where str.split parts ASCII text
BLANK[[*range(9, 14), *range(28, 33)]] = True

SLOTS_LOG2 = 19
KEY_BYTES = 32  # of these the last one is the word's length
MAX_BYTES, MAX_TOKENS = KEY_BYTES - 1, 8  # of a word in the table; longer ones are rare
# Odd numbers without a pattern, from the golden ratio and from xxHash.
MIX = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], np.uint64
)
MASKS = (np.tri(KEY_BYTES, k=-1, dtype=np.uint8) * 255).view(np.uint64)  # by length


def count_words(texts: Sequence[str]) -> int:
    """Count words as `len(text.split())` does, without a Python object for each.

    Of scripts without spaces a few characters more count as a word each (`scripts`).
    """
    plain = "\n".join(["", *(text for text in texts if text.isascii()), ""])
    blank = BLANK[np.frombuffer(plain.encode(), np.uint8)]
    others = sum(
        len(text.split()) + count_unspaced(text) // CHARACTERS_A_WORD
        for text in texts
        if not text.isascii()
    )
    return int(np.count_nonzero(blank[:-1] & ~blank[1:])) + others


def tokens_of(texts: Sequence[str], backend: Any, dtype: Any) -> tuple[Ids, Numbers]:
    """Ask the tokenizer for every text; return all ids in a row, and how many each text has."""
    encodings = backend.encode_batch_fast(list(texts), add_special_tokens=False)
    lengths = np.fromiter(map(len, encodings), np.int64, len(encodings))
    ids = chain.from_iterable(encoding.ids for encoding in encodings)
    return np.fromiter(ids, dtype, int(lengths.sum())), lengths


class WordTokens:
    """A tokenizer that remembers words. One thread uses it at a time."""

    def __init__(self, backend: Any, dtype: Any) -> None:
        """Make an empty table for a tokenizer of the library `tokenizers`."""
        self.backend, self.dtype = backend, dtype
        layout = json.loads(backend.to_str())
        self.knows_words = parts_at_punctuation(layout)
        self.added = [token["content"].encode() for token in layout["added_tokens"]]
        self.lowers = bool((layout["normalizer"] or {}).get("lowercase"))
        self.normalizer, self.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
        self.model = backend.model
        slots = 1 << SLOTS_LOG2 if self.knows_words else 0
        # A word's slot follows from its bytes, and a new word takes the place of an old one.
        self.keys = np.zeros((slots, KEY_BYTES // 8), np.uint64)
        self.tokens = np.zeros((slots, MAX_TOKENS), dtype)
        self.counts = np.zeros(slots, np.int64)

    def tokens_of(self, texts: Sequence[str]) -> tuple[Ids, Numbers]:
        """Return the ids of all texts in a row, and how many each text has."""
        raw = [text.encode() for text in texts]
        joined = b"\n".join([*raw, b""])
        # "[MASK]" in a text is one token, though it has punctuation.
        if not self.knows_words or any(token in joined for token in self.added):
            return tokens_of(texts, self.backend, self.dtype)
        if self.lowers:
            joined = joined.lower()  # the ASCII letters: fewer words to learn
        starts, ends = _words_of(joined)
        ids, counts = self._tokens_of_words(joined, starts, ends)
        text_ends = np.cumsum([len(text) + 1 for text in raw])
        before = np.concatenate([[0], np.cumsum(counts)])
        return ids, np.diff(before[np.searchsorted(starts, text_ends)], prepend=0)

    def _tokens_of_words(
        self, joined: bytes, starts: Numbers, ends: Numbers
    ) -> tuple[Ids, Numbers]:
        lengths = ends - starts
        keys = _keys_of(joined, starts, lengths)
        slots = _slots_of(keys)
        same = (self.keys.take(slots, axis=0) == keys).view(np.uint32).ravel() == 0x01010101
        known = same & (lengths <= MAX_BYTES)
        new = np.flatnonzero(~known)
        words: dict[bytes, int] = {}
        which = np.array(
            [
                words.setdefault(joined[start:end], len(words))
                for start, end in zip(starts[new].tolist(), ends[new].tolist(), strict=True)
            ],
            np.int64,
        )
        new_ids, new_counts = self._ask(words)
        new_starts = np.cumsum(new_counts) - new_counts
        counts = self.counts[slots]
        counts[new] = new_counts[which]
        at = np.cumsum(counts) - counts
        ids = np.empty(int(counts.sum()), self.dtype)
        for column in range(MAX_TOKENS):
            having = np.flatnonzero(known & (counts > column))
            ids[at[having] + column] = self.tokens[slots[having], column]
        ids[_ranges(at[new], counts[new])] = new_ids[_ranges(new_starts[which], counts[new])]
        first = np.zeros(len(words), np.int64)
        first[which[::-1]] = new[::-1]
        self._remember(keys[first], slots[first], lengths[first], new_ids, new_counts)
        return ids, counts

    def _ask(self, words: Iterable[bytes]) -> tuple[Ids, Numbers]:
        """Return the ids of all words in a row, and how many each word has."""
        found = [self._ids_of(word.decode()) for word in words]
        counts = np.fromiter(map(len, found), np.int64, len(found))
        return np.fromiter(chain.from_iterable(found), self.dtype, int(counts.sum())), counts

    def _ids_of(self, word: str) -> list[int]:
        """Go the tokenizer's way by hand: its own call costs ten times as much for one word."""
        if word.isascii() and word.isalnum():  # and in lower case already, if that is asked for
            return [token.id for token in self.model.tokenize(word)]
        parts = self.pre_tokenizer.pre_tokenize_str(self.normalizer.normalize_str(word))
        return [token.id for part, _ in parts for token in self.model.tokenize(part)]

    def _remember(
        self, keys: Keys, slots: Numbers, lengths: Numbers, ids: Ids, counts: Numbers
    ) -> None:
        fitting = np.flatnonzero((lengths <= MAX_BYTES) & (counts <= MAX_TOKENS))
        kept, first = np.unique(slots[fitting], return_index=True)  # one word per slot
        fitting = fitting[first]
        starts = np.cumsum(counts) - counts
        columns = np.arange(MAX_TOKENS)
        places = np.minimum(starts[fitting, None] + columns, max(len(ids) - 1, 0))
        self.keys[kept], self.counts[kept] = keys[fitting], counts[fitting]
        if len(ids):
            self.tokens[kept] = ids[places]  # columns past the count are never read


def parts_at_punctuation(layout: dict[str, Any]) -> bool:
    """Say whether a tokenizer, by its tokenizer.json, is one whose words can be remembered."""
    kinds = [(layout[name] or {}).get("type") for name in ("normalizer", "pre_tokenizer", "model")]
    plain = not any(token["normalized"] for token in layout["added_tokens"])
    return kinds == ["BertNormalizer", "BertPreTokenizer", "WordPiece"] and plain


def _words_of(joined: bytes) -> tuple[Numbers, Numbers]:
    """Return where each word starts and ends; a mark of punctuation is one too."""
    kind = KIND[np.frombuffer(joined, np.uint8)]
    letter, starts = kind == LETTER, kind == MARK
    ends = starts.copy()
    starts |= letter & ~np.concatenate([[False], letter[:-1]])
    ends |= letter & ~np.concatenate([letter[1:], [False]])
    return np.flatnonzero(starts), np.flatnonzero(ends) + 1


def _keys_of(joined: bytes, starts: Numbers, lengths: Numbers) -> Keys:
    """Return each word's bytes and length as four numbers; the same only for the same word."""
    padded = np.frombuffer(joined + bytes(KEY_BYTES), np.uint8)
    windows = np.lib.stride_tricks.as_strided(
        padded[:KEY_BYTES].view(f"V{KEY_BYTES}"), (len(joined),), (1,)
    )
    keys = windows[starts].view(np.uint64).reshape(-1, KEY_BYTES // 8)
    short = np.minimum(lengths, MAX_BYTES)
    keys &= MASKS.take(short, axis=0)
    keys.view(np.uint8)[:, -1] = short
    return keys


def _slots_of(keys: Keys) -> Numbers:
    mixed: Keys = keys[:, 0] * MIX[0]
    for column in range(1, KEY_BYTES // 8):
        mixed += keys[:, column] * MIX[column]
    mixed ^= mixed >> np.uint64(29)
    mixed *= MIX[0]
    slots: Numbers = (mixed >> np.uint64(64 - SLOTS_LOG2)).astype(np.int64)
    return slots


def _ranges(starts: Numbers, lengths: Numbers) -> Numbers:
    """Return start, start + 1, ... for each start, all in a row."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - lengths), lengths) + np.arange(total)
