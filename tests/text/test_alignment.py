"""Units: what two tokenizers' pieces of one text have in common."""

import time
import unicodedata
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from tests.fixtures.tokenizers import MAKES, TEXTS, tokenizer_of
from tinybert.text.alignment import find_units, partners, same_tokenizer
from tinybert.text.encoded import EncodedRows, encode

PAIRS = list(permutations(MAKES, 2))
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
USUAL = st.text(
    st.sampled_from("abcdeénï ️▁ \t.,'½ﬁ🙂👍🏽日本हि\u0301\u200b\x00\ufffd"), max_size=30
)


def rows_of(make, first, second=None, length=512, **how) -> EncodedRows:
    return encode(tokenizer_of(make, **how), first, second, length, characters=True)


def units_of(ours, theirs, first, second=None, length=512):
    """Return both sides' rows, and their units row by row."""
    sides = [rows_of(make, first, second, length) for make in (ours, theirs)]
    units = find_units(*sides, first, second)
    return sides, [np.split(of, side.ends[:-1]) for of, side in zip(units[:2], sides, strict=True)]


def shown(text) -> str:
    """Return a text's characters that no tokenizer drops."""
    return "".join(c for c in text if unicodedata.category(c)[0] not in "CMZ" and c != "\ufffd")


def span(rows, row, units, unit, text) -> str:
    places = np.split(rows.characters, rows.ends[:-1])[row][units[row] == unit]
    assert len(places), (unit, "is empty")
    if (places[:, 0] < 0).any():
        assert (places[:, 0] < 0).all()
        return "special"
    assert len(set(places[:, 0])) == 1
    return shown(text[places[0, 0]][places[:, 1].min() : places[:, 2].max()])


@settings(max_examples=20)
@given(texts=st.lists(st.tuples(ANY_TEXT | USUAL, ANY_TEXT | USUAL), min_size=1, max_size=3))
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_a_unit_is_of_the_same_characters_on_both_sides_and_empty_on_none(ours, theirs, texts):
    first, second = ([pair[n] for pair in texts] for n in (0, 1))
    sides, units = units_of(ours, theirs, first, second)
    for row, text in enumerate(texts):
        number = max(units[0][row])
        assert number == max(units[1][row])
        for unit in range(1, number + 1):
            mine, other = (span(sides[n], row, units[n], unit, text) for n in (0, 1))
            assert mine == other


@settings(max_examples=20)
@given(texts=st.lists(st.tuples(ANY_TEXT | USUAL, ANY_TEXT | USUAL), min_size=1, max_size=3))
@pytest.mark.parametrize("make", MAKES)
def test_equal_tokenisations_give_one_unit_a_piece(make, texts):
    first, second = ([pair[n] for pair in texts] for n in (0, 1))
    _, units = units_of(make, make, first, second)
    for of in units:
        for row in of:
            assert row.tolist() == list(range(1, len(row) + 1))


@settings(max_examples=20)
@given(text=USUAL)
@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
def test_characters_that_both_have_pieces_of_are_in_a_unit(ours, theirs, text):
    sides, units = units_of(ours, theirs, [text])
    covered = []
    for rows in sides:
        inside = rows.characters[rows.characters[:, 0] == 0]
        covered.append({c for _, start, end in inside for c in range(start, end)})
    for rows, (of,) in zip(sides, units, strict=True):
        for (segment, start, end), unit in zip(rows.characters, of, strict=True):
            words = {c for c in range(start, end) if shown(text[c])}
            if segment == 0 and words & covered[0] & covered[1]:
                assert unit > 0, text[start:end]


def by_hand(*characters) -> EncodedRows:
    """Return a row of tokens at these places: (segment, first character, one behind the last)."""
    found = np.array(characters, np.int32)
    size = len(found)
    return replace(
        EncodedRows(np.zeros(size, np.int32), np.array([size]), np.array([size]), {}),
        characters=found,
    )


OWN = (-1, 0, 0)


def test_units_by_hand():
    text = "a unbelievable \N{GRINNING FACE}  b"
    # a un believ able emoji space b
    ours = by_hand(
        OWN,
        *((0, 0, 1), (0, 2, 4), (0, 4, 10), (0, 10, 14)),
        *((0, 15, 16), (0, 17, 18), (0, 18, 19)),
        OWN,
    )
    # a " unbe" "liev" able, three bytes of the emoji, a space without characters, " b"
    theirs = by_hand(
        OWN,
        *((0, 0, 1), (0, 1, 6), (0, 6, 10), (0, 10, 14)),
        *((0, 15, 16), (0, 15, 16), (0, 15, 16), (0, 16, 16), (0, 17, 19)),
        OWN,
    )
    units = find_units(ours, theirs, [text], None)
    # "un" and "believ" overlap with " unbe" and "liev"; " b" is b, and a space by itself is none.
    assert units.ours.tolist() == [1, 2, 3, 3, 4, 5, 0, 6, 7]
    assert units.theirs.tolist() == [1, 2, 3, 3, 4, 5, 5, 5, 0, 6, 7]
    assert units.texts.tolist() == [5]
    assert units.shown.tolist() == [True]


def test_special_tokens_meet_their_like():
    sides, (ours, theirs) = units_of("wordpiece", "byte_level", ["the cat"], ["a dog"])
    own = [rows.characters[:, 0] < 0 for rows in sides]
    assert len(ours[0][own[0]]) == 3
    assert len(theirs[0][own[1]]) == 4
    begin, between, end = ours[0][own[0]]
    assert theirs[0][own[1]].tolist() == [begin, between, between, end]
    _, (ours, theirs) = units_of("wordpiece", "unigram", ["", "\x00"], ["", ""])
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.tolist() == [1, 2, 3]
        assert other[[0, -1]].tolist() == [1, 3]


def test_several_pieces_of_one_character_stay_apart_where_both_have_the_same():
    _, (ours, theirs) = units_of("byte_level", "untrimmed", ["🙂日cat"])
    assert ours[0].tolist() == theirs[0].tolist() == list(range(1, len(ours[0]) + 1))


def test_a_piece_that_the_other_side_is_cut_inside_of_is_in_no_unit():
    text = "the unbelievable cat"
    (ours, theirs), units = units_of("wordpiece", "unigram", [text], length=4)
    ends = [rows.characters[:, 2].max() for rows in (ours, theirs)]
    assert ends[0] != ends[1]
    shorter = min(ends)
    for rows, (of,) in zip((ours, theirs), units, strict=True):
        inside = rows.characters[:, 0] == 0
        assert not of[inside & (rows.characters[:, 2] > shorter)].any()


def test_rows_do_not_touch_each_other():
    texts = [*TEXTS, "", "cat"]
    _, together = units_of("wordpiece", "unigram", texts)
    for number, text in enumerate(texts):
        _, alone = units_of("wordpiece", "unigram", [text])
        for whole, own in zip(together, alone, strict=True):
            assert whole[number].tolist() == own[0].tolist()


def test_rows_in_parts_are_as_all_at_once(monkeypatch):
    texts = [*TEXTS, "", "cat"]
    _, whole = units_of("wordpiece", "byte_level", texts, texts[::-1])
    monkeypatch.setattr("tinybert.text.alignment.ROWS_AT_ONCE", 3)
    _, parts = units_of("wordpiece", "byte_level", texts, texts[::-1])
    for one, other in zip(whole, parts, strict=True):
        assert all(map(np.array_equal, one, other))


def windows(*reaches) -> EncodedRows:
    """Return windows of one token each: (text, first character, one behind the last)."""
    characters = np.array([(0, start, end) for _, start, end in reaches], np.int32)
    ends = np.arange(1, len(reaches) + 1)
    rows = EncodedRows(np.zeros(len(reaches), np.int32), ends, np.ones(len(reaches)), {})
    origins = np.array([text for text, _, _ in reaches])
    return replace(rows, origins=origins, characters=characters)


def test_partners_share_most_characters():
    ours = windows((0, 0, 10), (0, 8, 20), (1, 0, 5), (1, 4, 5))
    theirs = windows((0, 0, 6), (0, 5, 14), (0, 12, 20), (1, 0, 4), (1, 3, 9))
    # 6 and 5 characters; 6, 8 of the second, third; 4, 2; 0, 1.
    assert partners(ours, theirs).tolist() == [0, 2, 3, 4]
    again = windows((0, 0, 10), (0, 2, 10), (0, 0, 12))
    assert partners(windows((0, 0, 10)), again).tolist() == [0]


def test_tokenizers_are_compared_by_what_they_do():
    one, other = tokenizer_of("wordpiece"), tokenizer_of("wordpiece", 339)
    assert same_tokenizer(one, one)
    assert not same_tokenizer(one, other)
    assert not same_tokenizer(one, tokenizer_of("unigram"))
    assert not same_tokenizer(*(_lowering(each) for each in (True, False)))
    assert same_tokenizer(*(_lowering(True) for _ in range(2)))
    bare, other = _lowering(True), _lowering(True)
    bare.backend_tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A", pair="[CLS] $A $B", special_tokens=[("[CLS]", bare.cls_token_id)]
    )
    assert not same_tokenizer(bare, other)


def _lowering(lowers):
    from transformers import BertTokenizerFast

    vocabulary = dict(tokenizer_of("cased").get_vocab())
    return BertTokenizerFast(vocab=vocabulary, do_lower_case=lowers)


def test_a_million_tokens_take_seconds():
    texts = [" ".join(TEXTS[n % 2] for n in range(3)) for _ in range(2000)]
    sides = [rows_of(make, texts) for make in ("wordpiece", "byte_level")]
    started = time.process_time()
    find_units(*sides, texts, None)
    seconds = time.process_time() - started
    assert seconds / sum(len(side.ids) for side in sides) * 1e6 < 5
