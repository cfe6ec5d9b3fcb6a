"""Rows become batches without losing, mixing or inventing a token."""

import numpy as np
import pytest
import torch

from tests.models import tiny_tokenizer
from tinybert.batching import (
    Blocks,
    LengthGroupedSampler,
    collate,
    encode,
    sorted_batches,
)

FIRST = ["the cat sat .", "a dog", "the big red bird flew over the house and then it sat"]
SECOND = ["it was good", "they saw the old river .", "he liked it"]


def test_encoded_rows_equal_the_tokenizers_own(tmp_path):
    tokenizer = tiny_tokenizer(tmp_path)
    rows = encode(tokenizer, FIRST, SECOND, 64)
    expected = tokenizer(FIRST, SECOND, padding=True, return_tensors="pt")
    batch = collate([rows[i] for i in range(3)], tokenizer.pad_token_id)
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["token_type_ids"], expected["token_type_ids"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"].bool())


def test_rows_are_cut_to_the_length_asked(tmp_path):
    rows = encode(tiny_tokenizer(tmp_path), FIRST, SECOND, 9)
    assert rows.lengths.max() == 9
    row = rows[2]
    assert row["ids"][-1] == 3  # still closed by [SEP]
    assert 0 < row["first_length"] < 9  # and both sentences still there


def test_targets_stay_with_their_rows(tmp_path):
    rows = encode(tiny_tokenizer(tmp_path), FIRST, None, 64).with_targets(
        labels=np.array([5, 6, 7])
    )
    batch = collate([rows[2], rows[0]], 0)
    assert batch["labels"].tolist() == [7, 5]


@pytest.mark.parametrize(("num_rows", "batch_size"), [(1, 4), (103, 8), (1000, 16)])
def test_the_sampler_yields_every_row_once_an_epoch(num_rows, batch_size):
    lengths = np.random.default_rng(0).integers(3, 60, num_rows)
    sampler = LengthGroupedSampler(lengths, batch_size, seed=1)
    assert sorted(sampler) == list(range(num_rows))
    assert len(sampler) == num_rows


def test_the_sampler_repeats_an_epoch_and_changes_between_epochs():
    sampler = LengthGroupedSampler(np.arange(500) % 37, 8, seed=1)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first


def test_grouping_by_length_saves_padding():
    lengths = np.random.default_rng(0).integers(5, 120, 3200)
    order = np.array(list(LengthGroupedSampler(lengths, 32, seed=1)))
    padded = lengths[order].reshape(-1, 32).max(axis=1).sum() * 32
    shuffled = np.random.default_rng(1).permutation(lengths).reshape(-1, 32)
    # Sorted groups of 50 batches waste a few per cent, random batches nearly half.
    assert padded < 1.08 * lengths.sum()
    assert shuffled.max(axis=1).sum() * 32 > 1.6 * lengths.sum()


def test_inference_batches_hold_every_row_and_keep_to_the_budget(tmp_path):
    rows = encode(tiny_tokenizer(tmp_path), FIRST * 7, None, 64)
    batches = sorted_batches(rows, batch_tokens=40)
    assert sorted(int(row) for batch in batches for row in batch) == list(range(21))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * rows.lengths[batch].max() <= 40


def test_blocks_are_read_from_disk_by_number(tmp_path):
    np.save(tmp_path / "blocks.npy", np.arange(40, dtype=np.uint16).reshape(5, 8))
    np.save(tmp_path / "first_lengths.npy", np.array([8, 4, 8, 5, 8], dtype=np.int32))
    blocks = Blocks(tmp_path, start=1, stop=4)
    assert isinstance(blocks.blocks, np.memmap)
    assert len(blocks) == 3
    batch = collate([blocks[0], blocks[2]], 0)
    assert batch["input_ids"].tolist() == [list(range(8, 16)), list(range(24, 32))]
    assert batch["token_type_ids"].sum(dim=1).tolist() == [4, 3]
