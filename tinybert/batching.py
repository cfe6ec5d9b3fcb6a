"""Encoded text as flat arrays, and the batches made of it.

This is the one place that decides how rows become batches: which rows go together (`sampler`) and
how they are padded (`collate`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

Row = dict[str, Any]
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class EncodedRows(Dataset[Row]):
    """Rows of token ids in one flat array: 4 bytes a token, where Python lists take 36.

    Attributes:
        ids: Token ids of all rows, one after the other, special tokens included; int32.
        ends: Where each row ends in `ids`; int64, shape (rows,).
        first_lengths: How many tokens belong to the first segment; int32, shape (rows,).
        targets: Further values per row by name, for instance `labels`, `teacher_logits`.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    first_lengths: NDArray[np.int32]
    targets: dict[str, NDArray[Any]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, shape (rows,)."""
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Row:
        start = self.ends[index - 1] if index else 0
        row: Row = {name: values[index] for name, values in self.targets.items()}
        row["ids"] = self.ids[start : self.ends[index]]
        row["first_length"] = self.first_lengths[index]
        return row

    def with_targets(self, **targets: NDArray[Any]) -> "EncodedRows":
        """Return the same rows with further targets."""
        return EncodedRows(self.ids, self.ends, self.first_lengths, {**self.targets, **targets})


def encode(
    tokenizer: Any,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
    **targets: NDArray[Any],
) -> EncodedRows:
    """Encode single sentences, or pairs, cut to `max_length` tokens (the longer one first)."""
    chunk = 10_000  # bounds the memory the tokenizer's own objects take
    ids, lengths, first_lengths = [], [], []
    for start in range(0, len(first), chunk):
        part = slice(start, start + chunk)
        encoded = tokenizer(
            list(first[part]),
            None if second is None else list(second[part]),
            truncation="longest_first" if second is not None else True,
            max_length=max_length,
        )
        for number, tokens in enumerate(encoded["input_ids"]):
            ids.append(np.asarray(tokens, dtype=np.int32))
            lengths.append(len(tokens))
            first_lengths.append(_first_length(encoded, number, len(tokens)))
    return EncodedRows(
        np.concatenate(ids) if ids else np.empty(0, np.int32),
        np.cumsum(lengths, dtype=np.int64),
        np.asarray(first_lengths, dtype=np.int32),
        targets,
    )


def _first_length(encoded: Any, number: int, length: int) -> int:
    if "token_type_ids" not in encoded:
        return length
    return length - int(sum(encoded["token_type_ids"][number]))


class Blocks(Dataset[Row]):
    """The corpus as fixed-length blocks, memory-mapped.

    Args:
        folder: A folder with `blocks.npy`, token ids of shape (blocks, tokens), and
            `first_lengths.npy`, the first segment's tokens per block, shape (blocks,).
        start: The first block to take.
        stop: The block to stop before; None for the last.
    """

    def __init__(self, folder: Path, start: int = 0, stop: int | None = None) -> None:
        blocks = np.load(folder / "blocks.npy", mmap_mode="r", allow_pickle=False)
        firsts = np.load(folder / "first_lengths.npy", mmap_mode="r", allow_pickle=False)
        self.blocks, self.first_lengths = blocks[start:stop], firsts[start:stop]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per block, shape (blocks,)."""
        return np.full(len(self.blocks), self.blocks.shape[1], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Row:
        return {"ids": self.blocks[index], "first_length": self.first_lengths[index]}


Rows = EncodedRows | Blocks


def collate(rows: Sequence[Row], pad_token_id: int) -> Batch:
    """Pad rows to the longest of them.

    Returns:
        input_ids and token_type_ids (int64), attention_mask (boolean, True for a real token), each
        of shape (batch, tokens), and the rows' targets.
    """
    lengths = torch.tensor([len(row["ids"]) for row in rows])
    firsts = torch.tensor([int(row["first_length"]) for row in rows])
    places = torch.arange(int(lengths.max()))
    mask = places < lengths[:, None]
    input_ids = torch.full(mask.shape, pad_token_id)
    input_ids[mask] = torch.from_numpy(
        np.concatenate([row["ids"] for row in rows]).astype(np.int64)
    )
    batch = {
        "input_ids": input_ids,
        "attention_mask": mask,
        "token_type_ids": ((places >= firsts[:, None]) & mask).long(),
    }
    for name in rows[0].keys() - {"ids", "first_length"}:
        batch[name] = torch.from_numpy(np.stack([row[name] for row in rows]))
    return batch


class EpochSampler(Sampler[int]):
    """Shuffle rows, by the seed and the epoch alone, so that resuming knows the order."""

    def __init__(self, num_rows: int, seed: int) -> None:
        self.num_rows, self.seed, self.epoch = num_rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's order; called by the training loop, on resuming as well."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_rows

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        yield from torch.randperm(self.num_rows, generator=generator).tolist()


class LengthGroupedSampler(EpochSampler):
    """Shuffle rows so that neighbours have like lengths: the batches need little padding.

    Rows are shuffled, cut into groups of 50 batches, sorted by length within a group, and the
    batches are shuffled again, so that no length comes first.
    """

    batches_per_group = 50

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        super().__init__(len(lengths), seed)
        self.lengths, self.batch_size = lengths, batch_size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.lengths))
        group = self.batch_size * self.batches_per_group
        batches: list[NDArray[np.int64]] = []
        for start in range(0, len(order), group):
            rows = order[start : start + group]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches.extend(np.split(rows, range(self.batch_size, len(rows), self.batch_size)))
        # A short batch anywhere but at the end would shift the following ones' borders.
        full = [batch for batch in batches if len(batch) == self.batch_size]
        short = [batch for batch in batches if len(batch) < self.batch_size]
        shuffled = [full[index] for index in rng.permutation(len(full))]
        yield from (int(row) for batch in [*shuffled, *short] for row in batch)


def sampler(rows: Rows, batch_size: int, seed: int) -> EpochSampler:
    """Choose the order of training rows."""
    if isinstance(rows, Blocks):
        return EpochSampler(len(rows), seed)
    return LengthGroupedSampler(rows.lengths, batch_size, seed)


class Batches(Sampler[list[int]]):
    """The batches of an epoch, or one process's part of each: together they have the same rows.

    A process that a short last batch has no row for gets the batch's first row, as ~row, which
    `Parts` marks as not counting.

    Args:
        order: The order of rows.
        batch_size: Rows of a batch, of all processes together.
        part: This process's number.
        num_parts: The number of processes.
    """

    def __init__(
        self, order: EpochSampler, batch_size: int, part: int = 0, num_parts: int = 1
    ) -> None:
        self.order, self.batch_size = order, batch_size
        self.part, self.num_parts = part, num_parts

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        rows = iter(self.order)
        while batch := list(islice(rows, self.batch_size)):
            # Every n-th row: a batch is sorted by length, and halves would differ in work.
            yield batch[self.part :: self.num_parts] or [~batch[0]]


class Parts(Dataset[Row]):
    """Rows for one of several processes: their `counts` says whether they count."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        counts = index >= 0
        return {**self.rows[index if counts else ~index], "counts": np.bool_(counts)}


def sorted_batches(rows: Rows, batch_tokens: int) -> list[NDArray[np.int64]]:
    """Cut rows into batches of at most `batch_tokens` padded tokens, longest first, for inference.

    Longest first, so that the first batch shows whether memory suffices.
    """
    order = np.argsort(-rows.lengths, kind="stable")
    batches, start = [], 0
    while start < len(order):
        size = max(1, int(batch_tokens // max(1, rows.lengths[order[start]])))
        batches.append(order[start : start + size])
        start += size
    return batches
