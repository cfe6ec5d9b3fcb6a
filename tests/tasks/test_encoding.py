"""Rows become pieces: cut, head and tail, windows; each word of a tagged text counts once."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures.models import WORDS, tiny_tokenizer
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding
from tinybert.tasks.words import join_words
from tinybert.text.encoded import SCORED, EncodedRows

PLAIN = [word for word in WORDS if word.isalpha()]
# A word of three pieces: its last two begin with ##.
LONG = f"{PLAIN[0]}inged"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tiny_tokenizer(tmp_path_factory.mktemp("tokenizer"))


def texts(*sizes: int) -> list[str]:
    return [" ".join(PLAIN[(i + n) % len(PLAIN)] for i in range(n)) for n in sizes]


def pieces(rows: EncodedRows, tokenizer) -> list[list[str]]:
    return [tokenizer.convert_ids_to_tokens(rows[n]["ids"].tolist()) for n in range(len(rows))]


def encoded(tokenizer, first, second=None, kind="classification", **how) -> EncodedRows:
    frame = pd.DataFrame({"sentence1": first, "label": [n % 2 for n in range(len(first))]})
    if second:
        frame.insert(1, "sentence2", second)
    return encode_split(frame, tokenizer, Encoding(kind, 2, how.pop("max_length", 10), **how))


def test_head_and_tail_keep_a_quarter_and_three_quarters(tokenizer):
    text = " ".join(PLAIN[:20])
    rows = encoded(tokenizer, [text, "the cat"], long="head_tail")
    # 8 places beside the special ones: the first 2 words and the last 6 of 20.
    assert pieces(rows, tokenizer)[0] == ["[CLS]", *PLAIN[:2], *PLAIN[14:20], "[SEP]"]
    assert pieces(rows, tokenizer)[1] == ["[CLS]", "the", "cat", "[SEP]"]
    assert rows.first_lengths.tolist() == [10, 4]


def test_windows_share_the_stride_and_hold_the_whole_text(tokenizer):
    text = " ".join(PLAIN[:20])
    rows = encoded(tokenizer, ["the cat", text], long="windows", stride=3)
    assert rows.origins is not None and rows.origins.tolist() == [0, 1, 1, 1, 1]
    windows = [of[1:-1] for of in pieces(rows, tokenizer)][1:]
    assert windows[0] == PLAIN[:8]
    for before, after in pairwise(windows):
        assert before[-3:] == after[:3]
    assert windows[-1][-1] == PLAIN[19]
    assert rows.targets["labels"].tolist() == [0, 1, 1, 1, 1]


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=6))
def test_windows_of_pairs_cut_the_longer_one_and_lose_nothing_of_it(tokenizer, sizes):
    first, second = (texts(*of) for of in zip(*sizes, strict=True))
    rows = encoded(tokenizer, first, second, long="windows", stride=2, max_length=14)
    assert rows.origins is not None
    assert rows.lengths.max() <= 14
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        windows = [rows[int(n)] for n in np.flatnonzero(rows.origins == number)]
        sides = [
            (
                tokenizer.convert_ids_to_tokens(of["ids"][1 : of["first_length"] - 1].tolist()),
                tokenizer.convert_ids_to_tokens(of["ids"][of["first_length"] : -1].tolist()),
            )
            for of in windows
        ]
        longer = 0 if len(a.split()) > len(b.split()) else 1
        whole = (a, b)[longer].split()
        seen = [word for side in sides for word in side[longer]]
        assert set(seen) == set(whole) and seen[-1] == whole[-1]
        # The shorter one is the same in all windows, whole or its first half of the room.
        shorter = (b, a)[longer].split()
        assert {tuple(side[1 - longer]) for side in sides} == {tuple(shorter[:5])}


def tagged(rows: list[list[str]], tags: list[list[int]]) -> pd.DataFrame:
    words = [join_words(of) for of in rows]
    return pd.DataFrame(
        {
            "sentence1": [of.text for of in words],
            "word_starts": [np.array(of.starts) for of in words],
            "word_ends": [np.array(of.ends) for of in words],
            "label": [np.array(of) for of in tags],
        }
    )


def test_a_words_first_piece_has_its_tag(tokenizer):
    frame = tagged([["the", LONG, "sat"]], [[0, 2, 1]])
    rows = encode_split(frame, tokenizer, Encoding("tokens", 3, 16))
    assert pieces(rows, tokenizer)[0][1:-1] == ["the", PLAIN[0], "##ing", "##ed", "sat"]
    scored = rows.token_targets[SCORED].tolist()
    assert scored == [False, True, True, False, False, True, False]
    assert rows.token_targets["labels"].tolist() == [0, 0, 2, 0, 0, 1, 0]
    assert rows.places is not None and rows.places.tolist() == [-1, 0, 1, -1, -1, 2, -1]


@settings(max_examples=80, deadline=None)
@given(
    words=st.lists(
        st.lists(st.sampled_from([*PLAIN[:6], LONG, "zzz", "a.b"]), min_size=1, max_size=40),
        min_size=1,
        max_size=4,
    ),
    length=st.integers(8, 16),
    stride=st.integers(0, 3),
)
def test_each_word_counts_once_with_its_own_tag(tokenizer, words, length, stride):
    rng = np.random.default_rng(len(words))
    tags = [rng.integers(0, 5, len(of)).tolist() for of in words]
    how = Encoding("tokens", 5, length, "windows", stride)
    rows = encode_split(tagged(words, tags), tokenizer, how)
    assert rows.origins is not None and rows.places is not None
    texts_of = np.repeat(rows.origins, rows.lengths)
    found = {}
    for token in np.flatnonzero(rows.places >= 0):
        key = (int(texts_of[token]), int(rows.places[token]))
        assert key not in found
        found[key] = int(rows.token_targets["labels"][token])
    assert found == {
        (text, word): tag for text, of in enumerate(tags) for word, tag in enumerate(of)
    }


def test_a_word_in_two_windows_counts_where_more_stands_around_it(tokenizer):
    frame = tagged([PLAIN[:10]], [[0] * 10])
    rows = encode_split(frame, tokenizer, Encoding("tokens", 2, 8, "windows", 4))
    # Windows of 6 words, beginning at words 0, 2 and 4; special tokens stand at both ends.
    places = np.split(rows.places, rows.ends[:-1])
    assert [of[of >= 0].tolist() for of in places] == [[0, 1, 2, 3], [4, 5], [6, 7, 8, 9]]


def test_words_that_are_cut_off_are_not_scored(tokenizer):
    frame = tagged([PLAIN[:10]], [[1] * 10])
    rows = encode_split(frame, tokenizer, Encoding("tokens", 2, 8, "cut"))
    assert rows.places is not None and rows.places[rows.places >= 0].tolist() == list(range(6))


@pytest.mark.parametrize("begin", [" ", "\u200b", "\ufeff", "\u0301", "\u00a0\u00ad"])
def test_a_word_counts_whatever_unseen_stands_at_its_beginning(tokenizer, begin):
    words = join_words([PLAIN[0], begin + LONG, PLAIN[1]])
    columns = {"word_starts": [np.array(words.starts)], "word_ends": [np.array(words.ends)]}
    frame = pd.DataFrame({"sentence1": [words.text], **columns})
    rows = encode_split(frame, tokenizer, Encoding("tokens", 2, 10))
    assert rows.places[rows.places >= 0].tolist() == [0, 1, 2]
    assert pieces(rows, tokenizer)[0][int(np.flatnonzero(rows.places == 1)[0])] == PLAIN[0]


def test_a_word_without_a_piece_and_a_row_without_words_are_no_error(tokenizer):
    frame = tagged([["the", "\u200b", "cat"], ["\u200b"]], [[0, 1, 1], [1]])
    rows = encode_split(frame, tokenizer, Encoding("tokens", 2, 8))
    assert rows.places is not None and rows.places[rows.places >= 0].tolist() == [0, 2]


def test_several_labels_are_0_and_1_beside_each_window(tokenizer):
    frame = pd.DataFrame({"sentence1": texts(12, 2), "label": [np.array([0, 2]), np.array([])]})
    rows = encode_split(frame, tokenizer, Encoding("multilabel", 3, 10, "windows", 2))
    assert rows.targets["labels"].dtype == np.float32
    assert rows.targets["labels"].tolist() == [[1, 0, 1], [1, 0, 1], [0, 0, 0]]
