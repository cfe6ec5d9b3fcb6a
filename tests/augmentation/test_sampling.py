import re

import numpy as np
import pandas as pd
import pytest
import torch
from gensim.models import KeyedVectors

from tests.fixtures.models import tiny_tokenizer
from tests.fixtures.small_masked_lm import (
    SPECIAL,
    VOCABULARY,
    masked_words,
    random_sentences,
    small_model,
    watch,
)
from tinybert.augmentation.sampling import Augmenter
from tinybert.augmentation.slots import Slot, sample_words
from tinybert.text.word_vectors import nearest_words


@pytest.fixture
def vectors():
    words = ["catdog", "near", "nearer", "far"]
    found = KeyedVectors(vector_size=2)
    found.add_vectors(words, np.array([[1, 0], [1, 0.2], [1, 0.1], [-1, 0]], dtype=np.float32))
    return found


@pytest.fixture
def augmenter(model, tokenizer, vectors):
    def make(p=0.4, copies=6, seed=1, **options):
        masked = masked_words(model, tokenizer, **options)
        return Augmenter(masked, vectors, replace_probability=p, num_copies=copies, seed=seed)

    return make


def singles(*sentences):
    labels = np.arange(len(sentences), dtype=np.int64)
    return pd.DataFrame({"sentence1": sentences, "label": labels})


def augmented(augmenter, frame, chosen=None):
    marks = np.ones(len(frame), dtype=bool) if chosen is None else np.array(chosen)
    return pd.concat(augmenter.augment(frame, marks), ignore_index=True)


def test_probability_zero_leaves_the_originals_alone(augmenter):
    frame = singles(*random_sentences(20))
    maker = augmenter(p=0.0)
    out = augmented(maker, frame)
    pd.testing.assert_frame_equal(out[["sentence1", "label"]], frame)
    assert maker.counts["duplicates_dropped"] == 20 * 6


def test_probability_one_replaces_every_replaceable_word_and_nothing_else(augmenter):
    original = 'The  cat\tis not "red", 1998 dogs-- don\'t run: catdog and two trees.'
    # dogs, trees: in no vectors, and run is not in the vocabulary; cat, red, catdog are known.
    pattern = re.compile(
        r'The  (\w+)\tis not "(\w+)", 1998 dogs-- don\'t run: (\w+) and two trees\.'
    )
    out = augmented(augmenter(p=1.0, copies=30), singles(original)).sentence1
    assert out[0] == original
    assert len(out) > 10
    for text in out[1:]:
        cat, red, catdog = pattern.fullmatch(text).groups()
        assert cat in VOCABULARY and cat != "cat"
        assert red in VOCABULARY and red != "red"
        assert catdog in ("near", "nearer", "far")


def test_the_model_sees_the_sentence_alone_with_the_word_masked(model, tokenizer, augmenter):
    seen = watch(model)
    augmented(
        augmenter(),
        pd.DataFrame({"sentence1": ["big cat runs"], "sentence2": ["old dog sleeps"], "label": 0}),
    )
    shown = {tokenizer.decode(row) for batch in seen for row in batch}
    assert shown == {
        "[CLS] [MASK] cat runs [SEP]",
        "[CLS] big [MASK] runs [SEP]",
        "[CLS] big cat [MASK] [SEP]",
        "[CLS] [MASK] dog sleeps [SEP]",
        "[CLS] old [MASK] sleeps [SEP]",
        "[CLS] old dog [MASK] [SEP]",
    }


def test_identical_requests_of_all_parts_are_asked_once(model, augmenter, monkeypatch):
    monkeypatch.setattr("tinybert.augmentation.sampling.ROWS_AT_ONCE", 2)
    seen = watch(model)
    maker = augmenter()
    # "[MASK] runs" of four sentences is one request; the others: cat, dog, man [MASK].
    augmented(maker, singles("cat runs", "dog runs", "cat runs", "man runs"))
    assert sum(len(batch) for batch in seen) == maker.answers.num_asked == 4
    assert maker.counts["words_masked"] == 8


def test_vectors_are_asked_once_for_all_words(augmenter, monkeypatch):
    monkeypatch.setattr("tinybert.augmentation.sampling.ROWS_AT_ONCE", 2)
    asked = []

    def watched(vectors, words, count):
        asked.append(list(words))
        return nearest_words(vectors, words, count)

    monkeypatch.setattr("tinybert.augmentation.sampling.nearest_words", watched)
    augmented(augmenter(), singles("catdog runs", "zebra Catdog", "the cat", "zebra far the"))
    assert asked == [["catdog", "zebra", "far"]]


def test_text_without_spaces_stays_and_other_rows_of_the_task_get_copies(tmp_path):
    pieces = [*SPECIAL, *"很好看电影我不", "##影", "собака", "кот", "дом", "cat", "dog"]
    tokenizer = tiny_tokenizer(tmp_path, pieces)
    vectors = KeyedVectors(vector_size=2)
    vectors.add_vectors(["a"], np.ones((1, 2), dtype=np.float32))
    masked = masked_words(small_model(len(pieces)), tokenizer)
    maker = Augmenter(masked, vectors, replace_probability=1.0, num_copies=20, seed=1)
    rows = singles("我不看电影", "собака 看 кот", "我不看电影 cat", "")
    out = augmented(maker, rows)
    assert maker.counts["rows_unspaced"] == 2
    assert maker.counts["words_masked"] == 2
    copies = out[out.duplicated("row")]
    assert set(copies.row) == {1}
    # Candidates are of the word's own script.
    expected = {f"{one} 看 {other}" for one in ("кот", "дом") for other in ("собака", "дом")}
    assert set() < set(copies.sentence1) <= expected


def test_rows_that_stay_as_they_are_are_counted(augmenter):
    maker = augmenter(p=1.0)
    augmented(maker, singles("the 1998", "", "zebra", "dog runs"), [True] * 3 + [False])
    assert maker.counts["rows_without_candidates"] == maker.counts["rows_without_copies"] == 3
    maker = augmenter(p=0.0)
    augmented(maker, singles("dog runs", "the"))
    assert maker.counts["rows_without_candidates"] == 1
    assert maker.counts["rows_without_copies"] == 2


def test_percent_signs_and_braces_of_a_sentence_stay(augmenter):
    out = augmented(augmenter(p=1.0), singles("100% %s {0} the cat %d"))
    assert len(out) > 1
    assert out.sentence1.str.fullmatch(r"100% %s \{0\} the \w+ %d").all()


def test_progress_adds_up_to_one(augmenter):
    done = []
    frame = singles(*random_sentences(12))
    list(augmenter().augment(frame, np.arange(12) < 5, progress=done.append))
    assert sum(done) == pytest.approx(1)
    assert len(done) > 2
    done.clear()
    nothing = singles("the a", "not")
    list(augmenter().augment(nothing, np.ones(2, dtype=bool), progress=done.append))
    assert done == [1]


def test_batch_size_parts_and_other_rows_change_nothing(augmenter, monkeypatch):
    frame = singles(*random_sentences(60))
    options = {"num_candidates": 5}
    large = augmented(augmenter(batch_tokens=4096, **options), frame)
    small = augmented(augmenter(batch_tokens=64, **options), frame)
    pd.testing.assert_frame_equal(small, large)
    chosen = np.arange(60) % 3 == 0
    few = augmented(augmenter(batch_tokens=64, **options), frame, chosen)
    for row in np.flatnonzero(chosen):
        assert few[few.row == row].sentence1.tolist() == large[large.row == row].sentence1.tolist()
    assert few[~few.row.isin(np.flatnonzero(chosen))].sentence1.tolist() == (
        frame.sentence1[~chosen].tolist()
    )
    monkeypatch.setattr("tinybert.augmentation.sampling.ROWS_AT_ONCE", 7)
    pd.testing.assert_frame_equal(augmented(augmenter(**options), frame), large)


def test_bfloat16_keeps_to_the_same_rules_and_repeats_itself(augmenter):
    frame = singles("the big cat runs", "two red dogs")
    one, again = (augmented(augmenter(p=1.0, dtype=torch.bfloat16), frame) for _ in range(2))
    pd.testing.assert_frame_equal(one, again)
    assert one[one.row == 0].sentence1.str.startswith("the ").all()
    assert one[one.row == 1].sentence1.str.fullmatch(r"two \w+ dogs").all()
    assert len(one) > 4


def test_the_seed_alone_decides(augmenter):
    frame = singles(*random_sentences(10))
    one, again, other = (augmented(augmenter(seed=seed), frame) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert not one.equals(other)


def test_rows_with_the_same_text_draw_for_themselves(augmenter):
    out = augmented(augmenter(), singles(*["the big cat sees a red dog"] * 20))
    assert len({tuple(group.sentence1) for _, group in out.groupby("row")}) == 20


def test_words_of_several_pieces_take_their_nearest_vectors(augmenter):
    maker, sentences = augmenter(num_candidates=2), ["catdog Catdog dogs cats zebra cat"]
    maker.ask(sentences)
    (found,) = maker.find_slots(sentences).values()
    assert [(slot.kind, slot.words) for slot in found[:5]] == [
        ("vectors", ("nearer", "near")),
        ("vectors", ("Nearer", "Near")),  # a cased teacher would miss the capital
        ("no_vector", ()),
        ("no_vector", ()),
        ("no_vector", ()),  # [UNK] is one piece, but not of the word
    ]
    assert found[5].kind == "masked"


def test_an_accent_may_be_a_character_of_its_own(augmenter):
    maker = augmenter()
    maker.vectors.add_vectors(["caf\u00e9"], np.array([[1, 0.3]], dtype=np.float32))
    maker.ask(["cafe\u0301 Cafe\u0301"])
    (slots,) = maker.find_slots(["cafe\u0301 Cafe\u0301"]).values()
    assert [slot.kind for slot in slots] == ["vectors", "vectors"]


def test_each_sentence_of_a_pair_is_augmented_beside_the_original_other(augmenter):
    texts = random_sentences(30)
    frame = pd.DataFrame(
        {"sentence1": texts[:15], "sentence2": texts[15:], "label": np.linspace(0, 5, 15)}
    )
    maker = augmenter(p=0.7)
    out = augmented(maker, frame)
    assert list(out.columns) == ["sentence1", "sentence2", "label", "row"]
    changed = {"sentence1": 0, "sentence2": 0}
    for row, group in out.groupby("row"):
        original = frame.iloc[row]
        sides = ["sentence1", "sentence2"]
        assert group.iloc[0][sides].tolist() == original[sides].tolist()
        assert (group.label == original.label).all()
        assert not group.duplicated(sides).any()
        differs = group[sides].iloc[1:] != original[sides]
        assert (differs.sum(axis=1) == 1).all()
        assert (differs.sum() <= 6).all()
        for side in sides:
            changed[side] += int(differs[side].sum())
    assert min(changed.values()) > 15
    assert len(out) == 15 + 15 * 2 * 6 - maker.counts["duplicates_dropped"]
    assert maker.counts["rows_out"] == len(out)


def test_label_and_row_keep_their_types(augmenter):
    out = augmented(augmenter(), singles("cat runs", "...", ""))
    assert out.label.dtype == np.int64 and out.row.dtype == np.int64
    assert (out.label == out.row).all()
    assert set(out.row) == {0, 1, 2}
    assert out[out.row > 0].sentence1.tolist() == ["...", ""]


def test_words_are_replaced_with_probability_p_by_uniform_candidates():
    # 20,000 draws: standard deviations sqrt(.4*.6/20000) = .0035 and, of the about 8,000
    # replaced, sqrt(.25*.75/8000) = .0048; the bounds are five of them.
    slots = [Slot((0, 1), "masked", ("a", "b", "c", "d")), Slot((2, 3), "masked", ("e",))]
    copies = sample_words("x y", slots, 20_000, 0.4, np.random.default_rng(0))
    first = pd.Series([copy[0] for copy in copies])
    second = pd.Series([copy[1] for copy in copies])
    assert abs((first != "x").mean() - 0.4) < 0.0175
    assert abs((second != "y").mean() - 0.4) < 0.0175
    for share in first[first != "x"].value_counts(normalize=True).reindex(list("abcd")):
        assert abs(share - 0.25) < 0.024
    # Independent words: both with probability .16, standard deviation .0026.
    assert abs(((first != "x") & (second != "y")).mean() - 0.16) < 0.013
