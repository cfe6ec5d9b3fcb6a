"""Tokens become blocks, many at a time, without more of the corpus in memory than one shard."""

from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUM_SPECIAL = 3  # [CLS] first [SEP] second [SEP]
BLOCKS_AT_ONCE = 2048
# Of many scripts; beside Latin letters the full stop alone.
SENTENCE_ENDS = ".\u3002\uff0e\uff61\uff01\uff1f\u0964\u06d4\u061f\u0589\u1362"

Tokens = tuple[NDArray[Any], NDArray[np.int64]]  # ids in a row, how many each document has
Bodies = tuple[NDArray[Any], NDArray[np.int64]]  # rows of tokens, where each is cut, or 0


def write_blocks(
    parts: Iterable[Tokens],
    num_blocks: int,
    tokenizer: Any,
    block_length: int,
    seed: int,
    folder: Path,
) -> None:
    """Write `blocks.npy`, `first_lengths.npy` and `seconds.npy`, as `encoded.Blocks` reads them.

    A block is `[CLS] first [SEP] second [SEP]`, or for half the blocks of one document
    `[CLS] text [SEP]`. Where a document ends in a block, its border parts the segments.

    Args:
        parts: The corpus, whole documents at a time.
        num_blocks: How many blocks all parts fill.
        tokenizer: Names the special tokens and full stops.
        block_length: Tokens per block, special ones included.
        seed: Of the choice between one and two segments.
        folder: Must exist.
    """
    rng = np.random.default_rng(seed)
    special = (tokenizer.cls_token_id, tokenizer.sep_token_id)
    full_stops = sentence_ends(tokenizer)
    with (
        (folder / "blocks.npy").open("wb") as blocks,
        (folder / "first_lengths.npy").open("wb") as firsts,
        (folder / "seconds.npy").open("wb") as seconds,
    ):
        headed = False
        for rows, cuts in _bodies(parts, block_length - NUM_SPECIAL, special[1]):
            if not headed:
                _write_header(blocks, rows.dtype, (num_blocks, block_length))
                _write_header(firsts, np.dtype(np.int32), (num_blocks,))
                _write_header(seconds, np.dtype(np.int8), (num_blocks,))
                headed = True
            whole = np.flatnonzero(cuts == 0)
            follows = np.where(cuts == 0, 1, 0)  # a cut up to here is a document's end
            halved = whole[rng.random(len(whole)) < 0.5]
            cuts[halved] = _middle_sentence_ends(rows[halved, :-1], full_stops)
            blocks.write(_with_special_tokens(rows, cuts, *special).tobytes())
            lengths = np.where(cuts > 0, cuts + 2, block_length)
            firsts.write(lengths.astype(np.int32).tobytes())
            seconds.write(np.where(cuts > 0, follows, -1).astype(np.int8).tobytes())


def _write_header(stream: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    descr = np.lib.format.dtype_to_descr(dtype)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)


def _bodies(parts: Iterable[Tokens], body: int, sep: int) -> Iterator[Bodies]:
    """Yield rows of `body` tokens and the one after, and where a document ends in a row, or 0."""
    tokens, ends = np.empty(0, np.uint16), np.empty(0, np.int64)
    for ids, lengths in parts:
        ends = np.concatenate([ends, len(tokens) + np.cumsum(lengths)])
        tokens = np.concatenate([tokens.astype(ids.dtype), ids])
        used = yield from _rows(tokens, ends, body)
        tokens, ends = tokens[used:], ends[ends > used] - used
    # The last row has no token after it; [SEP] stands there.
    yield from _rows(np.append(tokens, np.array([sep], tokens.dtype)), ends, body)


def _rows(tokens: NDArray[Any], ends: NDArray[np.int64], body: int) -> Generator[Bodies, None, int]:
    """Yield the rows that the tokens fill; return how many tokens they took."""
    count = max(len(tokens) - 1, 0) // body
    for first in range(0, count, BLOCKS_AT_ONCE):
        starts = np.arange(first, min(first + BLOCKS_AT_ONCE, count)) * body
        border = ends[np.searchsorted(ends, starts, side="right")] - starts
        yield tokens[starts[:, None] + np.arange(body + 1)], np.where(border < body, border, 0)
    return count * body


def sentence_ends(tokenizer: Any) -> NDArray[np.int64]:
    """Return the ids that end a sentence: a vocabulary without a full stop has none, not [UNK]."""
    vocabulary, found = tokenizer.get_vocab(), set()
    for end in SENTENCE_ENDS:
        ids = tokenizer.backend_tokenizer.encode(end, add_special_tokens=False).ids
        found |= set(ids) if len(ids) == 1 else set()  # as byte-level vocabularies spell it
        found |= {vocabulary[end]} if end in vocabulary else set()
    return np.array(sorted(found - {tokenizer.unk_token_id}), dtype=np.int64)


def _middle_sentence_ends(rows: NDArray[Any], full_stops: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the place after the full stop nearest the middle, or 0 if there is none inside."""
    length = rows.shape[1]
    distances = np.abs(np.arange(1, length) - length // 2)
    inside = np.isin(rows[:, :-1], full_stops)
    nearest = np.where(inside, distances, length).argmin(axis=1) + 1
    return np.where(inside.any(axis=1), nearest, 0)


def _with_special_tokens(
    rows: NDArray[Any], cuts: NDArray[np.int64], cls: int, sep: int
) -> NDArray[Any]:
    """Return blocks; a row that is not cut keeps the token after it, in place of a [SEP]."""
    blocks = np.empty((len(rows), rows.shape[1] + 2), rows.dtype)
    blocks[:, 0], blocks[:, -1] = cls, sep
    columns = np.arange(rows.shape[1])
    shifted = (cuts[:, None] > 0) & (columns > cuts[:, None])
    blocks[:, 1:-1] = np.where(shifted, rows[:, columns - 1], rows)
    parted = np.flatnonzero(cuts)
    blocks[parted, cuts[parted] + 1] = sep
    return blocks
