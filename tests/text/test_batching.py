"""Rows become batches without losing, mixing or inventing a token."""

import numpy as np
import pytest
import torch

from tests.fixtures.models import tiny_tokenizer
from tinybert.text.batching import RowBatches, TokenBatches, collate, epoch_batches, sorted_batches
from tinybert.text.encoded import Blocks, EncodedRows, encode

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


def lengths_of(num_rows, longest=120):
    return np.random.default_rng(0).integers(5, longest, num_rows)


def batches_of(kind, num_rows, batch_size, seed=1):
    if kind == "rows":
        return RowBatches(num_rows, batch_size, seed)
    return TokenBatches(lengths_of(num_rows), batch_size, seed)


@pytest.mark.parametrize("kind", ["rows", "tokens"])
@pytest.mark.parametrize(("num_rows", "batch_size"), [(1, 4), (103, 8), (1000, 16)])
def test_an_epoch_has_every_row_once_in_as_many_batches_as_said(kind, num_rows, batch_size):
    batches = batches_of(kind, num_rows, batch_size)
    for epoch in range(3):
        batches.set_epoch(epoch)
        made = list(batches)
        assert sorted(row for batch in made for row in batch) == list(range(num_rows))
        assert len(made) == len(batches)
        assert all(made)


@pytest.mark.parametrize("kind", ["rows", "tokens"])
def test_batches_are_the_same_for_seed_and_epoch_and_others_for_another(kind):
    batches = batches_of(kind, 500, 8)
    first = list(batches)
    assert list(batches) == first
    assert list(batches_of(kind, 500, 8, seed=2)) != first
    batches.set_epoch(1)
    again = list(batches)
    assert again != first
    # Not only the order of the batches: other rows are together.
    assert {frozenset(batch) for batch in again}.isdisjoint({frozenset(batch) for batch in first})


def test_batches_by_rows_have_the_papers_number_of_rows():
    assert [len(batch) for batch in RowBatches(70, 32, seed=0)] == [32, 32, 6]


def test_batches_by_tokens_keep_to_the_budget_of_rows_of_mean_length_and_hardly_pad():
    lengths = lengths_of(6400)
    made = list(TokenBatches(lengths, 32, seed=1))
    padded = [len(batch) * int(lengths[batch].max()) for batch in made]
    # Lengths are rounded up to 4, so the mean is at most 3 above the real one.
    assert max(padded) <= 32 * (lengths.mean() + 3)
    assert sum(padded) < 1.06 * lengths.sum()
    # As many batches as of 32 rows, but for what does not fill the last row of a batch.
    assert 200 <= len(made) < 1.1 * 200


def test_short_and_long_batches_come_in_no_order():
    lengths = lengths_of(6400)
    means = [lengths[batch].mean() for batch in TokenBatches(lengths, 32, seed=1)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


def test_a_row_longer_than_the_budget_has_a_batch_of_its_own():
    lengths = np.array([4] * 15 + [100])
    assert [15] in list(TokenBatches(lengths, 2, seed=0))


def test_the_mean_rows_tokens_and_pairs_of_a_batch_are_known():
    lengths = np.array([4, 4, 8, 8])
    batches = TokenBatches(lengths, 2, seed=0)  # 12 tokens: [8], [8], [4, 4] -> 8 fits one row
    assert len(batches) == 3
    # 4 rows, 24 tokens, 16 + 16 + 64 + 64 = 160 pairs, in 3 batches
    assert batches.per_batch.tolist() == pytest.approx([4 / 3, 8.0, 160 / 3])


def test_blocks_of_one_length_make_batches_of_as_many_rows(tmp_path):
    np.save(tmp_path / "blocks.npy", np.zeros((10, 8), dtype=np.uint16))
    np.save(tmp_path / "first_lengths.npy", np.full(10, 8, dtype=np.int32))
    batches = epoch_batches(Blocks(tmp_path), 4, "tokens", seed=0)
    assert [len(batch) for batch in batches] == [4, 4, 2]


def test_values_per_token_are_padded_with_their_rows():
    ids = np.arange(5, dtype=np.int32)
    rows = EncodedRows(ids, np.array([2, 5]), np.array([2, 3], dtype=np.int32), {})
    states = torch.arange(10.0).reshape(5, 2)
    parts = [states[:2], states[2:]]
    batch = collate([{**rows[i], "teacher_states": parts[i]} for i in (0, 1)], 0)
    assert batch["teacher_states"].shape == (2, 3, 2)
    assert torch.equal(batch["teacher_states"][batch["attention_mask"]], states)
    assert batch["teacher_states"][0, 2].tolist() == [0, 0]


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


def test_rows_may_be_padded_to_multiples_but_not_beyond_the_longest_of_all():
    ids = np.arange(25, dtype=np.int32)
    rows = EncodedRows(ids, np.array([5, 25]), np.array([5, 20], dtype=np.int32), {})
    short, long = (collate([rows[i]], 0, multiple=8, longest=20) for i in (0, 1))
    assert short["input_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 0, 0]]
    assert short["attention_mask"].sum() == 5
    assert long["input_ids"].shape == (1, 20)


def test_on_a_gpu_an_epoch_has_as_many_shapes_as_multiples_of_8(monkeypatch):
    lengths = lengths_of(2000)  # up to 119: 15 multiples, and a last batch of the rows left
    flat = np.zeros(lengths.sum(), dtype=np.int32)
    rows = EncodedRows(flat, lengths.cumsum(), lengths.astype(np.int32), {})

    def shapes(multiple):
        batches = epoch_batches(rows, 32, "tokens", seed=0)
        made = [collate([rows[i] for i in batch], 0, multiple=multiple) for batch in batches]
        return {batch["input_ids"].shape for batch in made}

    assert len(shapes(1)) > 25
    monkeypatch.setattr("tinybert.text.batching.length_multiple", lambda: 8)
    assert len(shapes(8)) <= 16
