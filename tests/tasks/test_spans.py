"""Texts are split into words by a rule, and spans in them become tags."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinybert.tasks.spans import Span, is_spans, read_spans, span_tags
from tinybert.tasks.words import join_words, split_words, words_inside_pieces

TEXT = "Ann saw New York."


def words(text: str, borders: tuple[int, ...] = ()) -> list[str]:
    found = split_words(text, borders)
    return [found.word(number) for number in range(len(found))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.5 km, no?", ["It", "'", "s", "3", ".", "5", "km", ",", "no", "?"]),
        ("cafe\u0301 na\u00efve", ["cafe\u0301", "na\u00efve"]),
        ("a_b", ["a", "_", "b"]),
        ("10\u00a0000\u3000x", ["10", "000", "x"]),
        ("\u0645\u06cc\u200c\u062e", ["\u0645\u06cc\u200c\u062e"]),  # a joiner inside of a word
        ("\u200ba\u200bc b", ["a", "c", "b"]),
        ("\u2764\ufe0f!", ["\u2764\ufe0f", "!"]),
        ("...", [".", ".", "."]),
        # Of scripts without spaces a letter is a word, since entities begin anywhere.
        ("张三去 OK店2", ["张", "三", "去", "OK", "店", "2"]),
        ("ที่นี่ hi", ["ที่", "นี่", "hi"]),
        ("한국어 हिंदी", ["한국어", "हिंदी"]),
        ("ខ្មែរ\u200bក", ["ខ្", "មែ", "រ", "ក"]),  # a space of no width parts words
        (" \t\n", []),
    ],
)
def test_runs_of_letters_digits_and_marks_are_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    ("text", "shown", "to_end", "inside"),
    [
        ("张三去 北京", "10110", True, [1, 4]),
        ("张三去北京", "10100", True, [1, 3, 4]),
        ("张三去北京", "10100", False, [1]),  # what follows the last piece was cut off
        ("张三 去北", "1001", True, [1]),  # a space stands before 去
        ("ab cd", "10", True, []),  # a word of letters has a piece, or is not shown
        ("张三", "00", True, []),
    ],
)
def test_words_inside_of_a_piece_are_those_that_no_piece_begins_with(text, shown, to_end, inside):
    found = split_words(text)
    seen = np.array([mark == "1" for mark in shown])
    assert words_inside_pieces(*found, seen, to_end).tolist() == inside


def test_borders_part_words():
    assert words("unfoldable", (2, 6)) == ["un", "fold", "able"]


@given(st.text(max_size=40), st.lists(st.integers(0, 40), max_size=3))
def test_words_hold_all_that_is_seen_in_order(text, borders):
    found = split_words(text, [place for place in borders if place <= len(text)])
    places = [place for pair in zip(found.starts, found.ends, strict=True) for place in pair]
    assert places == sorted(places)
    assert all(start < end for start, end in zip(found.starts, found.ends, strict=True))
    inside = {i for a, b in zip(found.starts, found.ends, strict=True) for i in range(a, b)}
    left = "".join(text[i] for i in set(range(len(text))) - inside)
    assert not any(character.isalnum() or "!" <= character <= "~" for character in left)


@given(st.lists(st.text(min_size=1, max_size=5), max_size=6))
def test_joined_words_are_found_at_their_places(given_words):
    found = join_words(given_words)
    assert found.text == " ".join(given_words)
    assert [found.word(number) for number in range(len(found))] == given_words


@pytest.mark.parametrize(
    "value",
    [
        [{"start": 8, "end": 16, "label": "LOC"}],
        [{"id": 3, "start_offset": 8, "end_offset": 16, "label": "LOC"}],
        [{"start": 8, "end": 16, "labels": ["LOC"]}],
        [[8, 16, "LOC"]],
        {"entities": [[8, 16, "LOC"]]},
        {"start": [8], "end": [16], "label": ["LOC"]},
    ],
)
def test_the_layouts_of_several_tools_are_read(value):
    assert is_spans(value)
    assert read_spans(value, TEXT) == ([Span(8, 16, "LOC")], [])


def test_spans_become_tags_and_part_words():
    found, tags = span_tags(TEXT, [Span(0, 3, "PER"), Span(8, 16, "LOC")])
    assert [found.word(n) for n in range(len(found))] == ["Ann", "saw", "New", "York", "."]
    assert tags == ["B-PER", "O", "B-LOC", "I-LOC", "O"]
    # Two that touch stay two.
    assert read_spans([[0, 2, "A"], [2, 4, "A"]], "abcd")[1] == []
    _, tags = span_tags("abcd", [Span(0, 2, "A"), Span(2, 4, "A")])
    assert tags == ["B-A", "B-A"]
    assert span_tags("a b", [])[1] == ["O", "O"]


@pytest.mark.parametrize(
    ("span", "part"),
    [
        ([8, 18, "LOC"], "leaves its text, got 8 to 18 of LOC in 17 characters"),
        ([-1, 3, "LOC"], "leaves its text"),
        ([3, 0, "PER"], "does not end after its start, got 3 to 0"),
        ([3, 3, "PER"], "does not end after its start"),
        ([3, 7, "PER"], "white space, got PER ' saw' at 3 to 7; write 4 to 7"),
        ([4, 8, "PER"], "white space, got PER 'saw ' at 4 to 8; write 4 to 7"),
        ([0, 3], "no span, got [0, 3]"),
        ([0, 3, "O"], "no span"),
        ([0, 3, 1], "no span"),
        (["0", "3", "PER"], "no span"),
        ([True, 3, "PER"], "no span"),
        (7, "no span, got 7"),
    ],
)
def test_a_span_that_is_wrong_is_named(span, part):
    spans, (problem,) = read_spans([span], TEXT)
    assert spans == []
    assert part in problem


def test_spans_over_each_other_are_refused_and_all_are_named():
    _, problems = read_spans([[8, 16, "LOC"], [0, 3, "PER"], [0, 7, "X"], [9, 16, "LOC"]], TEXT)
    assert problems == [
        "spans overlap, got PER 'Ann' at 0 to 3 and X 'Ann saw' at 0 to 7; keep one of them",
        "spans overlap, got LOC 'New York' at 8 to 16 and LOC 'ew York' at 9 to 16; keep one of "
        "them",
    ]
    assert read_spans("LOC", TEXT)[1][0].startswith("label is no list of spans, got 'LOC'")
