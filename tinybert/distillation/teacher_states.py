"""The teacher's states of every token, stored by one pass and read in every epoch.

Whether that pays is arithmetic (`decide`): a pass costs operations, a read costs bytes. The states
lie in the run's folder of checkpoints, whose name is a hash of teacher, data, settings and code.
"""

import json
import os
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from transformers import PreTrainedConfig

from tinybert.distillation.teacher import Teacher
from tinybert.encoders.cost import encoder_flops, model_flops
from tinybert.encoders.signals import QueryKey, QueryKeyValue, Signals
from tinybert.runtime.outputs import replace_file
from tinybert.text.batching import Batch, collate, sorted_batches
from tinybert.text.encoded import EncodedRows

# Orders of magnitude, on purpose no measurement: a run that is gone on with must decide the same.
OPERATIONS_PER_SECOND = {"cpu": 5e11, "cuda": 3e14}
BYTES_PER_SECOND = 1e9  # of reading from disk or its cache, and copying to the device
BATCH_TOKENS = 8192  # of the pass that stores
BATCHES_BETWEEN = 20  # notes of how far that pass has come


@dataclass(frozen=True)
class Layout:
    """Where each layer's signals stand in a token's row of values.

    Attributes:
        attention: Layers whose queries and keys are kept.
        hidden: Layers whose outputs are kept.
        num_heads: Of each layer.
        head_width: Of queries and keys.
        width: Of hidden states.
        scaling: Of the scores.
        relations: Layers whose queries, keys and values are kept, heads joined.
        relation_width: Of each of those.
    """

    attention: list[int]
    hidden: list[int]
    num_heads: int
    head_width: int
    width: int
    scaling: float
    relations: list[int]
    relation_width: int

    @property
    def sizes(self) -> list[int]:
        """How many values each signal takes: of attention, of relations, then of hidden states."""
        heads = self.num_heads * self.head_width
        sizes = [heads] * 2 * len(self.attention) + [self.relation_width] * 3 * len(self.relations)
        return sizes + [self.width] * len(self.hidden)

    def pack(self, signals: Signals) -> Tensor:
        """Put a pass's signals side by side, shape (batch, tokens, values)."""
        parts = [
            part.transpose(1, 2).flatten(2)
            for layer in self.attention
            for part in signals.attention[layer][:2]
        ]
        for layer in self.relations:
            parts += signals.relations[layer]
        return torch.cat([*parts, *(signals.hidden[layer] for layer in self.hidden)], dim=-1)

    def unpack(self, states: Tensor) -> Signals:
        """Undo `pack`."""
        parts = iter(states.split(self.sizes, dim=-1))

        def heads() -> Tensor:
            shape = (self.num_heads, self.head_width)
            return cast(Tensor, next(parts).unflatten(-1, shape).transpose(1, 2))

        attention = {layer: QueryKey(heads(), heads(), self.scaling) for layer in self.attention}
        relations = {
            layer: QueryKeyValue(next(parts), next(parts), next(parts)) for layer in self.relations
        }
        hidden = dict(zip(self.hidden, parts, strict=True))
        return Signals(attention, hidden, relations=relations)


class StoredTeacher:
    """Gives the signals that a batch carries as `teacher_states`.

    Args:
        config: The teacher's.
        layout: Of the states.
    """

    def __init__(self, config: PreTrainedConfig, layout: Layout) -> None:
        self.config, self.layout = config, layout

    def record_attention(self) -> None:
        """Do nothing: queries and keys are stored."""

    def record_relations(self) -> int:
        """Return how wide the stored queries, keys and values are."""
        return self.layout.relation_width

    def compile_layers(self) -> None:
        """Do nothing: no layer runs."""

    def signals(
        self,
        batch: Batch,
        *,
        attention: Collection[int] = (),
        hidden: bool = False,
        relations: Collection[int] = (),
    ) -> Signals:
        """Return all that is stored of the batch's rows."""
        return self.layout.unpack(batch["teacher_states"])


class Decision(NamedTuple):
    """Whether to store the states, and the arithmetic behind it."""

    store: bool
    reason: str


def decide(
    config: PreTrainedConfig,
    num_tokens: int,
    mean_length: float,
    bytes_per_token: int,
    num_passes: float,
    limit: float,
    device: str,
    already_made: bool = False,
) -> Decision:
    """Compare the teacher's passes with one pass, one write and reads.

    Args:
        config: The teacher's.
        num_tokens: Of all rows.
        mean_length: Tokens per row.
        bytes_per_token: Of the stored states.
        num_passes: How often training sees each row.
        limit: Bytes that may be stored.
        device: cpu or cuda.
        already_made: Whether that pass is made for something else too.
    """
    length = max(1, round(mean_length))
    flops = model_flops(config, length) or encoder_flops(  # about, where it cannot be counted
        config.num_hidden_layers,
        config.hidden_size,
        getattr(config, "intermediate_size", 4 * config.hidden_size),
        length,
    )
    by_pass = flops / length / OPERATIONS_PER_SECOND[device]
    by_read = bytes_per_token / BYTES_PER_SECOND
    storing = by_read if already_made else by_pass + by_read
    ratio = num_passes * by_pass / (storing + num_passes * by_read)
    size = num_tokens * bytes_per_token
    shown = (
        f"{size / 1e9:.2f} GB ({num_tokens:,} tokens of {bytes_per_token:,} bytes), "
        f"{num_passes:.1f} passes on {device}: {ratio:.1f} times less time"
    )
    if size > limit:
        return Decision(False, f"{shown}, but more than the {limit / 1e9:.2f} GB allowed and free")
    return Decision(ratio > 1, shown)


def layout_of(
    teacher: Teacher,
    rows: EncodedRows,
    attention: list[int],
    hidden: list[int],
    relations: list[int],
) -> Layout:
    """Learn the shapes of the teacher's signals from a pass over the first row."""
    if attention:
        teacher.record_attention()
    if relations:
        teacher.record_relations()
    row = collate([rows[0]], teacher.config.pad_token_id or 0)
    row = {name: of.to(teacher.model.device) for name, of in row.items()}
    signals = teacher.signals(row, attention=attention, hidden=True, relations=relations)
    joined = next(iter(signals.relations.values()), None)
    first = next(iter(signals.attention.values()), None)
    return Layout(
        attention=sorted(set(attention)),
        hidden=sorted(set(hidden)),
        num_heads=0 if first is None else first.query.shape[1],
        head_width=0 if first is None else first.query.shape[3],
        width=signals.hidden[0].shape[2],
        scaling=1.0 if first is None else first.scaling,
        relations=sorted(set(relations)),
        relation_width=0 if joined is None else joined.query.shape[2],
    )


def store_states(
    teacher: Teacher,
    rows: EncodedRows,
    layout: Layout,
    dtype: torch.dtype,
    folder: Path,
    logits: Tensor | None = None,
) -> Tensor:
    """Run the teacher over all rows once; goes on where a killed pass stood.

    Args:
        teacher: The teacher, on the device to compute on.
        rows: Training rows.
        layout: What to keep.
        dtype: Of the stored values: the teacher's own.
        folder: Where `states.raw` is kept, with `stored.json`, how far the pass has come.
        logits: Filled with the rows' logits, shape (rows, outputs), where they are asked for.

    Returns:
        The states of every token of `rows.ids`, shape (tokens, values), memory-mapped; of units,
        the n-th at the row's n-th token.
    """
    folder.mkdir(parents=True, exist_ok=True)
    states = mapped_states(folder, rows, layout, dtype)
    batches, note = sorted_batches(rows, BATCH_TOKENS), folder / "stored.json"
    done = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else 0
    pad, device = teacher.config.pad_token_id or 0, teacher.model.device
    bar = track(range(done, len(batches)), "teacher's states", disable=done == len(batches))
    for number in bar:
        batch = collate([rows[int(row)] for row in batches[number]], pad)
        batch = {name: value.to(device) for name, value in batch.items()}
        signals = teacher.signals(
            batch, attention=layout.attention, hidden=True, relations=layout.relations
        )
        if logits is not None:
            assert signals.logits is not None
            logits[torch.from_numpy(batches[number])] = signals.logits.float().cpu()
        packed = layout.pack(signals).to(dtype).cpu()
        for row, values in zip(batches[number], packed, strict=True):
            end, length = int(rows.ends[row]), int(rows.lengths[row])
            states[end - length : end] = values[:length]
        if (number + 1) % BATCHES_BETWEEN == 0 or number + 1 == len(batches):
            with replace_file(note) as file:
                file.write_text(json.dumps(number + 1), encoding="utf-8")
    return states


def decide_for(
    teacher: Teacher,
    rows: EncodedRows,
    layout: Layout,
    num_passes: float,
    max_gigabytes: float,
    folder: Path,
    *,
    already_made: bool = False,
) -> Decision:
    """Decide for a teacher's states of some rows; their folder is made.

    Args:
        teacher: On the device to compute on.
        rows: Training rows.
        layout: What would be kept.
        num_passes: As for `decide`.
        max_gigabytes: Of 10^9 bytes, that may be stored; what is free on the disk limits it too,
            unless the states have their room already.
        folder: Where to store.
        already_made: As for `decide`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    limit = max_gigabytes * 1e9
    if not (folder / "states.raw").is_file():
        limit = min(limit, 0.9 * shutil.disk_usage(folder).free)
    return decide(
        teacher.config,
        len(rows.ids),
        float(rows.lengths.mean()),
        sum(layout.sizes) * cast(torch.dtype, teacher.model.dtype).itemsize,
        num_passes,
        limit,
        teacher.model.device.type,
        already_made,
    )


def mapped_states(folder: Path, rows: EncodedRows, layout: Layout, dtype: torch.dtype) -> Tensor:
    """Map the file of the states of all rows' tokens, made if it is missing."""
    return mapped(folder / "states.raw", (len(rows.ids), sum(layout.sizes)), dtype)


def read_states(
    folder: Path, rows: EncodedRows, layout: Layout, dtype: torch.dtype
) -> Tensor | None:
    """Map a file of states that a whole pass left; None where it is gone or of another size."""
    return mapped_whole(folder / "states.raw", (len(rows.ids), sum(layout.sizes)), dtype)


def mapped_whole(file: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor | None:
    """Map a file that was written; None where it is gone or of another size."""
    if not file.is_file() or file.stat().st_size != shape[0] * shape[1] * dtype.itemsize:
        return None
    return mapped(file, shape, dtype)


def mapped(file: Path, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Map a file, made if it is missing; numpy has no bfloat16, so its bits are kept.

    Its room on the disk is taken at once: a disk that fills up kills who writes into a map.
    """
    kind = np.int16 if dtype == torch.bfloat16 else np.float32
    if not file.is_file():
        with replace_file(file) as partial, partial.open("wb") as stream:
            size = shape[0] * shape[1] * dtype.itemsize
            if sys.platform == "linux":
                os.posix_fallocate(stream.fileno(), 0, size)
            stream.truncate(size)
    return torch.from_numpy(np.memmap(file, kind, "r+", shape=shape)).view(dtype)


def use_stored_states(
    teacher: Teacher,
    rows: EncodedRows,
    attention: list[int],
    hidden: list[int],
    num_passes: float,
    max_gigabytes: float,
    folder: Path,
    relations: list[int] | None = None,
) -> tuple[Teacher | StoredTeacher, EncodedRows, Decision]:
    """Store the teacher's states if that pays; return what gives its signals, and the rows for it.

    Args:
        teacher: The teacher, on the device to compute on.
        rows: Training rows.
        attention: Layers whose queries and keys are read.
        hidden: Layers whose outputs are read, 0 for the embedding's.
        num_passes: How often training sees each row.
        max_gigabytes: Of 10^9 bytes, that may be stored; what is free on the disk limits it too.
        folder: Where to store.
        relations: Layers whose queries, keys and values are read, heads joined.
    """
    layout = layout_of(teacher, rows, attention, hidden, relations or [])
    decision = decide_for(teacher, rows, layout, num_passes, max_gigabytes, folder)
    if not decision.store:
        return teacher, rows, decision
    dtype = cast(torch.dtype, teacher.model.dtype)
    states = store_states(teacher, rows, layout, dtype, folder)
    # States over units stand at the student's tokens: what the teacher reads is not needed again.
    rows = replace(rows, beside=None).with_token_targets(teacher_states=states)
    return StoredTeacher(teacher.config, layout), rows, decision
