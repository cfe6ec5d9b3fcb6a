"""Encoded text as flat arrays, and the batches made of it.

This is the one place that decides how rows become batches: which rows go together (`epoch_batches`)
and how they are padded (`collate`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

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
        token_targets: Further values per token, shape (tokens, ...), for instance `teacher_states`.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    first_lengths: NDArray[np.int32]
    targets: dict[str, NDArray[Any]]
    token_targets: dict[str, Tensor] = field(default_factory=dict)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, shape (rows,)."""
        return np.diff(self.ends, prepend=0)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Row:
        start = self.ends[index - 1] if index else 0
        row: Row = {name: values[index] for name, values in self.targets.items()}
        row |= {name: of[start : self.ends[index]] for name, of in self.token_targets.items()}
        row["ids"] = self.ids[start : self.ends[index]]
        row["first_length"] = self.first_lengths[index]
        return row

    def with_targets(self, **targets: NDArray[Any]) -> "EncodedRows":
        """Return the same rows with further targets."""
        return replace(self, targets={**self.targets, **targets})

    def part(self, start: int, stop: int) -> "EncodedRows":
        """Return the rows from `start` on, before `stop`, without values per token."""
        stop = min(stop, len(self))
        begin = int(self.ends[start - 1]) if start else 0
        end = int(self.ends[stop - 1]) if stop else 0
        return EncodedRows(
            self.ids[begin:end],
            self.ends[start:stop] - begin,
            self.first_lengths[start:stop],
            {name: values[start:stop] for name, values in self.targets.items()},
        )

    def with_token_targets(self, **targets: Tensor) -> "EncodedRows":
        """Return the same rows with further values per token."""
        return replace(self, token_targets={**self.token_targets, **targets})


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


def collate(rows: Sequence[Row], pad_token_id: int, per_batch: Tensor | None = None) -> Batch:
    """Pad rows to the longest of them.

    Args:
        rows: Rows, with targets: arrays are per row, tensors have a value per token.
        pad_token_id: The token that fills rows up.
        per_batch: Of `EpochBatches`; put into the batch.

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
        values = [row[name] for row in rows]
        batch[name] = (
            _padded(values, len(places))
            if isinstance(values[0], Tensor)
            else torch.from_numpy(np.stack(values))
        )
    if per_batch is not None:
        batch["per_batch"] = per_batch
    return batch


def _padded(values: list[Tensor], num_tokens: int) -> Tensor:
    padded = values[0].new_zeros(len(values), num_tokens, *values[0].shape[1:])
    for row, value in zip(padded, values, strict=True):
        row[: len(value)] = value
    return padded


class EpochBatches(Sampler[list[int]]):
    """Which rows make a batch: every row once an epoch, by the seed and the epoch alone.

    So resuming knows the batches. Their number is the same in every epoch.

    Attributes:
        per_batch: Mean rows, tokens and pairs of tokens of a batch, where batches differ in them.
    """

    per_batch: Tensor | None = None

    def __init__(self, seed: int) -> None:
        self.seed, self.epoch = seed, 0

    def __len__(self) -> int:
        """Return the number of batches."""
        raise NotImplementedError

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch's batches; called by the training loop, on resuming as well."""
        self.epoch = epoch


class RowBatches(EpochBatches):
    """Shuffled batches of `batch_size` rows, the last one of those left: the paper's."""

    def __init__(self, num_rows: int, batch_size: int, seed: int) -> None:
        super().__init__(seed)
        self.num_rows, self.batch_size = num_rows, batch_size

    def __len__(self) -> int:
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.num_rows)
        for start in range(0, self.num_rows, self.batch_size):
            yield order[start : start + self.batch_size].tolist()


class TokenBatches(EpochBatches):
    """Shuffled batches of like lengths and of about equal numbers of tokens: hardly any padding.

    A batch has as many rows as fit the tokens of `batch_size` rows of mean length. Rows are sorted
    by length, to BUCKET tokens, in random order within a bucket, and cut into batches, whose order
    is random too. Which lengths go together is the same in every epoch, which rows is not.
    """

    BUCKET = 4  # tokens

    def __init__(self, lengths: NDArray[np.int64], batch_size: int, seed: int) -> None:
        super().__init__(seed)
        self.rounded = -(-lengths // self.BUCKET) * self.BUCKET
        budget = batch_size * self.rounded.mean()
        descending = np.sort(self.rounded)[::-1]
        starts = [0]
        while starts[-1] < len(descending):
            size = max(1, int(budget // descending[starts[-1]]))
            starts.append(min(starts[-1] + size, len(descending)))
        self.borders = np.array(starts)
        sums = [len(lengths), int(lengths.sum()), int(np.square(lengths).sum())]
        self.per_batch = torch.tensor(sums, dtype=torch.float64) / len(self)

    def __len__(self) -> int:
        return len(self.borders) - 1

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.rounded))
        order = order[np.argsort(-self.rounded[order], kind="stable")]
        for number in rng.permutation(len(self)):
            yield order[self.borders[number] : self.borders[number + 1]].tolist()


BatchKind = Literal["tokens", "rows"]


def epoch_batches(rows: Rows, batch_size: int, kind: BatchKind, seed: int) -> EpochBatches:
    """Choose how training rows become batches; blocks are all of one length."""
    if kind == "rows" or isinstance(rows, Blocks):
        return RowBatches(len(rows), batch_size, seed)
    return TokenBatches(rows.lengths, batch_size, seed)


class PartBatches(Sampler[list[int]]):
    """One process's part of each batch: together the processes have the same rows.

    A process that a small batch has no row for gets the batch's first row, as ~row, which
    `Parts` marks as not counting.

    Args:
        whole: The batches of all processes together.
        part: This process's number.
        num_parts: The number of processes.
    """

    def __init__(self, whole: EpochBatches, part: int = 0, num_parts: int = 1) -> None:
        self.whole, self.part, self.num_parts = whole, part, num_parts

    def __len__(self) -> int:
        return len(self.whole)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.whole:
            # Every n-th row: halves of a sorted batch would differ in work.
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
