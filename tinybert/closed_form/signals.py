"""What the fit asks of the teacher: moments of its layers, then the targets of the student's maps.

Two passes over the texts. The first one, over a part that suffices for them, sums products, which
decide the reduced bases; the second one keeps each token's reduced targets on disk. Padding enters
neither.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from tinybert.closed_form.equations import (
    head_strength,
    principal_basis,
    score_directions,
    strongest_neurons,
    value_directions,
)
from tinybert.closed_form.parts import layers_of, recorded
from tinybert.encoders.signals import read_signals
from tinybert.text.batching import Batch, collate, sorted_batches
from tinybert.text.encoded import Rows, rows_numbered

BATCH_TOKENS = 4096
BASIS_TOKENS = 10_000  # products of so many decide as well as those of four times as many


class LayerMoments(NamedTuple):
    """Means over tokens of products within a teacher's layer, float64.

    Attributes:
        query: mean(q^T q) of each head, shape (heads, head width, head width).
        key: Of the keys.
        value: Of the values.
        neurons: Variance of each neuron after its activation, shape (neurons,).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    neurons: Tensor


class Reduction(NamedTuple):
    """How a teacher's layer is cut to the student's size.

    Attributes:
        heads: Numbers of the heads kept.
        query: Shape (kept heads, their width, the student's head width).
        key: The same of the keys.
        value: The same of the values.
        neurons: Numbers of the neurons kept.
        lost: Share of what the heads bring to the output that those left out brought.
    """

    heads: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    neurons: Tensor
    lost: float


class TeacherPass(NamedTuple):
    """One batch of the teacher.

    Attributes:
        batch: As `batching.collate` makes it.
        mask: True for a real token, shape (rows, tokens).
        parts: What the layers' parts put out, by part and layer, as "query 2".
        hidden: Layers' outputs, by number; 0 is the embeddings'.
    """

    batch: Batch
    mask: Tensor
    parts: dict[str, Tensor]
    hidden: dict[int, Tensor]


RECORDED = ("query", "key", "value", "attention_norm", "feedforward_in")


def activation(model: PreTrainedModel) -> Any:
    """Return the feed-forward's activation."""
    config: Any = model.config
    return ACT2FN[getattr(config, "hidden_act", None) or config.activation]


def batches_for(teacher: PreTrainedModel, rows: Rows) -> Iterator[Batch]:
    """Yield all rows as batches on the teacher's device, the longest first."""
    for numbers in sorted_batches(rows, BATCH_TOKENS):
        batch = collate([rows[int(n)] for n in numbers], teacher.config.pad_token_id or 0)
        yield {name: of.to(teacher.device) for name, of in batch.items()}


def teacher_passes(
    teacher: PreTrainedModel, rows: Rows, layers: Sequence[int]
) -> Iterator[TeacherPass]:
    """Run the teacher over all rows, the longest first.

    Args:
        teacher: In eval mode.
        rows: The texts.
        layers: Whose parts to record, from 1.
    """
    theirs = layers_of(teacher)
    modules = {
        f"{part} {layer}": getattr(theirs[layer - 1], part) for layer in layers for part in RECORDED
    }
    with torch.no_grad(), recorded(modules, teacher) as found:
        for batch in batches_for(teacher, rows):
            hidden = dict(read_signals(teacher, batch, hidden=True).hidden)
            yield TeacherPass(batch, batch["attention_mask"].bool(), found, hidden)


class TeacherMoments:
    """The sums of the first pass.

    Args:
        teacher: In eval mode.
        layers: The layers that the student's are fitted to, from 1, each once.
    """

    def __init__(self, teacher: PreTrainedModel, layers: Sequence[int]) -> None:
        config: Any = teacher.config
        self.teacher, self.layers, self.num_heads = teacher, layers, config.num_attention_heads
        of: dict[str, Any] = {"dtype": torch.float64, "device": teacher.device}
        width, head = config.hidden_size, config.hidden_size // self.num_heads
        parts = layers_of(teacher)
        self.count = 0
        self.sums = {n: torch.zeros(width, **of) for n in (0, *layers)}
        self.products = {n: torch.zeros(width, width, **of) for n in (0, *layers)}
        self.heads = {n: torch.zeros(3, self.num_heads, head, head, **of) for n in layers}
        self.neurons = {
            n: torch.zeros(2, len(parts[n - 1].feedforward_in.weight), **of) for n in layers
        }

    def add(self, found: TeacherPass) -> None:
        """Add a batch's real tokens."""
        act = activation(self.teacher)
        self.count += int(found.mask.sum())
        for layer in self.sums:
            states = found.hidden[layer][found.mask].double()
            self.sums[layer] += states.sum(0)
            self.products[layer] += states.mT @ states
        for layer in self.layers:
            for number, part in enumerate(("query", "key", "value")):
                x = found.parts[f"{part} {layer}"][found.mask].double()
                x = x.unflatten(-1, (self.num_heads, -1)).transpose(0, 1)
                self.heads[layer][number] += x.mT @ x
            fired = act(found.parts[f"feedforward_in {layer}"][found.mask]).double()
            self.neurons[layer] += torch.stack([fired.sum(0), fired.square().sum(0)])

    def covariance(self, layer: int) -> Tensor:
        """Return the covariance of a layer's states, shape (D, D); of the embeddings': 0."""
        mean = self.sums[layer] / self.count
        return self.products[layer] / self.count - torch.outer(mean, mean)

    def mean_covariance(self) -> Tensor:
        """Return the states' covariance, averaged over the layers, shape (D, D)."""
        return torch.stack([self.covariance(layer) for layer in self.sums]).mean(0)

    def of_layer(self, layer: int) -> LayerMoments:
        """Return the means of a layer."""
        mean, square = self.neurons[layer] / self.count
        query, key, value = self.heads[layer] / self.count
        return LayerMoments(query, key, value, square - mean.square())


def reduce_layer(
    teacher: PreTrainedModel, layer: int, moments: LayerMoments, student: Any
) -> Reduction:
    """Choose what a student's layer keeps of the teacher's.

    Args:
        teacher: The teacher.
        layer: Its layer, from 1.
        moments: Of that layer.
        student: The student's configuration.
    """
    part, num_heads = layers_of(teacher)[layer - 1], len(moments.query)
    head_width = student.hidden_size // student.num_attention_heads
    W_o = part.attention_output.weight.detach().double().mT.unflatten(0, (num_heads, -1))
    strength = head_strength(moments.value, W_o)
    kept = strength.topk(student.num_attention_heads).indices.sort().values
    A_q, A_k = score_directions(moments.query[kept], moments.key[kept], head_width)
    # Both models divide scores by the root of their head width, and queries and keys share it.
    theirs = teacher.config.hidden_size // num_heads
    scale = (head_width / theirs) ** 0.25
    A_v = value_directions(moments.value[kept], W_o[kept], head_width)
    neurons = strongest_neurons(
        moments.neurons, part.feedforward_out.weight, student.intermediate_size
    )
    lost = 1 - float(strength[kept].sum() / strength.sum())
    return Reduction(kept, A_q * scale, A_k * scale, A_v, neurons, lost)


class Spool:
    """Tensors of a pass by batch and name, on disk: memory stays flat in the number of tokens.

    They lie in a temporary folder, removed with the object.

    Args:
        device: Where tensors are put when they are read again.
    """

    def __init__(self, device: torch.device) -> None:
        self._folder = TemporaryDirectory(prefix="closed_form_")
        self._device = device

    def put(self, number: int, **tensors: Tensor) -> None:
        """Keep tensors of a batch; those of the same name are replaced."""
        for name, tensor in tensors.items():
            np.save(self._file(number, name), tensor.detach().cpu().numpy())

    def get(self, number: int, name: str) -> Tensor:
        """Return a tensor of a batch."""
        found = np.load(self._file(number, name), allow_pickle=False)
        return torch.from_numpy(found).to(self._device)

    def _file(self, number: int, name: str) -> Path:
        return Path(self._folder.name) / f"{number}_{name}.npy"


class Targets(NamedTuple):
    """What the second pass leaves.

    Attributes:
        basis: B, shape (D, d).
        embedding_basis: The same of the embedding tables, shape (D, d), or (D, r) where they are r
            wide: that of the embeddings' own states, whose variance r directions keep best.
        reductions: By the teacher's layer.
        spool: Of each batch: ids, types, mask; of its real tokens "state n" (D wide) and, by
            layer, "query n", "key n", "value n", "attended n" and "neurons n".
        num_batches: In the spool.
        num_tokens: Real ones.
    """

    basis: Tensor
    embedding_basis: Tensor
    reductions: dict[int, Reduction]
    spool: Spool
    num_batches: int
    num_tokens: int


def make_targets(
    teacher: PreTrainedModel,
    rows: Rows,
    layers: Sequence[int],
    student: Any,
    generator: torch.Generator,
) -> Targets:
    """Run both passes.

    Args:
        teacher: In eval mode.
        rows: The texts.
        layers: [g(1), ..., g(M)].
        student: The student's configuration.
        generator: Of the basis.
    """
    wanted = sorted(set(layers))
    moments = TeacherMoments(teacher, wanted)
    every = max(1, int(rows.lengths.sum()) // BASIS_TOKENS)
    part = rows_numbered(rows, np.arange(0, len(rows), every)) if every > 1 else rows
    for found in teacher_passes(teacher, part, wanted):
        moments.add(found)
    basis = principal_basis(moments.mean_covariance(), student.hidden_size, generator)
    rank, tables = getattr(student, "embedding_size", student.hidden_size), basis
    if rank != student.hidden_size:
        tables = principal_basis(moments.covariance(0), rank, generator)
    reductions = {n: reduce_layer(teacher, n, moments.of_layer(n), student) for n in wanted}
    spool, number = Spool(teacher.device), 0
    for number, found in enumerate(teacher_passes(teacher, rows, wanted), start=1):
        _keep(spool, number - 1, found, basis.float(), reductions, moments.num_heads)
    return Targets(basis, tables, reductions, spool, number, int(rows.lengths.sum()))


def _keep(
    spool: Spool,
    number: int,
    found: TeacherPass,
    basis: Tensor,
    reductions: dict[int, Reduction],
    num_heads: int,
) -> None:
    ids, types = found.batch["input_ids"], found.batch["token_type_ids"]
    spool.put(number, ids=ids, types=types, mask=found.mask)
    for layer in (0, *reductions):
        spool.put(number, **{f"state {layer}": found.hidden[layer][found.mask]})
    for layer, kept in reductions.items():
        for name in ("query", "key", "value"):
            x = found.parts[f"{name} {layer}"][found.mask].unflatten(-1, (num_heads, -1))
            reduced = torch.einsum("nha,hab->nhb", x[:, kept.heads], getattr(kept, name).float())
            spool.put(number, **{f"{name} {layer}": reduced.flatten(1)})
        attended = found.parts[f"attention_norm {layer}"][found.mask] @ basis
        neurons = found.parts[f"feedforward_in {layer}"][found.mask][:, kept.neurons]
        spool.put(number, **{f"attended {layer}": attended, f"neurons {layer}": neurons})
