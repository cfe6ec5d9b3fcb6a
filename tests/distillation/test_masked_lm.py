"""Masked-word training hides the right tokens and asks only for them."""

import copy

import pytest
import torch
from transformers import BertForMaskedLM, DistilBertForMaskedLM

from tests.fixtures.models import tiny_batch, tiny_config, tiny_distilbert, tiny_tokenizer
from tinybert.distillation.masked_lm import (
    MaskedWords,
    Sample,
    mask_words,
    masked_logits,
    masked_samples,
)
from tinybert.text.encoded import encode

SPECIAL = torch.tensor([0, 1, 2, 3, 4])


def wide_batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 40, (64, 32))
    ids[:, 0], ids[:, 20], ids[:, 21:] = 2, 3, 0
    return {"input_ids": ids, "attention_mask": ids != 0}


def test_special_and_padded_tokens_are_never_hidden():
    batch = wide_batch()
    hidden, chosen = mask_words(batch, 4, SPECIAL)
    assert not chosen[:, [0, 20]].any()
    assert not chosen[:, 21:].any()
    assert torch.equal(hidden["input_ids"][~chosen], batch["input_ids"][~chosen])


def test_fifteen_per_cent_are_chosen_and_four_fifths_of_them_masked():
    torch.manual_seed(0)
    hidden, chosen = mask_words(wide_batch(), 4, SPECIAL)
    share = chosen.sum().item() / (64 * 19)
    assert share == pytest.approx(0.15, abs=0.03)  # 3 standard deviations of 1,216 draws
    masked = (hidden["input_ids"][chosen] == 4).float().mean().item()
    assert masked == pytest.approx(0.8, abs=0.1)


def test_a_batch_too_short_to_draw_from_still_has_a_loss(tmp_path):
    torch.manual_seed(0)
    model = MaskedWords(BertForMaskedLM(tiny_config()), tiny_tokenizer(tmp_path), False)
    batch = {"input_ids": torch.tensor([[2, 6, 3]]), "attention_mask": torch.ones(1, 3).bool()}
    for _ in range(20):
        assert torch.isfinite(model(**batch)["loss"])


def test_logits_at_places_equal_the_whole_models():
    batch = tiny_batch()
    places = torch.zeros_like(batch["attention_mask"])
    places[0, 2] = places[1, 1] = True
    bert = BertForMaskedLM(tiny_config()).eval()
    distilbert = DistilBertForMaskedLM(tiny_distilbert()).eval()
    for model in (bert, distilbert):
        whole = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        found = masked_logits(model, batch, places)
        torch.testing.assert_close(found, whole[places], rtol=1e-4, atol=1e-5)


def test_a_frozen_encoder_keeps_its_weights_and_has_no_dropout(tmp_path):
    torch.manual_seed(0)
    masked = MaskedWords(BertForMaskedLM(tiny_config()), tiny_tokenizer(tmp_path), True)
    before = copy.deepcopy(masked.model.bert.state_dict())
    weights = [weight for weight in masked.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=1.0)
    masked.train()
    masked(**wide_batch())["loss"].backward()
    optimizer.step()
    assert not masked.model.bert.training
    after = masked.model.bert.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert any(weight.grad is not None for weight in masked.model.cls.parameters())


def test_samples_show_the_middle_word_and_what_the_model_finds_there(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    model = BertForMaskedLM(tiny_config())
    with torch.no_grad():  # whatever it is shown, the bias alone decides
        model.cls.predictions.transform.LayerNorm.weight.zero_()
        model.cls.predictions.bias[tokenizer.convert_tokens_to_ids("bird")] = 9.0
        model.cls.predictions.bias[tokenizer.convert_tokens_to_ids("roof")] = 8.0
    texts = ["the cat liked the dog", "they found a house", "a , ."]
    rows = encode(tokenizer, texts, None, 16)
    masked = MaskedWords(model, tokenizer, False).train()
    samples = masked_samples(masked, rows, tokenizer, None, num_words=2)
    assert samples == [
        Sample("the cat [MASK] the dog", "liked", ["bird", "roof"]),
        Sample("they [MASK] a house", "found", ["bird", "roof"]),
    ]
    assert str(samples[1]) == "they [MASK] a house (found): bird, roof"
    assert masked.training
    assert masked_samples(masked, rows.part(0, 0), tokenizer, None) == []
