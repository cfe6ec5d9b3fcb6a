import re

import numpy as np
import pandas as pd
import pytest
import torch
from gensim.models import KeyedVectors
from tokenizers import Tokenizer, models
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    BertTokenizerFast,
    DistilBertConfig,
    DistilBertForMaskedLM,
    PreTrainedTokenizerFast,
)

from tinybert.augmentation import (
    Augmenter,
    MaskedWords,
    Slot,
    is_replaceable,
    load_masked_words,
    sample_copies,
)
from tinybert.errors import InputError

WORDS = (
    "cat dog house tree river stone red blue big small old young runs sleeps walks eats sees finds "
    "man woman child road field quiet loud green"
).split()
KEPT = ["the", "a", "not", "is", "and", "i", "s", "t", "two", "1998", "3"]
MARKS = list(".,'\"!-$")
PIECES = ["##s", "##dog", "##house", "##ly"]
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIAL + MARKS + PIECES + KEPT + WORDS
MAX_POSITIONS = 24


@pytest.fixture
def tokenizer(tmp_path):
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(VOCABULARY) + "\n")
    return BertTokenizerFast(vocab=str(file))


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.5,
    )
    return BertForMaskedLM(config).eval()


@pytest.fixture
def vectors():
    words = ["catdog", "near", "nearer", "far"]
    found = KeyedVectors(vector_size=2)
    found.add_vectors(words, np.array([[1, 0], [1, 0.2], [1, 0.1], [-1, 0]], dtype=np.float32))
    return found


def masked_words(model, tokenizer, num_candidates=3, batch_tokens=64, dtype=None):
    return MaskedWords(
        model,
        tokenizer,
        num_candidates=num_candidates,
        batch_tokens=batch_tokens,
        dtype=dtype,
        device=torch.device("cpu"),
    )


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


def random_sentences(count, seed=0):
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice([*WORDS, *KEPT, "catdog"], size=generator.integers(1, 15)))
        for _ in range(count)
    ]


def watch(model):
    """Return a list that fills with the ids of each batch the encoder sees."""
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].clone()), with_kwargs=True
    )
    return seen


def plain_candidates(model, tokenizer, sentence, place, count):
    """Mask one piece, run the sentence alone, rank the whole words in plain Python."""
    ids = tokenizer(sentence)["input_ids"]
    own, ids[place + 1] = ids[place + 1], tokenizer.mask_token_id
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0, place + 1].tolist()
    allowed = [VOCABULARY.index(word) for word in KEPT + WORDS]
    ranked = sorted((i for i in allowed if i != own), key=lambda i: -scores[i])
    return {VOCABULARY[i] for i in ranked[:count]}


@pytest.mark.parametrize(
    "word",
    "the The NOT never no nor nobody cannot don't isn’t n't N'T won s 3 1998 3rd b2b two Million"  # noqa: RUF001
    " didn without".split(),
)
def test_function_words_negations_and_numbers_stay(word):
    assert not is_replaceable(word)


@pytest.mark.parametrize("word", "cat Cat system fire bill serious o'clock café".split())
def test_content_words_may_be_replaced(word):
    assert is_replaceable(word)


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


def test_candidates_are_the_most_probable_whole_words_of_a_plain_computation(model, tokenizer):
    sentence = "the big cat sees a dog"
    masked = masked_words(model, tokenizer, num_candidates=4)
    (requests,) = masked.requests([sentence])
    masked.ask(requests.values(), lambda part: None)
    found = {sentence[slice(*span)]: masked.words(request) for span, request in requests.items()}
    pieces = sentence.split()
    assert set(found) == {"big", "cat", "sees", "dog"}
    for word, candidates in found.items():
        place = pieces.index(word)
        assert set(candidates) == plain_candidates(model, tokenizer, sentence, place, 4)
        assert len(candidates) == 4
        # In the order of the vocabulary: that of the scores may change with the batch.
        assert list(candidates) == sorted(candidates, key=VOCABULARY.index)


def test_the_own_word_special_pieces_and_punctuation_are_no_candidates(model, tokenizer):
    masked = masked_words(model, tokenizer, num_candidates=1000)
    (requests,) = masked.requests(["red dog"])
    masked.ask(requests.values(), lambda part: None)
    red, dog = (masked.words(request) for request in requests.values())
    assert set(red) == set(KEPT + WORDS) - {"red"}
    assert set(dog) == set(KEPT + WORDS) - {"dog"}


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


def test_of_a_sentence_too_long_for_the_model_the_word_keeps_its_surroundings(model, tokenizer):
    seen = watch(model)
    words = [WORDS[i % len(WORDS)] for i in range(60)]
    sentence = " ".join(words)
    masked = masked_words(model, tokenizer)
    (requests,) = masked.requests([sentence])
    assert len(requests) == 60
    masked.ask(requests.values(), lambda part: None)
    shown = {tokenizer.decode(row) for batch in seen for row in batch}
    length = MAX_POSITIONS - 2
    # Word 30 stands in the middle of its window: 11 of 22 pieces before it.
    window = [*words[19:30], "[MASK]", *words[31 : 19 + length]]
    assert " ".join(["[CLS]", *window, "[SEP]"]) in shown
    assert " ".join(["[CLS]", "[MASK]", *words[1:length], "[SEP]"]) in shown
    assert " ".join(["[CLS]", *words[60 - length : 59], "[MASK]", "[SEP]"]) in shown


def test_identical_requests_are_asked_once_also_across_calls(model, augmenter):
    seen = watch(model)
    maker = augmenter()
    # "[MASK] runs" of three sentences is one request; the others: cat, dog, man [MASK].
    augmented(maker, singles("cat runs", "dog runs", "cat runs", "man runs"))
    assert sum(len(batch) for batch in seen) == maker.masked.num_asked == 4
    augmented(maker, singles("cat runs"))
    assert sum(len(batch) for batch in seen) == 4
    assert maker.counts["words_masked"] == 10


def test_a_shared_request_still_leaves_out_each_own_word(model, tokenizer):
    masked = masked_words(model, tokenizer, num_candidates=3)
    sentences = [f"{word} runs" for word in WORDS if word != "runs"]
    requests = [
        found[(0, len(s) - 5)]
        for s, found in zip(sentences, masked.requests(sentences), strict=True)
    ]
    masked.ask(requests, lambda part: None)
    assert masked.num_asked == 1
    for sentence, request in zip(sentences, requests, strict=True):
        assert set(masked.words(request)) == plain_candidates(model, tokenizer, sentence, 0, 3)


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
    monkeypatch.setattr("tinybert.augmentation.ROWS_AT_ONCE", 7)
    pd.testing.assert_frame_equal(augmented(augmenter(**options), frame), large)


def test_near_ties_are_asked_again_alone(model, augmenter, monkeypatch):
    frame = singles(*random_sentences(20))
    expected = augmented(augmenter(batch_tokens=4096), frame)
    monkeypatch.setattr("tinybert.augmentation.NEAR_TIE", np.inf)
    seen = watch(model)
    pd.testing.assert_frame_equal(augmented(augmenter(batch_tokens=4096), frame), expected)
    # Every request of a batch of several came a second time, alone.
    several = sum(len(batch) for batch in seen if len(batch) > 1)
    assert several > 0
    assert sum(len(batch) == 1 for batch in seen) >= several


def test_of_equal_scores_the_lower_vocabulary_number_wins(model, tokenizer):
    # With a head that gives every piece the same score, the first whole words are the best.
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
        model.cls.predictions.decoder.bias.zero_()
    masked = masked_words(model, tokenizer, num_candidates=3)
    requests = masked.requests(["cat runs", "dog sleeps quiet"])
    masked.ask([r for found in requests for r in found.values()], lambda part: None)
    assert {masked.words(r) for found in requests for r in found.values()} == {tuple(KEPT[:3])}


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


def test_words_of_several_pieces_take_their_nearest_vectors(augmenter):
    slots = augmenter(num_candidates=2).find_slots(["catdog Catdog dogs cats zebra cat"])
    (found,) = slots.values()
    assert [(slot.kind, slot.words) for slot in found[:5]] == [
        ("vectors", ("nearer", "near")),
        ("vectors", ("Nearer", "Near")),  # a cased teacher would miss the capital
        ("no_vector", ()),
        ("no_vector", ()),
        ("no_vector", ()),  # [UNK] is one piece, but not of the word
    ]
    assert found[5].kind == "masked"


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
    copies = sample_copies("x y", slots, 20_000, 0.4, np.random.default_rng(0))
    first = pd.Series([copy[0] for copy in copies])
    second = pd.Series([copy[2] for copy in copies])
    assert abs((first != "x").mean() - 0.4) < 0.0175
    assert abs((second != "y").mean() - 0.4) < 0.0175
    for share in first[first != "x"].value_counts(normalize=True).reindex(list("abcd")):
        assert abs(share - 0.25) < 0.024
    # Independent words: both with probability .16, standard deviation .0026.
    assert abs(((first != "x") & (second != "y")).mean() - 0.16) < 0.013


def test_a_model_without_a_separable_head_gives_the_candidates_of_a_plain_computation(tokenizer):
    torch.manual_seed(0)
    config = DistilBertConfig(
        vocab_size=len(VOCABULARY),
        dim=16,
        n_layers=1,
        n_heads=2,
        hidden_dim=32,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.5,
    )
    model = DistilBertForMaskedLM(config).eval()
    masked = masked_words(model, tokenizer)
    (requests,) = masked.requests(["big cat runs"])
    masked.ask(requests.values(), lambda part: None)
    for place, request in enumerate(requests.values()):
        expected = plain_candidates(model, tokenizer, "big cat runs", place, 3)
        assert set(masked.words(request)) == expected


def test_progress_adds_up_to_all_rows(augmenter):
    done = []
    frame = singles(*random_sentences(12))
    list(augmenter().augment(frame, np.arange(12) < 5, done.append))
    assert sum(done) == pytest.approx(12)
    assert len(done) > 2
    done.clear()
    list(augmenter().augment(singles("the a", "not"), np.ones(2, dtype=bool), done.append))
    assert sum(done) == 2


def test_a_checkpoint_without_a_head_is_refused(tmp_path, model, tokenizer):
    options = {"num_candidates": 3, "batch_tokens": 64, "dtype": None}
    with pytest.raises(InputError, match="dvc repro fetch_teacher"):
        load_masked_words(tmp_path / "nowhere", **options)
    BertModel(model.config).save_pretrained(tmp_path / "bare")
    tokenizer.save_pretrained(tmp_path / "bare")
    with pytest.raises(InputError, match="must have a masked-language-model head"):
        load_masked_words(tmp_path / "bare", **options)


def test_a_tokenizer_that_is_not_wordpiece_is_refused(model):
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"a": 0, "[MASK]": 1}, [])), mask_token="[MASK]"
    )
    with pytest.raises(InputError, match="needs a WordPiece tokenizer"):
        masked_words(model, plain)
