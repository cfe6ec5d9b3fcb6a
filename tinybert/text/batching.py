"""How rows become batches.

This is the one place that decides it: which rows go together (`epoch_batches`)
and how they are padded (`collate`).

On a GPU rows are padded to multiples of 8 tokens: an epoch then has as many shapes as multiples,
so that kernels are chosen, compiled or captured once for each, and attention pads no mask.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from tinybert.runtime.precision import computing_device
from tinybert.settings.choices import BatchKind
from tinybert.text.encoded import SCORED, Blocks, Row, Rows

Batch = dict[str, Tensor]
LENGTH_MULTIPLE = {"cpu": 1, "cuda": 8}  # that rows are padded to in training
TEACHERS = "teacher_"  # how names begin of what a teacher with another tokenizer reads


def length_multiple() -> int:
    """Return what training's rows are padded to a multiple of, on the device it computes on."""
    return LENGTH_MULTIPLE[computing_device().type]


def collate(
    rows: Sequence[Row],
    pad_token_id: int,
    per_batch: Tensor | None = None,
    multiple: int = 1,
    longest: int | None = None,
) -> Batch:
    """Pad rows to the longest of them, or to the next multiple.

    Args:
        rows: Rows, with targets: arrays are per row, tensors have a value per token.
        pad_token_id: The token that fills rows up.
        per_batch: Of `EpochBatches`; put into the batch.
        multiple: Of tokens.
        longest: Of all rows, which no batch is padded beyond: a model has only so many positions.

    Returns:
        input_ids and token_type_ids (int64), attention_mask (boolean, True for a real token), each
        of shape (batch, tokens), and the rows' targets. What stands beside the rows becomes a batch
        too, padded by its own token, of whose names each begins with `teacher_`.
    """
    lengths = torch.tensor([len(row["ids"]) for row in rows])
    firsts = torch.tensor([int(row["first_length"]) for row in rows])
    num_tokens = _rounded_up(int(lengths.max()), multiple)
    places = torch.arange(num_tokens if longest is None else min(num_tokens, longest))
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
    for name in rows[0].keys() - {"ids", "first_length", "beside", "pad_token_id"}:
        values = [row[name] for row in rows]
        batch[name] = (
            _padded(values, len(places))
            if isinstance(values[0], Tensor)
            else torch.from_numpy(np.stack(values))
        )
    if "beside" in rows[0]:
        beside = [row["beside"] for row in rows]
        theirs = collate(beside, beside[0]["pad_token_id"])
        batch |= {f"{TEACHERS}{name}": value for name, value in theirs.items()}
    if per_batch is not None:
        batch["per_batch"] = per_batch
    return batch


def _rounded_up(length: Any, multiple: int) -> Any:
    return -(-length // multiple) * multiple


def _padded(values: list[Tensor], num_tokens: int) -> Tensor:
    padded = values[0].new_zeros(len(values), num_tokens, *values[0].shape[1:])
    for row, value in zip(padded, values, strict=True):
        row[: len(value)] = value
    return padded


def teachers_batch(batch: Batch) -> Batch:
    """Return what the teacher reads of a batch: its own tokens where they are others."""
    if f"{TEACHERS}input_ids" not in batch:
        return batch
    return {
        name.removeprefix(TEACHERS): of for name, of in batch.items() if name.startswith(TEACHERS)
    }


class EpochBatches(Sampler[list[int]]):
    """Which rows make a batch: every row once an epoch, by the seed and the epoch alone.

    So resuming knows the batches. Their number is the same in every epoch.

    Attributes:
        per_batch: Mean rows, tokens, pairs of tokens and, if some are, scored tokens of a batch,
            where batches differ in them; units in place of tokens where layers are matched there.
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

    BUCKET = 4  # tokens; more where rows are padded to a larger multiple

    def __init__(
        self,
        lengths: NDArray[np.int64],
        batch_size: int,
        seed: int,
        num_scored: int = 0,
        matched: NDArray[np.int64] | None = None,
        multiple: int = 1,
    ) -> None:
        super().__init__(seed)
        self.rounded = _rounded_up(lengths, max(self.BUCKET, multiple))
        budget = batch_size * self.rounded.mean()
        self.borders = _borders(np.sort(self.rounded)[::-1], budget)
        counted = lengths if matched is None else matched
        sums = [len(lengths), int(counted.sum()), int(np.square(counted).sum())]
        sums += [num_scored] if num_scored else []
        self.per_batch = torch.tensor(sums, dtype=torch.float64) / len(self)

    def __len__(self) -> int:
        return len(self.borders) - 1

    def __iter__(self) -> Iterator[list[int]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = rng.permutation(len(self.rounded))
        order = order[np.argsort(-self.rounded[order], kind="stable")]
        for number in rng.permutation(len(self)):
            yield order[self.borders[number] : self.borders[number + 1]].tolist()


def epoch_batches(rows: Rows, batch_size: int, kind: BatchKind, seed: int) -> EpochBatches:
    """Choose how training rows become batches; blocks are all of one length."""
    if kind == "rows" or isinstance(rows, Blocks):
        return RowBatches(len(rows), batch_size, seed)
    scored = rows.token_targets.get(SCORED)
    num_scored = 0 if scored is None else int(scored.sum())
    return TokenBatches(
        rows.lengths, batch_size, seed, num_scored, rows.matched_lengths, length_multiple()
    )


def collator(
    rows: Rows, batches: EpochBatches, pad_token_id: int
) -> Callable[[Sequence[Row]], Batch]:
    """Return what makes a training's batches of their rows, on the device it computes on."""
    return partial(
        collate,
        pad_token_id=pad_token_id,
        per_batch=batches.per_batch,
        multiple=length_multiple(),
        longest=int(rows.lengths.max()),
    )


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
    borders = _borders(rows.lengths[order], batch_tokens)
    return [order[start:stop] for start, stop in pairwise(borders)]


def _borders(descending: NDArray[np.int64], budget: float) -> list[int]:
    """Cut rows, longest first, so that each part has at most `budget` padded tokens, or one row."""
    borders = [0]
    while borders[-1] < len(descending):
        size = max(1, int(budget // max(1, descending[borders[-1]])))
        borders.append(min(borders[-1] + size, len(descending)))
    return borders
