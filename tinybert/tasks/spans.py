"""Entities as places in a text, in the layouts that tools of annotation write.

A span is `{"start": 0, "end": 5, "label": "PER"}`, its end exclusive, or a list `[0, 5, "PER"]`
(spaCy, doccano), with `start_offset` and `end_offset` for the places (doccano) or `labels` with one
name (Label Studio). A row's spans are a list of them; or one object with the list under
`entities`, or with a list of each of start, end, label (a sequence of the hub).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from tinybert.tasks.tagging import OUTSIDE
from tinybert.tasks.words import Words, split_words

START, END, LABEL = ("start", "start_offset"), ("end", "end_offset"), ("label", "labels", "type")
RIGHT = 'write {"start": 0, "end": 5, "label": "PER"}'


class Span(NamedTuple):
    """An entity of a text."""

    start: int
    end: int  # exclusive
    type: str


def is_spans(value: object) -> bool:
    """Say whether a label looks like spans, rather than tags."""
    if isinstance(value, Mapping):
        return True
    return isinstance(value, list) and all(isinstance(each, Mapping | list) for each in value)


def read_spans(value: object, text: str) -> tuple[list[Span], list[str]]:
    """Return the spans of a text, in its order, and what is wrong with them."""
    spans: list[Span] = []
    problems: list[str] = []
    listed = _listed(value)
    if listed is None:
        return [], [f"label is no list of spans, got {repr(value)[:40]}; {RIGHT} in a list"]
    for each in listed:
        span = _span(each)
        problem = f"no span, got {repr(each)[:60]}; {RIGHT}"
        if span is not None:
            problem = _misplaced(span, text)
        if span is None or problem:
            problems.append(problem)
        else:
            spans.append(span)
    spans.sort()
    problems += [
        f"spans overlap, got {_shown(one, text)} and {_shown(two, text)}; keep one of them"
        for one, two in pairwise(spans)
        if two.start < one.end
    ]
    return spans, problems


def _listed(value: object) -> Sequence[object] | None:
    if isinstance(value, Mapping) and "entities" in value:
        value = value["entities"]
    if isinstance(value, Mapping):
        columns = [_first(value, keys) for keys in (START, END, LABEL)]
        parts = [column for column in columns if isinstance(column, list)]
        if len(parts) == 3 and len({len(part) for part in parts}) == 1:
            return [list(each) for each in zip(*parts, strict=True)]
        return None
    return value if isinstance(value, list) else None


def _first(span: Mapping[str, object], keys: Sequence[str]) -> object:
    return next((span[key] for key in keys if key in span), None)


def _span(value: object) -> Span | None:
    """Return a span, or nothing for what is none."""
    parts = list(value) if isinstance(value, list) else []
    if isinstance(value, Mapping):
        parts = [_first(value, keys) for keys in (START, END, LABEL)]
    if len(parts) != 3:
        return None
    start, end, name = parts
    if isinstance(name, list) and len(name) == 1:
        name = name[0]
    numbers = [each for each in (start, end) if isinstance(each, int) and type(each) is not bool]
    if len(numbers) < 2 or not isinstance(name, str) or name.strip() in ("", OUTSIDE):
        return None
    return Span(numbers[0], numbers[1], name.strip())


def _misplaced(span: Span, text: str) -> str:
    """Say what is wrong with a span's places; nothing if they are right."""
    start, end, _ = span
    if not 0 <= start <= len(text) or not 0 <= end <= len(text):
        return (
            f"a span leaves its text, got {start} to {end} of {span.type} in {len(text)} "
            f"characters, {text[:30]!r}; places are characters from 0, the end exclusive: correct "
            "them"
        )
    if start >= end:
        return (
            f"a span does not end after its start, got {start} to {end} of {span.type} in "
            f"{text[:30]!r}; write the smaller place first, and an end after the last character"
        )
    part = text[start:end]
    if part != part.strip():
        left = start + len(part) - len(part.lstrip())
        right = f"write {left} to {left + len(part.strip())}" if part.strip() else "take it out"
        return f"a span begins or ends in white space, got {_shown(span, text)}; {right}"
    if not len(split_words(part)):
        return f"a span holds no word, got {_shown(span, text)}; take it out"
    return ""


def _shown(span: Span, text: str) -> str:
    return f"{span.type} {text[span.start : span.end][:30]!r} at {span.start} to {span.end}"


def span_tags(text: str, spans: Sequence[Span]) -> tuple[Words, list[str]]:
    """Split a text into words and tag them by IOB2.

    Args:
        text: The text.
        spans: Its entities, in its order, none over another; their borders part words.
    """
    words = split_words(text, [place for span in spans for place in (span.start, span.end)])
    tags = []
    at, begun = 0, -1  # of the spans: the one that may hold a word, the last one that held one
    for start in words.starts:
        while at < len(spans) and spans[at].end <= start:
            at += 1
        if at < len(spans) and start >= spans[at].start:
            tags.append(f"{'I' if begun == at else 'B'}-{spans[at].type}")
            begun = at
        else:
            tags.append(OUTSIDE)
    return words, tags
