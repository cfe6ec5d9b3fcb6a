import copy

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import BertModel, DistilBertForMaskedLM, PreTrainedTokenizerFast

from tests.fixtures.models import tiny_distilbert
from tests.fixtures.small_masked_lm import (
    KEPT,
    MAX_POSITIONS,
    VOCABULARY,
    WORDS,
    masked_words,
    plain_candidates,
    random_sentences,
    watch,
)
from tinybert.augmentation.masked_words import load_masked_words
from tinybert.runtime.errors import InputError


def asked(masked, *sentences):
    """Return for each sentence the candidates of each span."""
    requests = masked.requests(sentences)
    each = [request for found in requests for request in found.values()]
    each.sort(key=lambda request: request.length)
    best = {r.masked: ids for r, ids in zip(each, masked.best(each), strict=True)}
    return [
        {span: masked.words(best[r.masked], r.own) for span, r in found.items()}
        for found in requests
    ]


def test_candidates_are_the_most_probable_whole_words_of_a_plain_computation(model, tokenizer):
    sentence = "the big cat sees a dog"
    (candidates,) = asked(masked_words(model, tokenizer, num_candidates=4), sentence)
    found = {sentence[slice(*span)]: words for span, words in candidates.items()}
    pieces = sentence.split()
    assert set(found) == {"big", "cat", "sees", "dog"}
    for word, candidates in found.items():
        place = pieces.index(word)
        assert set(candidates) == plain_candidates(model, tokenizer, sentence, place, 4)
        assert len(candidates) == 4
        # In the order of the vocabulary: that of the scores may change with the batch.
        assert list(candidates) == sorted(candidates, key=VOCABULARY.index)


def test_the_own_word_special_pieces_and_punctuation_are_no_candidates(model, tokenizer):
    found = asked(masked_words(model, tokenizer, num_candidates=1000), "red dog")
    red, dog = found[0].values()
    assert set(red) == set(KEPT + WORDS) - {"red"}
    assert set(dog) == set(KEPT + WORDS) - {"dog"}


def test_a_word_with_combining_accents_is_the_piece_without_them(model, tokenizer):
    (found,) = masked_words(model, tokenizer).requests(["re\u0301d do\u0301\u0300g\u0302 cat"])
    assert list(found) == [(0, 4), (5, 11), (12, 15)]


def test_of_a_sentence_too_long_for_the_model_the_word_keeps_its_surroundings(model, tokenizer):
    seen = watch(model)
    words = [WORDS[i % len(WORDS)] for i in range(60)]
    sentence = " ".join(words)
    assert len(asked(masked_words(model, tokenizer), sentence)[0]) == 60
    shown = {tokenizer.decode(row) for batch in seen for row in batch}
    length = MAX_POSITIONS - 2
    # Word 30 stands in the middle of its window: 11 of 22 pieces before it.
    window = [*words[19:30], "[MASK]", *words[31 : 19 + length]]
    assert " ".join(["[CLS]", *window, "[SEP]"]) in shown
    assert " ".join(["[CLS]", "[MASK]", *words[1:length], "[SEP]"]) in shown
    assert " ".join(["[CLS]", *words[60 - length : 59], "[MASK]", "[SEP]"]) in shown


def test_rounding_that_differs_with_the_batch_does_not_show(model, tokenizer):
    # Every second word scores 1.000001 times the one before, and float32 scores get noise of a
    # millionth of the largest, as a batch of another size gives them.
    decoder = model.cls.predictions.decoder.weight
    with torch.no_grad():
        first = VOCABULARY.index(KEPT[0])
        decoder[first + 1 :: 2] = decoder[first:-1:2] * (1 + 1e-6)
        model.cls.predictions.decoder.bias.zero_()

    def candidates(seed, sentences):
        generator = torch.Generator().manual_seed(seed)

        def noise(head, inputs, scores):
            if scores.dtype is torch.float64:
                return scores
            change = 1e-6 * torch.randn(scores.shape, generator=generator)
            return scores + change * scores.abs().max()

        masked = masked_words(copy.deepcopy(model), tokenizer, num_candidates=4)
        masked.scores.head.register_forward_hook(noise)
        return asked(masked, *sentences)

    sentences = random_sentences(20)
    expected = candidates(0, sentences)
    assert [candidates(seed, sentences) for seed in (1, 2, 3)] == [expected] * 3


def test_near_ties_are_asked_again_in_batches_of_float64(model, tokenizer, monkeypatch):
    sentences = random_sentences(20)
    expected = asked(masked_words(model, tokenizer, batch_tokens=4096), *sentences)
    monkeypatch.setattr("tinybert.augmentation.masked_words.NEAR_TIE", np.inf)
    seen, dtypes = watch(model), []
    model.bert.register_forward_hook(lambda _, args, out: dtypes.append(out[0].dtype))
    masked = masked_words(model, tokenizer, batch_tokens=4096)
    assert asked(masked, *sentences) == expected
    half = len(seen) // 2
    assert dtypes == [torch.float32] * half + [torch.float64] * half
    assert [len(batch) for batch in seen[half:]] == [len(batch) for batch in seen[:half]]
    seen.clear()
    asked(masked_words(model, tokenizer, dtype=torch.bfloat16), *sentences)
    assert torch.float64 not in dtypes[2 * half :]  # its encoder differs by more than NEAR_TIE


def test_of_equal_scores_the_lower_vocabulary_number_wins(model, tokenizer):
    # With a head that gives every piece the same score, the first whole words are the best.
    with torch.no_grad():
        model.cls.predictions.decoder.weight.zero_()
        model.cls.predictions.decoder.bias.zero_()
    found = asked(masked_words(model, tokenizer), "cat runs", "dog sleeps quiet")
    assert {words for each in found for words in each.values()} == {tuple(KEPT[:3])}


def test_a_model_without_a_separable_head_gives_the_candidates_of_a_plain_computation(tokenizer):
    torch.manual_seed(0)
    model = DistilBertForMaskedLM(tiny_distilbert(len(VOCABULARY), initializer_range=0.5)).eval()
    (found,) = asked(masked_words(model, tokenizer), "big cat runs")
    assert len(found) == 3
    for place, words in enumerate(found.values()):
        assert set(words) == plain_candidates(model, tokenizer, "big cat runs", place, 3)


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
