"""Units: what two tokenizers' pieces of one text have in common, found by character places.

Two pieces that share a character belong together, on one side or across. What hangs together so is
a unit, if both sides have a piece in it: the finest parts that both tokenisations can be cut into.
Where both cut alike each piece is a unit of its own, even where several pieces are of one
character. Of the tokenizers' own tokens the first meets the first, the last the last, and those
between two segments meet each other.
"""

import json
import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinybert.text.encoded import EncodedRows, steps_of

Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]

ROWS_AT_ONCE = 10_000  # bounds the memory that characters take
ZONES = 5  # of a row: its first special token, a segment, special tokens, a segment, its last one
FIRST, BETWEEN, LAST = 0, 2, 4
PARTS = ("normalizer", "pre_tokenizer", "model")
PROBE = ("a b", "c")  # shows which tokens a tokenizer adds


def same_tokenizer(ours: Any, theirs: Any) -> bool:
    """Return whether two fast tokenizers make the same tokens of every text."""
    if ours.get_vocab() != theirs.get_vocab():
        return False
    one, other = (json.loads(each.backend_tokenizer.to_str()) for each in (ours, theirs))
    added = [each(*probe)["input_ids"] for each in (ours, theirs) for probe in (PROBE, PROBE[:1])]
    return added[:2] == added[2:] and all(one[part] == other[part] for part in PARTS)


def partners(ours: EncodedRows, theirs: EncodedRows) -> Numbers:
    """Return for each row the one of the other side's that shares most of its characters.

    Args:
        ours: Rows with their tokens' characters, those of a text one after the other.
        theirs: The same texts' rows; every text has one at least.

    Returns:
        Numbers of rows of `theirs`, shape (our rows,); of equally good ones the first.
    """
    if ours.origins is None or theirs.origins is None:
        return np.arange(len(ours))
    sizes = np.bincount(theirs.origins)
    tried = sizes[ours.origins]
    mine = np.repeat(np.arange(len(ours)), tried)
    other = steps_of((np.cumsum(sizes) - sizes)[ours.origins], tried)
    (low, high), (their_low, their_high) = _reach(ours), _reach(theirs)
    shared = np.minimum(high[mine], their_high[other]) - np.maximum(low[mine], their_low[other])
    overlap = np.maximum(shared, 0).sum(axis=1)
    order = np.lexsort((other, -overlap, mine))
    return np.asarray(other[order[np.cumsum(tried) - tried]])


def _reach(rows: EncodedRows) -> tuple[Numbers, Numbers]:
    """Return each row's first character, and the one behind its last, by segment: (rows, 2)."""
    assert rows.characters is not None
    segment, start, end = rows.characters.T.astype(np.int64)
    at = np.repeat(np.arange(len(rows)), rows.lengths)[segment >= 0], segment[segment >= 0]
    low = np.full((len(rows), 2), np.iinfo(np.int32).max, dtype=np.int64)
    high = np.zeros((len(rows), 2), dtype=np.int64)
    np.minimum.at(low, at, start[segment >= 0])
    np.maximum.at(high, at, end[segment >= 0])
    return low, high


class Units(NamedTuple):
    """Each token's unit, counted from 1 in its row; 0 of a token in none.

    Attributes:
        ours: Of one side's tokens, shape (tokens,).
        theirs: Of the other's.
        texts: How many units a row has besides those of special tokens, shape (rows,).
        shown: Whether a row's text has a character that a tokenizer should not drop.
    """

    ours: NDArray[np.int32]
    theirs: NDArray[np.int32]
    texts: Numbers
    shown: Flags


def find_units(
    ours: EncodedRows, theirs: EncodedRows, first: Sequence[str], second: Sequence[str] | None
) -> Units:
    """Find the units of rows that stand side by side.

    Args:
        ours: Rows with their tokens' characters.
        theirs: As many rows, each of the same text as ours.
        first: The texts that the rows, or their `origins`, are of.
        second: Their second segments, of pairs.
    """
    found = []
    origins = np.arange(len(ours)) if ours.origins is None else ours.origins
    for start in range(0, len(ours), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(ours))
        texts = slice(int(origins[start]), int(origins[stop - 1]) + 1)
        segments = [list(first[texts]), [] if second is None else list(second[texts])]
        rows = origins[start:stop] - origins[start]
        mine, other = (_part(each, start, stop) for each in (ours, theirs))
        found.append(_units(mine, other, _Characters.of(segments), rows))
    if not found:
        nothing = np.empty(0, np.int32)
        return Units(nothing, nothing, np.empty(0, np.int64), np.empty(0, np.bool_))
    return Units(*(np.concatenate(each) for each in zip(*found, strict=True)))


class _Side(NamedTuple):
    """Some rows' tokens: their characters, shape (tokens, 3), and how many each row has."""

    characters: Numbers
    lengths: Numbers


def _part(rows: EncodedRows, start: int, stop: int) -> _Side:
    assert rows.characters is not None
    begin = int(rows.ends[start - 1]) if start else 0
    part = rows.characters[begin : int(rows.ends[stop - 1])].astype(np.int64)
    return _Side(part, np.diff(rows.ends[start:stop], prepend=begin))


class _Characters(NamedTuple):
    """The characters of some texts, first segments before second ones.

    Attributes:
        starts: Where each text's segments begin, shape (texts, 2).
        ends: Where they end.
        shown: How many characters before each are such as no tokenizer drops; one more value.
        next_word: Each character, or the next one that is no space; one more value.
        last_word: Each character, or the last one before it that is no space, or -1.
    """

    starts: Numbers
    ends: Numbers
    shown: Numbers
    next_word: Numbers
    last_word: Numbers

    @classmethod
    def of(cls, segments: Sequence[Sequence[str]]) -> "_Characters":
        texts = [text for segment in segments for text in segment]
        points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        lengths = np.zeros((2, len(segments[0])), dtype=np.int64)
        lengths[0] = [len(text) for text in segments[0]]
        lengths[1, : len(segments[1])] = [len(text) for text in segments[1]]
        ends = np.cumsum(lengths.ravel()).reshape(2, -1).T
        space, shown = _tables()
        places, is_space = np.arange(len(points)), space[points]
        following = np.append(np.where(is_space, len(points), places), len(points))
        return cls(
            ends - lengths.T,
            ends,
            np.concatenate([[0], np.cumsum(shown[points])]),
            np.minimum.accumulate(following[::-1])[::-1],
            np.maximum.accumulate(np.where(is_space, -1, places)),
        )


@cache
def _tables() -> tuple[Flags, Flags]:
    """Return for each character whether it is a space, and whether no tokenizer drops it.

    Normalisers drop control characters, marks and the replacement character.
    """
    characters = [chr(number) for number in range(0x110000)]
    space = np.array([each.isspace() for each in characters])
    shown = np.array([unicodedata.category(each)[0] not in "CMZ" for each in characters])
    shown[0xFFFD] = False
    return space, shown


class _Spans(NamedTuple):
    """Where each token stands among those of all rows, in order of rows and of their zones.

    A character takes an odd place, what is between two an even one, for pieces without characters.

    Attributes:
        zone: ZONES of each row, one after the other, shape (tokens,).
        begin: First place in the zone.
        end: The one behind the last.
    """

    zone: Numbers
    begin: Numbers
    end: Numbers


def _spans(side: _Side, characters: _Characters, texts: Numbers) -> _Spans:
    segment, start, end = side.characters.T
    row = np.repeat(np.arange(len(side.lengths)), side.lengths)
    stops = np.cumsum(side.lengths)
    place = np.arange(len(row)) - (stops - side.lengths)[row]
    special = segment < 0
    own = np.where(place == 0, FIRST, np.where(place == side.lengths[row] - 1, LAST, BETWEEN))
    zone = row * ZONES + np.where(special, own, 2 * segment + 1)
    base = characters.starts[texts[row], np.maximum(segment, 0)]
    start, end = _trimmed(np.where(special, 0, start), np.where(special, 0, end), base, characters)
    wide = start < end
    begin = np.where(special, 0, 2 * start + wide)
    return _Spans(zone, begin, np.where(special, 1, np.where(wide, 2 * end, begin + 1)))


def _trimmed(
    start: Numbers, end: Numbers, base: Numbers, characters: _Characters
) -> tuple[Numbers, Numbers]:
    """Leave out spaces at a piece's ends, which some tokenizers count, but of spaces alone."""
    if len(characters.last_word) == 0:
        return start, end
    last = characters.last_word[np.maximum(base + end - 1, 0)] + 1 - base
    following = characters.next_word[base + start] - base
    keeps = following < end
    return np.where(keeps, following, start), np.where(keeps, last, end)


def _units(ours: _Side, theirs: _Side, characters: _Characters, texts: Numbers) -> Units:
    spans = [_spans(side, characters, texts) for side in (ours, theirs)]
    components = _components(spans)
    number = int(max((each.max(initial=-1) for each in components), default=-1)) + 1
    sides = [_Grouped.of(*each, number) for each in zip(spans, components, strict=True)]
    one, other = sides
    both = (one.counts > 0) & (other.counts > 0)
    zone = np.zeros(number, dtype=np.int64)
    for span, component in zip(spans, components, strict=True):
        zone[component] = span.zone
    both &= ~_cut_off(one, other, zone, characters, texts)
    alike = both & _cut_alike(one, other)
    sizes = np.where(alike, one.counts, both.astype(np.int64))
    per_row = np.bincount(zone // ZONES, weights=sizes, minlength=len(texts)).astype(np.int64)
    before = np.cumsum(sizes) - sizes - (np.cumsum(per_row) - per_row)[zone // ZONES]
    found = [
        np.where(both[of], before[of] + np.where(alike[of], side.ranks, 0) + 1, 0).astype(np.int32)
        for side, of in zip(sides, components, strict=True)
    ]
    of_text = np.where(zone % ZONES % 2 == 1, sizes, 0)
    in_text = np.bincount(zone // ZONES, weights=of_text, minlength=len(texts))
    starts, ends = characters.starts[texts], characters.ends[texts]
    shown = np.asarray((characters.shown[ends] > characters.shown[starts]).any(axis=1))
    return Units(found[0], found[1], in_text.astype(np.int64), shown)


def _components(spans: Sequence[_Spans]) -> list[Numbers]:
    """Number what hangs together by shared places, in order; return each side's tokens' numbers."""
    zone, begin, end = (np.concatenate(each) for each in zip(*spans, strict=True))
    stride = int(end.max(initial=0)) + 1
    begin, end = zone * stride + begin, zone * stride + end
    order = np.argsort(begin, kind="stable")
    reached = np.maximum.accumulate(end[order])
    is_new = np.concatenate([[True], begin[order][1:] >= reached[:-1]])[: len(order)]
    found = np.empty(len(order), dtype=np.int64)
    found[order] = np.cumsum(is_new) - 1
    return np.split(found, [len(spans[0].zone)])


class _Grouped(NamedTuple):
    """One side's tokens by component.

    Attributes:
        counts: Tokens of each component.
        order: The tokens, component by component.
        ranks: Each token's place in its component.
        begins: Places of the tokens in `order`.
        ends: Likewise.
        component: Likewise.
    """

    counts: Numbers
    order: Numbers
    ranks: Numbers
    begins: Numbers
    ends: Numbers
    component: Numbers

    @classmethod
    def of(cls, spans: _Spans, component: Numbers, number: int) -> "_Grouped":
        counts = np.bincount(component, minlength=number)
        order = np.argsort(component, kind="stable")
        ranks = np.empty(len(order), dtype=np.int64)
        ranks[order] = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(counts, order, ranks, spans.begin[order], spans.end[order], component[order])

    def reach(self) -> tuple[Numbers, Numbers]:
        """Return where each component begins and ends, in characters; 0 where it has no token."""
        begin, end = np.zeros((2, len(self.counts)), dtype=np.int64)
        here, firsts = self.counts > 0, (np.cumsum(self.counts) - self.counts)[self.counts > 0]
        if len(firsts):
            begin[here] = np.minimum.reduceat(self.begins, firsts) // 2
            end[here] = np.maximum.reduceat(self.ends, firsts) // 2
        return begin, end


def _cut_alike(one: _Grouped, other: _Grouped) -> Flags:
    """Return the components in which both sides have the same pieces, by places and number."""
    alike: Flags = one.counts == other.counts
    mine, theirs = alike[one.component], alike[other.component]
    differ = (one.begins[mine] != other.begins[theirs]) | (one.ends[mine] != other.ends[theirs])
    alike[one.component[mine][differ]] = False
    return alike


def _cut_off(
    one: _Grouped, other: _Grouped, zone: Numbers, characters: _Characters, texts: Numbers
) -> Flags:
    """Return the components of which one side lacks characters, where a row or window ends."""
    base = characters.starts[texts[zone // ZONES], (zone % ZONES) // 2 % 2]
    in_text = zone % ZONES % 2 == 1
    lacking = np.zeros(len(zone), dtype=np.int64)
    for mine, theirs in zip(one.reach(), other.reach(), strict=True):
        low, high = np.minimum(mine, theirs), np.maximum(mine, theirs)
        there = [np.where(in_text, base + each, 0) for each in (low, high)]
        lacking += characters.shown[there[1]] - characters.shown[there[0]]
    return np.asarray(lacking > 0)
