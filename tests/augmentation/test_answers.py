import io

import numpy as np
import pytest
import torch

from tests.fixtures.small_masked_lm import (
    WORDS,
    masked_words,
    plain_candidates,
    random_sentences,
    watch,
)
from tinybert.augmentation.answers import Answers


def answered(masked, sentences, folder=None, progress=lambda part: None):
    """Return the answers to all requests, and the candidates of each."""
    answers = Answers(masked)
    found = masked.requests(sentences)
    for sentence, requests in zip(sentences, found, strict=True):
        answers.add(sentence, requests.values())
    answers.ask(folder, progress)
    return answers, [answers.words(r) for requests in found for r in requests.values()]


def test_a_shared_request_is_asked_once_and_leaves_out_each_own_word(model, tokenizer):
    sentences = [f"{word} old" for word in WORDS if word != "old"]
    answers, words = answered(masked_words(model, tokenizer), sentences)
    # "[MASK] old", and "word [MASK]" of each sentence.
    assert answers.num_asked == 1 + len(sentences)
    for sentence, first in zip(sentences, words[::2], strict=True):
        assert set(first) == plain_candidates(model, tokenizer, sentence, 0, 3)


def test_batches_are_of_one_length_and_full_across_all_sentences(model, tokenizer):
    seen = watch(model)
    sentences = random_sentences(200)
    answers, _ = answered(masked_words(model, tokenizer, batch_tokens=64), sentences)
    shapes = [tuple(batch.shape) for batch in seen if batch.dtype is torch.int64]
    lengths = [length for _, length in shapes]
    assert lengths == sorted(lengths)
    # Only the last batch of a length may have less than 64 pieces' worth of rows.
    short = sum(rows < 64 // length for rows, length in shapes)
    assert short <= len(set(lengths)) < len(shapes) / 2
    assert sum(rows for rows, _ in shapes) == answers.num_asked


@pytest.mark.parametrize("tokens", [100, 700])
def test_shards_and_batches_change_nothing(model, tokenizer, monkeypatch, tmp_path, tokens):
    sentences = random_sentences(60)
    _, expected = answered(masked_words(model, tokenizer), sentences)
    monkeypatch.setattr("tinybert.augmentation.answers.SHARD_TOKENS", tokens)
    for batch_tokens in (20, 4096):
        masked = masked_words(model, tokenizer, batch_tokens=batch_tokens)
        _, words = answered(masked, sentences, tmp_path / str(batch_tokens))
        assert words == expected
        assert len(list((tmp_path / str(batch_tokens)).iterdir())) > 3


def test_after_a_kill_only_unfinished_shards_are_asked(model, tokenizer, monkeypatch, tmp_path):
    monkeypatch.setattr("tinybert.augmentation.answers.SHARD_TOKENS", 500)
    sentences, folder = random_sentences(80), tmp_path / "shards"
    masked = masked_words(model, tokenizer)
    answers, expected = answered(masked, sentences, folder)
    files = sorted(folder.iterdir())
    assert len(files) > 4
    before = {file.name: file.read_bytes() for file in files}
    # Gone; cut off by a power failure; half written by a process that was killed.
    files[1].unlink()
    files[2].write_bytes(before[files[2].name][:100])
    files[3].write_bytes(b"")
    (folder / f"{files[1].name}.999999999.partial").write_bytes(before[files[1].name][:100])
    lost = sum(len(np.load(io.BytesIO(before[file.name]))) for file in files[1:4])
    seen, done = watch(model), []
    again, words = answered(masked, sentences, folder, done.append)
    assert words == expected
    assert sum(len(batch) for batch in seen) == lost < answers.num_asked / 2
    assert again.num_asked == answers.num_asked
    assert sum(done) == pytest.approx(1)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
