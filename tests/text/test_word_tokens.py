"""Remembered words have the tokenizer's own ids, whatever the text is made of."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from tests.fixtures.models import VOCABULARY, tiny_tokenizer
from tinybert.text import word_tokens
from tinybert.text.word_tokens import WordTokens, count_words, tokens_of

STRANGE = [
    "The CAT, the cat: a dog's (very) good-bad tree-house... isn't it?!",
    "\u00c9t\u00e9 e\u0301te\u0301 \u0130stanbul stra\u00dfe \u03a3\u03a3 \ufb01n na\u00efve",
    ".\u0301cat \u0301dog cat\u0301.",
    "tab\there new\nline return\rhere form\x0cfeed file\x1cseparator next\x85line nul\x00byte",
    "no\u00a0break thin\u2009space zero\u200bwidth line\u2028break ideographic\u3000space",
    "\u732b\u306f\u597d\u304d cat\u732bdog \uac00\ub098\ub2e4 \U0001f431cat\U0001f431",
    "\u037e \u1fef \u2260 \u226e \u00bfthe cat? \u201cgood\u201d \u2026 \u00abbad\u00bb",
    "a" * 31 + " " + "a" * 32 + " " + "a" * 120 + " cats sats flewing",
    # The accents are no tokens: 31 and 32 bytes, of which the first 31 are the same.
    "cat" + "\u0301" * 14 + " cat" + "\u0301" * 14 + "s cat" + "s" * 20,
    "the[MASK]cat [SEP] [mask] [ MASK ] x[UNK]",
    "$5.00 = 50% ~ `code` {a|b} <tag/> ^ _under_ @home #1",
    "",
    " \t ",
    "\x00",
]


@pytest.fixture
def tokenizer(tmp_path):
    return tiny_tokenizer(tmp_path)


def assert_own(texts, backend, remembering=None):
    """Ids and lengths must be the tokenizer's own; return its ids."""
    remembering = remembering or WordTokens(backend, np.uint16)
    expected = tokens_of(texts, backend, np.uint16)
    for found, own in zip(remembering.tokens_of(texts), expected, strict=True):
        assert np.array_equal(found, own), texts
    return expected[0]


def test_ids_are_the_tokenizers_own_the_first_and_the_second_time(tokenizer):
    backend = tokenizer.backend_tokenizer
    remembering = WordTokens(backend, np.uint16)
    assert remembering.knows_words
    for texts in [STRANGE, *([text] for text in STRANGE), *([text] for text in STRANGE)]:
        assert_own(texts, backend, remembering)


def test_ids_of_random_characters_are_the_tokenizers_own(tokenizer):
    backend = tokenizer.backend_tokenizer
    remembering = WordTokens(backend, np.uint16)
    rng = np.random.default_rng(0)
    planes = [(1, 128), (1, 0x250), (0x300, 0x370), (0x370, 0x2100), (0x2000, 0x2070), (1, 0xD800)]
    letters = [chr(c) for low, high in planes for c in rng.integers(low, high, 400)]
    for _ in range(200):
        texts = ["".join(rng.choice([*letters, *" " * 200], 60)) for _ in range(4)]
        assert_own(texts, backend, remembering)


CORPUS = [*STRANGE, "इस कुत्ते को", "สุนัขนอน", "שלום עולם", "Con chó ngủ", "영화는 좋았다", "لَذِيذًا"]


def backends():
    """Return a tokenizer of each kind that checkpoints come with, trained on a few words."""

    def bert(**options):
        return trained(
            models.WordPiece(unk_token="<unk>"),
            trainers.WordPieceTrainer,
            normalizers.BertNormalizer(**options),
            pre_tokenizers.BertPreTokenizer(),
        )

    unigram = partial(trainers.UnigramTrainer, unk_token="<unk>")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    spaces = pre_tokenizers.WhitespaceSplit()
    return {
        "BERT cased": bert(lowercase=False),
        "BERT uncased": bert(lowercase=True),
        "BERT lowered with accents": bert(lowercase=True, strip_accents=False),
        "BERT as written": bert(lowercase=False, handle_chinese_chars=False, clean_text=False),
        "byte-level": trained(models.BPE(), trainers.BpeTrainer, None, byte_level),
        "Metaspace": trained(
            models.Unigram(), unigram, normalizers.NFKC(), pre_tokenizers.Metaspace()
        ),
        "spaces": trained(models.BPE(unk_token="<unk>"), trainers.BpeTrainer, None, spaces),
    }


def trained(model, trainer, normalizer, pre_tokenizer):
    found = Tokenizer(model)
    if normalizer:
        found.normalizer = normalizer
    found.pre_tokenizer = pre_tokenizer
    special = ["<unk>", "[MASK]"]
    how = trainer(vocab_size=400, special_tokens=special, show_progress=False)
    found.train_from_iterator(CORPUS, how)
    return found


BACKENDS = backends()
LETTERS = st.characters(exclude_categories=["Cs"])
MIXED = st.lists(
    st.one_of(
        st.sampled_from([*CORPUS, " ", ".", "\u0301", "\u200d", "[MASK]"]),
        st.text(LETTERS, max_size=8),
    ),
    max_size=6,
).map("".join)


@pytest.mark.parametrize("name", BACKENDS)
@given(texts=st.lists(MIXED, max_size=4))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_ids_of_any_text_are_those_of_a_tokenizer_of_any_kind(name, texts):
    backend = BACKENDS[name]
    assert WordTokens(backend, np.uint16).knows_words == name.startswith("BERT")
    assert_own(texts, backend)


def test_words_that_share_a_slot_are_told_apart(tokenizer, monkeypatch):
    monkeypatch.setattr(word_tokens, "SLOTS_LOG2", 2)
    backend = tokenizer.backend_tokenizer
    remembering = WordTokens(backend, np.uint16)
    texts = [" ".join(VOCABULARY[5:]), " ".join(VOCABULARY[:4:-1])]
    for _ in range(3):
        assert_own(texts, backend, remembering)


def test_a_known_word_is_not_asked_for_again(tokenizer, monkeypatch):
    remembering = WordTokens(tokenizer.backend_tokenizer, np.uint16)
    remembering.tokens_of(["the cat sat on the mat ."])
    asked = []
    monkeypatch.setattr(remembering, "_ids_of", lambda word: asked.append(word) or [1])
    remembering.tokens_of(["The mat sat on a cat ."])
    assert asked == ["a"]


def test_a_tokenizer_of_another_kind_is_asked_for_whole_texts(tokenizer):
    from tokenizers import AddedToken, pre_tokenizers

    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    assert_own(["the cat. sat", "mat"], backend)
    assert not WordTokens(backend, np.uint16).knows_words
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_tokens([AddedToken("good-bad", normalized=True)])
    assert_own(["it was GOOD-bad .", "cat"], backend)


@pytest.mark.parametrize("lowers", [True, False])
def test_case_follows_the_tokenizer(tokenizer, lowers):
    from tokenizers.normalizers import BertNormalizer

    backend = tokenizer.backend_tokenizer
    backend.normalizer = BertNormalizer(lowercase=lowers)
    ids = assert_own(["the The THE cat \u00c9t\u00e9 e\u0301", "a A"], backend)
    assert (ids == 1).any()


def test_a_byte_of_zero_is_a_byte(tokenizer):
    from tokenizers.normalizers import BertNormalizer

    backend = tokenizer.backend_tokenizer
    backend.normalizer = BertNormalizer(clean_text=False)
    assert_own(["\x00", "cat", "cat\x00", "\x00"], backend)


def test_words_are_counted_as_python_splits_them():
    # Of the text with ideographs and kana, three of its five characters are a word more.
    assert count_words(STRANGE) == sum(len(text.split()) for text in STRANGE) + 1
    assert count_words(["很好的电影 ok"]) == 2 + 1
    every = [f"a{chr(c)}b" for c in range(0x3100) if not 0xD800 <= c < 0xE000]
    assert count_words(every) == sum(len(text.split()) for text in every)
    assert count_words([]) == 0
