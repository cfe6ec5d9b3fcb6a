"""The head in closed form is ridge regression, and starts far ahead of a random one."""

import numpy as np
import pytest
import torch
from transformers import BertForMaskedLM, DistilBertForMaskedLM

from tests.fixtures.models import tiny_config, tiny_distilbert, tiny_tokenizer
from tinybert.closed_form import masked_head
from tinybert.closed_form.masked_head import (
    RIDGE,
    count_words,
    has_closed_form,
    keep_layers,
    solve_head,
    start_in_closed_form,
)
from tinybert.closed_form.moments import Moments
from tinybert.distillation.masked_lm import MaskedWords, masked_accuracy
from tinybert.runtime.errors import InputError
from tinybert.text.encoded import Blocks


def test_the_head_is_the_ridge_regression_of_centred_words_on_centred_states():
    generator = np.random.default_rng(0)
    states, words = generator.normal(1, 2, (200, 3)), generator.normal(-1, 1, (200, 2))
    moments = Moments(3, 2, torch.device("cpu"))
    moments.add(torch.from_numpy(states), torch.from_numpy(words))
    weight, bias, mean = solve_head(moments)
    x, t = states - states.mean(0), words - words.mean(0)
    penalty = RIDGE * (x**2).sum(0).mean() * np.eye(3)
    expected = np.linalg.solve(x.T @ x + penalty, x.T @ t).T
    scale = np.sqrt(np.mean((x @ expected.T) ** 2))
    np.testing.assert_allclose(weight, expected / scale, rtol=1e-8)
    np.testing.assert_allclose(bias, -weight @ states.mean(0), rtol=1e-8)
    np.testing.assert_allclose(mean, words.mean(0), rtol=1e-8)


def test_words_are_counted_over_all_parts(monkeypatch):
    monkeypatch.setattr(masked_head, "BLOCKS_AT_ONCE", 2)
    blocks = np.array([[5, 5], [7, 0], [5, 8]], dtype=np.uint16)
    assert count_words(blocks, 10).tolist() == [1, 0, 0, 0, 0, 3, 0, 1, 1, 0]


@pytest.fixture
def rows(tmp_path):
    """Blocks over words 5 to 14: each word is followed by itself, so that it can be found."""
    words = np.random.default_rng(0).integers(5, 15, (200, 7))
    ids = np.full((200, 16), 3, dtype=np.uint16)
    ids[:, 0], ids[:, 1:15] = 2, np.repeat(words, 2, axis=1)
    np.save(tmp_path / "blocks.npy", ids)
    np.save(tmp_path / "first_lengths.npy", np.full(200, 16, dtype=np.int32))
    return Blocks(tmp_path)


def started(rows, folder, blocks=200):
    torch.manual_seed(0)
    masked = MaskedWords(BertForMaskedLM(tiny_config()), tiny_tokenizer(folder), False)
    start_in_closed_form(masked, rows, blocks, 0, seed=1)
    return masked


def test_the_start_expects_the_words_of_the_text_and_leaves_word_embeddings(rows, tmp_path):
    masked = started(rows, tmp_path)
    assert masked.words.tolist() == list(range(5, 15))
    assert not masked.model.get_input_embeddings().weight.requires_grad
    # Guessing one of the ten words finds a tenth; 0.05 is three deviations of 420 draws.
    assert masked_accuracy(masked, rows, 0, None, seed=2) > 0.15


def test_the_same_seed_gives_the_same_head_whatever_was_drawn_before(rows, tmp_path):
    first = started(rows, tmp_path).model.state_dict()
    torch.rand(3)
    second = started(rows, tmp_path).model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_first_layers_stay_and_no_more_than_there_are(tmp_path):
    model = BertForMaskedLM(tiny_config())
    keep_layers(model, 1)
    model.save_pretrained(tmp_path)
    assert len(BertForMaskedLM.from_pretrained(tmp_path).bert.encoder.layer) == 1
    with pytest.raises(InputError, match="must be at most the 1 layers"):
        keep_layers(model, 2)


def test_another_head_than_berts_has_no_closed_form():
    assert not has_closed_form(DistilBertForMaskedLM(tiny_distilbert()))
    assert has_closed_form(BertForMaskedLM(tiny_config()))
