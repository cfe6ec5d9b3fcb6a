"""Encoded text as flat arrays: a task's rows in memory, the corpus's blocks on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from tinybert.runtime.errors import InputError, in_one_line

Row = dict[str, Any]


def read_array(file: Path, command: str, mapped: bool = False) -> NDArray[Any]:
    """Read an array that a stage wrote.

    Args:
        file: Where it is.
        command: What writes it anew.
        mapped: Whether it stays on disk.

    Raises:
        InputError: It is missing or damaged.
    """
    try:
        found: NDArray[Any] = np.load(file, "r" if mapped else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{file}: cannot be read, got {in_one_line(error)}; run `{command}`"
        ) from error
    return found


@dataclass(frozen=True)
class EncodedRows(Dataset[Row]):
    """Rows of token ids in one flat array: 4 bytes a token, where Python lists take 36.

    Attributes:
        ids: Token ids of all rows, one after the other, special tokens included; int32.
        ends: Where each row ends in `ids`; int64, shape (rows,).
        first_lengths: How many tokens belong to the first segment; int32, shape (rows,).
        targets: Further values per row by name, for instance `labels`, `teacher_logits`.
        token_targets: Further values per token, shape (tokens, ...), for instance `teacher_states`.
        origins: The text that each row is, or is a window of, ascending; int64, shape (rows,).
            None: row by row.
        characters: Of each token its segment, its first character there and the one behind its
            last; segment -1 of the tokenizer's own; int32, shape (tokens, 3). None unless asked.
        beside: The same rows as a teacher with another tokenizer reads them; then both have each
            token's unit as the target `units` per token, counted from 1 in its row, 0 for none.
        pad_token_id: That fills up rows which stand beside others.
        places: Where each token's answer belongs, int32: of tagged words, shape (tokens,), the
            word's number in its text, -1 of a token that is not scored; of questions, shape
            (tokens, 2), character places in the passage, -1 of other tokens. None without.
    """

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    first_lengths: NDArray[np.int32]
    targets: dict[str, NDArray[Any]]
    token_targets: dict[str, Tensor] = field(default_factory=dict)
    origins: NDArray[np.int64] | None = None
    places: NDArray[np.int32] | None = None
    characters: NDArray[np.int32] | None = None
    beside: "EncodedRows | None" = None
    pad_token_id: int = 0

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per row, shape (rows,)."""
        return np.diff(self.ends, prepend=0)

    @property
    def matched_lengths(self) -> NDArray[np.int64]:
        """What layers are matched at, per row: tokens, or units; shape (rows,)."""
        if UNITS not in self.token_targets:
            return self.lengths
        found = np.zeros(len(self), dtype=np.int64)
        rows = np.repeat(np.arange(len(self)), self.lengths)
        np.maximum.at(found, rows, self.token_targets[UNITS].numpy())
        return found

    @property
    def token_origins(self) -> NDArray[np.int64]:
        """The text that each token is of, shape (tokens,)."""
        texts = np.arange(len(self)) if self.origins is None else self.origins
        return np.repeat(texts, self.lengths)

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> Row:
        start = self.ends[index - 1] if index else 0
        row: Row = {name: values[index] for name, values in self.targets.items()}
        row |= {name: of[start : self.ends[index]] for name, of in self.token_targets.items()}
        row["ids"] = self.ids[start : self.ends[index]]
        row["first_length"] = self.first_lengths[index]
        if self.beside is not None:
            row["beside"] = {**self.beside[index], "pad_token_id": self.beside.pad_token_id}
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

    def first_texts(self, count: int) -> "EncodedRows":
        """Return the rows of the first so many texts, with all that they have."""
        stop = count if self.origins is None else int(np.searchsorted(self.origins, count))
        end = int(self.ends[:stop][-1]) if stop else 0
        return replace(
            self,
            ids=self.ids[:end],
            ends=self.ends[:stop],
            first_lengths=self.first_lengths[:stop],
            targets={name: values[:stop] for name, values in self.targets.items()},
            token_targets={name: values[:end] for name, values in self.token_targets.items()},
            origins=None if self.origins is None else self.origins[:stop],
            places=None if self.places is None else self.places[:end],
            characters=None if self.characters is None else self.characters[:end],
            beside=None if self.beside is None else self.beside.first_texts(stop),
        )

    def with_origins(self, origins: NDArray[np.int64]) -> "EncodedRows":
        """Return the same rows as windows of these texts."""
        return replace(self, origins=origins)

    def with_places(self, places: NDArray[np.int32]) -> "EncodedRows":
        """Return the same rows with their tokens' places."""
        return replace(self, places=places)

    def with_token_targets(self, **targets: Tensor) -> "EncodedRows":
        """Return the same rows with further values per token."""
        return replace(self, token_targets={**self.token_targets, **targets})

    def with_beside(
        self,
        theirs: "EncodedRows",
        units: NDArray[np.int32],
        their_units: NDArray[np.int32],
        pad_token_id: int,
    ) -> "EncodedRows":
        """Return the same rows with a teacher's beside them."""
        beside = EncodedRows(theirs.ids, theirs.ends, theirs.first_lengths, {})
        beside = beside.with_token_targets(**{UNITS: torch.from_numpy(their_units)})
        beside = replace(beside, pad_token_id=pad_token_id)
        ours = self.with_token_targets(**{UNITS: torch.from_numpy(units)})
        return replace(ours, beside=beside)

    def without_beside(self) -> "EncodedRows":
        """Return the same rows for a student alone."""
        alone = {name: of for name, of in self.token_targets.items() if name != UNITS}
        return replace(self, token_targets=alone, beside=None)

    def at(self, numbers: NDArray[np.int64]) -> "EncodedRows":
        """Return some rows in the order given, without targets."""
        lengths = self.lengths[numbers]
        tokens = steps_of((self.ends - self.lengths)[numbers], lengths)
        return EncodedRows(
            self.ids[tokens],
            np.cumsum(lengths),
            self.first_lengths[numbers],
            {},
            origins=None if self.origins is None else self.origins[numbers],
            places=None if self.places is None else self.places[tokens],
            characters=None if self.characters is None else self.characters[tokens],
        )


SCORED = "scored"  # of a token: whether its logits count
UNITS = "units"  # of a token: what it has in common with a teacher's tokens


def steps_of(starts: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return start, start + 1, ... of each start, as many as its size, all in a row."""
    before = np.cumsum(sizes) - sizes
    steps: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(starts - before, sizes)
    return steps


def pieces_of(encodings: Sequence[Any]) -> NDArray[np.int32]:
    """Return segments and offsets of encodings as `EncodedRows.characters` has them."""
    found = np.empty((sum(map(len, encodings)), 3), dtype=np.int32)
    segments = chain.from_iterable(encoding.sequence_ids for encoding in encodings)
    offsets = chain.from_iterable(encoding.offsets for encoding in encodings)
    found[:, 0] = [-1 if segment is None else segment for segment in segments]
    found[:, 1:] = np.fromiter(chain.from_iterable(offsets), np.int32).reshape(-1, 2)
    return found


def rows_numbered(rows: "Rows", numbers: NDArray[np.int64]) -> EncodedRows:
    """Return some rows, in the order of their numbers given, with no target but `SCORED`."""
    found = [rows[int(number)] for number in numbers]
    ids = [row["ids"].astype(np.int32) for row in found]
    chosen = joined(ids, [row["first_length"] for row in found], {})
    if not (found and SCORED in found[0]):
        return chosen
    return chosen.with_token_targets(scored=torch.cat([row[SCORED] for row in found]))


def joined(
    ids: Sequence[NDArray[np.int32]], first_lengths: Sequence[int], targets: dict[str, NDArray[Any]]
) -> EncodedRows:
    """Put rows one after the other."""
    return EncodedRows(
        np.concatenate(ids) if ids else np.empty(0, np.int32),
        np.cumsum([len(each) for each in ids], dtype=np.int64),
        np.asarray(first_lengths, dtype=np.int32),
        targets,
    )


def encode(
    tokenizer: Any,
    first: Sequence[str],
    second: Sequence[str] | None,
    max_length: int,
    characters: bool = False,
    **targets: NDArray[Any],
) -> EncodedRows:
    """Encode single sentences, or pairs, cut to `max_length` tokens (the longer one first).

    Args:
        tokenizer: A fast one.
        first: Texts, or first sentences.
        second: Second sentences.
        max_length: Tokens, special ones included.
        characters: Whether rows keep their tokens' characters.
        targets: Further values per row.
    """
    chunk = 10_000  # bounds the memory the tokenizer's own objects take
    ids, first_lengths, pieces = [], [], [np.empty((0, 3), np.int32)]
    for start in range(0, len(first), chunk):
        part = slice(start, start + chunk)
        encoded = tokenizer(
            list(first[part]),
            None if second is None else list(second[part]),
            truncation="longest_first" if second is not None else True,
            max_length=max_length,
        )
        for number, tokens in enumerate(encoded["input_ids"]):
            others = sum(encoded["token_type_ids"][number]) if "token_type_ids" in encoded else 0
            ids.append(np.asarray(tokens, dtype=np.int32))
            first_lengths.append(len(tokens) - others)
        if characters:
            pieces.append(pieces_of(encoded.encodings))
    rows = joined(ids, first_lengths, targets)
    return replace(rows, characters=np.concatenate(pieces)) if characters else rows


CORPUS_COMMAND = "dvc repro --force prepare_corpus"


class Blocks(Dataset[Row]):
    """The corpus as fixed-length blocks, memory-mapped.

    Args:
        folder: A folder with `blocks.npy`, token ids of shape (blocks, tokens),
            `first_lengths.npy`, the first segment's tokens per block, shape (blocks,), and
            `seconds.npy`, int8: 1 where the second segment follows the first in its document, 0
            where another document begins, -1 where there is none.
        start: The first block to take.
        stop: The block to stop before; None for the last.
        seconds: Whether rows have that as `second`.
    """

    def __init__(
        self, folder: Path, start: int = 0, stop: int | None = None, seconds: bool = False
    ) -> None:
        blocks = read_array(folder / "blocks.npy", CORPUS_COMMAND, mapped=True)
        firsts = _of_blocks(folder / "first_lengths.npy", blocks)
        self.blocks, self.first_lengths = blocks[start:stop], firsts[start:stop]
        self.seconds: NDArray[np.int8] | None = None
        if seconds:
            self.seconds = _of_blocks(folder / "seconds.npy", blocks)[start:stop]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens per block, shape (blocks,)."""
        return np.full(len(self.blocks), self.blocks.shape[1], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> Row:
        row: Row = {"ids": self.blocks[index], "first_length": self.first_lengths[index]}
        return row if self.seconds is None else {**row, "second": self.seconds[index]}


def _of_blocks(file: Path, blocks: NDArray[Any]) -> NDArray[Any]:
    found = read_array(file, CORPUS_COMMAND, mapped=True)
    if len(found) != len(blocks):
        raise InputError(
            f"{file}: must have a value for each of {len(blocks):,} blocks, got {len(found):,}; "
            f"run `{CORPUS_COMMAND}`"
        )
    return found


Rows = EncodedRows | Blocks
