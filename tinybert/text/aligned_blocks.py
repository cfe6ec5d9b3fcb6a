"""The corpus in rows that a student and a teacher with another tokenizer read alike.

A row is the same text for both, `[CLS] first [SEP]` or `[CLS] first [SEP] second [SEP]` in each
one's own tokens, cut between units, and as long as the block length allows both. Rows run through
document borders as `Blocks` do. They are made a few megabytes of text at a time and lie on disk.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_folder
from tinybert.runtime.processes import wait_for_all
from tinybert.text.alignment import find_units
from tinybert.text.blocks import NUM_SPECIAL, sentence_ends
from tinybert.text.encoded import EncodedRows, pieces_of

Numbers = NDArray[np.int64]

CHARACTERS_AT_ONCE = 1_000_000
SIDES = ("ours", "theirs")
KINDS = {"ids": np.int32, "units": np.int32, "lengths": np.int32, "firsts": np.int32}


def aligned_blocks(
    text: Path, ours: Any, theirs: Any, block_length: int, seed: int, folder: Path
) -> EncodedRows:
    """Return the corpus's rows, made if the folder is not there.

    Args:
        text: A paragraph a line, a blank line after each document.
        ours: The student's tokenizer.
        theirs: The teacher's.
        block_length: Tokens per row at most, of both, special ones included.
        seed: Of the choice between one and two segments.
        folder: Where they lie.

    Returns:
        Rows, memory-mapped, with the target `second`, as `Blocks` have it.

    Raises:
        InputError: The text gives no row.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with replace_folder(folder) as partial:
            _write(text, (ours, theirs), block_length - NUM_SPECIAL, seed, partial)
    wait_for_all()
    one, other = (_read(folder, side) for side in SIDES)
    if not len(one):
        raise InputError(
            f"{text}: no text that both tokenizers have pieces of, got 0 rows; take a student "
            "whose vocabulary knows this text"
        )
    second = np.fromfile(folder / "seconds.raw", np.int8)
    one = replace(one, targets={"second": second})
    mine, their_units = (_mapped(folder, side, "units") for side in SIDES)
    return one.with_beside(other, mine, their_units, theirs.pad_token_id)


def _mapped(folder: Path, side: str, name: str) -> NDArray[np.int32]:
    file = folder / f"{side}_{name}.raw"
    # Copy on write, which torch asks for and nobody does.
    return np.memmap(file, KINDS[name], "c") if file.stat().st_size else np.empty(0, np.int32)


def _read(folder: Path, side: str) -> EncodedRows:
    ids, lengths, firsts = (_mapped(folder, side, name) for name in ("ids", "lengths", "firsts"))
    return EncodedRows(ids, np.cumsum(lengths, dtype=np.int64), np.asarray(firsts), {})


def _write(text: Path, tokenizers: tuple[Any, Any], body: int, seed: int, folder: Path) -> None:
    rng = np.random.default_rng(seed)
    specials = [(each.cls_token_id, each.sep_token_id) for each in tokenizers]
    full_stops = sentence_ends(tokenizers[0])
    files = {
        (side, name): (folder / f"{side}_{name}.raw").open("wb") for side in SIDES for name in KINDS
    }
    seconds = (folder / "seconds.raw").open("wb")
    total = max(1, text.stat().st_size // CHARACTERS_AT_ONCE)
    parts = track(_parts(text), "rows for both", total=total, transient=True)
    try:
        for paragraphs, starts in parts:
            stream = _stream(paragraphs, starts, tokenizers, full_stops)
            rows = _cut(stream, body)
            second = _segments(stream, rows, rng)
            for number, side in enumerate(SIDES):
                made = _with_special_tokens(stream, rows, number, specials[number])
                for name, values in made.items():
                    files[side, name].write(values.astype(KINDS[name]).tobytes())
            seconds.write(second.astype(np.int8).tobytes())
    finally:
        for file in (*files.values(), seconds):
            file.close()


def _parts(text: Path) -> Iterator[tuple[list[str], list[bool]]]:
    """Yield some paragraphs, and whether each is the first of its document."""
    paragraphs, starts, size, is_first = list[str](), list[bool](), 0, True
    with text.open(encoding="utf-8", newline="\n") as lines:
        for line in lines:
            paragraph = line.rstrip("\n")
            if paragraph:
                paragraphs.append(paragraph)
                starts.append(is_first)
                size += len(paragraph)
            is_first = not paragraph
            if size >= CHARACTERS_AT_ONCE:
                yield paragraphs, starts
                paragraphs, starts, size = [], [], 0
    if paragraphs:
        yield paragraphs, starts


class _Side(NamedTuple):
    """One side's tokens of some paragraphs.

    Attributes:
        ids: Shape (tokens,).
        units: Each token's unit, from 1, counted through all paragraphs; 0 for none.
        ends: The place behind each unit's last token, ascending; shape (units,).
    """

    ids: NDArray[np.int32]
    units: Numbers
    ends: Numbers


class _Stream(NamedTuple):
    """Some paragraphs, unit by unit.

    Attributes:
        sides: The student's tokens and the teacher's.
        begins_document: Whether each unit is the first of a document, shape (units,).
        ends_sentence: Whether each unit is a full stop, shape (units,).
    """

    sides: list[_Side]
    begins_document: NDArray[np.bool_]
    ends_sentence: NDArray[np.bool_]


def _stream(
    paragraphs: list[str], starts: list[bool], tokenizers: Iterable[Any], full_stops: Numbers
) -> _Stream:
    ours, theirs = (_encoded(paragraphs, tokenizer) for tokenizer in tokenizers)
    found = find_units(ours, theirs, paragraphs, None)
    counts = found.texts
    before = np.cumsum(counts) - counts
    sides = []
    for row, units in ((ours, found.ours), (theirs, found.theirs)):
        whole = np.where(units > 0, units + np.repeat(before, row.lengths), 0)
        ends = np.zeros(int(counts.sum()) + 1, dtype=np.int64)
        np.maximum.at(ends, whole, np.arange(1, len(whole) + 1))
        sides.append(_Side(row.ids, whole, np.maximum.accumulate(ends[1:])))
    begins = np.zeros(int(counts.sum()), dtype=np.bool_)
    documents = np.cumsum(starts)
    firsts = before[counts > 0]
    begins[firsts] = np.diff(documents[counts > 0], prepend=0) > 0
    stops = np.isin(sides[0].ids[sides[0].ends - 1], full_stops)
    return _Stream(sides, begins, stops)


def _encoded(paragraphs: list[str], tokenizer: Any) -> EncodedRows:
    """Encode whole paragraphs, without special tokens."""
    backend = tokenizer.backend_tokenizer
    # A checkpoint's tokenizer.json may say to pad and cut every text.
    backend.no_padding()
    backend.no_truncation()
    encodings = backend.encode_batch(paragraphs, add_special_tokens=False)
    lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int32)
    ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), np.int32)
    ends = np.cumsum(lengths, dtype=np.int64)
    return EncodedRows(ids, ends, lengths, {}, characters=pieces_of(encodings))


class _Cuts(NamedTuple):
    """Rows of a stream, in units.

    Attributes:
        starts: Each row's first unit.
        stops: The one behind its last.
        middles: The first unit of its second segment; `stops` where it has none.
    """

    starts: Numbers
    stops: Numbers
    middles: Numbers


def _cut(stream: _Stream, body: int) -> _Cuts:
    """Cut a stream so that neither side has more than `body` tokens in a row."""
    starts, stops, start = list[int](), list[int](), 0
    number = len(stream.begins_document)
    while start < number:
        fits = [
            int(np.searchsorted(side.ends, (side.ends[start - 1] if start else 0) + body, "right"))
            for side in stream.sides
        ]
        stop = min(fits)
        if stop > start:
            starts.append(start)
            stops.append(stop)
        start = max(stop, start + 1)  # a unit that no row holds is left out
    found = np.array(starts, dtype=np.int64), np.array(stops, dtype=np.int64)
    return _Cuts(*found, np.array(stops, dtype=np.int64))


def _segments(stream: _Stream, rows: _Cuts, rng: np.random.Generator) -> Numbers:
    """Part rows in two, in place: where a document begins inside, else half of them at a full stop.

    Returns:
        1 where the second segment goes on with the document, 0 where another one begins, -1 where
        there is none.
    """
    second = np.full(len(rows.starts), -1, dtype=np.int64)
    halved = rng.random(len(rows.starts)) < 0.5
    borders = np.flatnonzero(stream.begins_document)
    stops = np.flatnonzero(stream.ends_sentence) + 1
    for row, (start, stop) in enumerate(zip(rows.starts, rows.stops, strict=True)):
        inside = borders[np.searchsorted(borders, start, "right") : np.searchsorted(borders, stop)]
        if len(inside):
            rows.middles[row], second[row] = inside[0], 0
        elif halved[row]:
            inside = stops[np.searchsorted(stops, start, "right") : np.searchsorted(stops, stop)]
            if len(inside):
                nearest = np.abs(inside - (start + stop) // 2).argmin()
                rows.middles[row], second[row] = inside[nearest], 1
    return second


def _with_special_tokens(
    stream: _Stream, rows: _Cuts, number: int, special: tuple[int, int]
) -> dict[str, Numbers]:
    """Return a side's rows with their special tokens, which are units too."""
    side, (cls, sep) = stream.sides[number], special
    before = np.append(0, side.ends)
    starts, middles, stops = (before[of] for of in (rows.starts, rows.middles, rows.stops))
    parted = rows.middles < rows.stops
    lengths = stops - starts + 2 + parted
    row = np.repeat(np.arange(len(starts)), lengths)
    place = np.arange(len(row)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    first = middles - starts + 1  # where the first segment's [SEP] stands
    behind = parted[row] & (place > first[row])
    taken = starts[row] + place - 1 - behind
    is_sep = (place == first[row]) | (place == lengths[row] - 1)
    is_own = is_sep | (place == 0)
    at = np.where(is_own, 0, np.minimum(taken, max(len(side.ids) - 1, 0)))
    ids = np.where(is_own, np.where(is_sep, sep, cls), side.ids[at])
    inner = side.units[at] - rows.starts[row] + 1 + behind
    of_sep = np.where(place == first[row], rows.middles[row], rows.stops[row] + parted[row])
    own = np.where(is_sep, of_sep - rows.starts[row] + 2, 1)
    units = np.where(is_own, own, np.where(side.units[at] > 0, inner, 0))
    return {"ids": ids, "units": units, "lengths": lengths, "firsts": first + 1}
