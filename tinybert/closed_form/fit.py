"""Fit a whole student, layer by layer, to what its teacher computes on some texts.

Each map of the student is the least-squares solution on what the student itself feeds it, in the
order of the forward pass. No gradient, no step; the result is where training goes on from.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, scaled_dot_product_attention
from transformers import PreTrainedModel

from tinybert.closed_form.moments import CoordinateMoments, Moments
from tinybert.closed_form.parts import LayerParts, embedding_tables, layers_of
from tinybert.closed_form.signals import activation, make_targets
from tinybert.distillation.projections import Projections
from tinybert.text.encoded import Rows

RIDGE = 1e-3  # of the mean diagonal; 1e-4 gives the same to four digits

ByBatch = Callable[[int], Tensor]  # gives a tensor of a batch's real tokens, by its number


class Unexplained(NamedTuple):
    """The share of a fitted map's targets that it leaves.

    Attributes:
        layer: The student's, from 1; 0: the embeddings; the last one plus 1: the classifier.
        map: Which one.
        unexplained: From 0 to 1.
    """

    layer: int
    map: str
    unexplained: float


class EncoderFit:
    """The fit of one student, in place.

    Args:
        student: A BERT encoder, or a classifier on one; its encoder is fitted.
        teacher: In eval mode, on the device to compute on; the student is there too.
        rows: The texts.
        layers: [g(1), ..., g(M)].
        seed: Of the basis' rotation.
        projections: W_e and W_h, fitted too where they are given.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        rows: Rows,
        layers: Sequence[int],
        seed: int,
        projections: Projections | None = None,
    ) -> None:
        self.student, self.teacher, self.layers = student, teacher, list(layers)
        self.projections, self.parts = projections, layers_of(student)
        self.embeddings: Any = student.base_model.embeddings
        config: Any = student.config
        self.width, self.num_heads = config.hidden_size, config.num_attention_heads
        self.act = activation(student)
        generator = torch.Generator().manual_seed(seed)
        self.targets = make_targets(teacher, rows, self.layers, config, generator)
        self.basis = self.targets.basis.float()
        self.unexplained: list[Unexplained] = []

    def run(self) -> list[Unexplained]:
        """Fit everything, in the order of the forward pass."""
        with torch.no_grad():
            self.fit_embeddings()
            self._project(0)
            for layer in range(1, len(self.layers) + 1):
                self._attention(layer)
                self._feedforward(layer)
                self._project(layer)
        return self.unexplained

    @torch.no_grad()
    def fit_embeddings(self) -> None:
        """Bring each table's rows, centred as the teacher's LayerNorm does, to the basis."""
        tables, embeddings = embedding_tables(self.teacher), self.embeddings
        to_basis = self.targets.embedding_basis
        if tables.projection is not None:
            to_basis = tables.projection.double().mT @ to_basis

        def reduced(table: Tensor) -> Tensor:
            table = table.double()
            centred = table - table.mean(dim=-1, keepdim=True)
            return centred * tables.gain.double() @ to_basis

        embeddings.word_embeddings.weight.copy_(reduced(tables.word))
        positions = embeddings.position_embeddings.weight.zero_()
        if tables.position is not None:  # else training alone knows what a position should add
            known = reduced(tables.position[: len(positions)])
            positions[: len(known)].copy_(known)  # texts end where the teacher's positions do
        types = embeddings.token_type_embeddings.weight.zero_()
        if tables.token_type is not None:  # ERNIE has more types than texts use
            known = reduced(tables.token_type)[: len(types)]
            types.copy_(known.expand(len(types), -1))  # a single type stands for both segments
        self._fit_norm(embeddings.LayerNorm, 0, "embeddings", self._summed, self._embedded)
        self._keep("s", lambda batch: embeddings.LayerNorm(self._summed(batch)))
        self._widen()

    def _embedded(self, batch: int) -> Tensor:
        """Return the teacher's embeddings in the basis of the student's tables."""
        return self._get(batch, "state 0") @ self.targets.embedding_basis.float()

    def _widen(self) -> None:
        """Fit the map from factorised embeddings to the layers' width, where there is one."""
        widening = getattr(self.student.base_model, "embeddings_project", None)
        if widening is None:
            return
        pairs = ((self._get(n, "s"), self._reduced(0)(n)) for n in self._batches())
        self._fit(widening, 0, "embeddings widened", pairs)
        self._keep("s", lambda batch: widening(self._get(batch, "s")))

    def _summed(self, batch: int) -> Tensor:
        embeddings = self.embeddings
        ids, types, mask = (self._get(batch, name) for name in ("ids", "types", "mask"))
        positions = embeddings.position_embeddings.weight[: ids.shape[1]]
        words = embeddings.word_embeddings(ids) + embeddings.token_type_embeddings(types)
        summed: Tensor = (words + positions)[mask]
        return summed

    def _attention(self, layer: int) -> None:
        """Fit queries, keys and values, then the output map on the student's own attention."""
        of, part = self.layers[layer - 1], self.parts[layer - 1]
        heads = self.targets.reductions[of]
        if len(heads.heads) < self.teacher.config.num_attention_heads:
            self._note(layer, "heads left out", heads.lost)
        for name in ("query", "key", "value"):
            pairs = ((self._get(n, "s"), self._get(n, f"{name} {of}")) for n in self._batches())
            self._fit(getattr(part, name), layer, name, pairs)
        self._keep("c", lambda batch: self._context(part, batch))
        self._fit(
            part.attention_output,
            layer,
            "attention output",
            (
                (self._get(n, "c"), self._get(n, f"attended {of}") - self._get(n, "s"))
                for n in self._batches()
            ),
        )

        def added(batch: int) -> Tensor:
            output: Tensor = part.attention_output(self._get(batch, "c"))
            return self._get(batch, "s") + output

        def attended(batch: int) -> Tensor:
            return self._get(batch, f"attended {of}")

        self._fit_norm(part.attention_norm, layer, "after attention", added, attended)
        self._keep("x", lambda batch: part.attention_norm(added(batch)))

    def _context(self, part: LayerParts, batch: int) -> Tensor:
        """Return what the student's attention brings, before its output map."""
        mask, states = self._get(batch, "mask"), self._get(batch, "s")
        padded = states.new_zeros(*mask.shape, self.width)
        padded[mask] = states
        query, key, value = (
            linear(padded).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for linear in (part.query, part.key, part.value)
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])
        return attended.transpose(1, 2).flatten(2)[mask]

    def _feedforward(self, layer: int) -> None:
        """Fit the kept neurons, then the second map on the student's own neurons."""
        of, part = self.layers[layer - 1], self.parts[layer - 1]
        pairs = ((self._get(n, "x"), self._get(n, f"neurons {of}")) for n in self._batches())
        self._fit(part.feedforward_in, layer, "feed-forward in", pairs)

        output = self._reduced(of)

        def fired(batch: int) -> Tensor:
            neurons: Tensor = self.act(part.feedforward_in(self._get(batch, "x")))
            return neurons

        self._fit(
            part.feedforward_out,
            layer,
            "feed-forward out",
            ((fired(n), output(n) - self._get(n, "x")) for n in self._batches()),
        )

        def added(batch: int) -> Tensor:
            added: Tensor = part.feedforward_out(fired(batch))
            return self._get(batch, "x") + added

        self._fit_norm(part.output_norm, layer, "output", added, output)
        self._keep("s", lambda batch: part.output_norm(added(batch)))

    def _project(self, layer: int) -> None:
        """Fit W_e, or a layer's W_h, which have no bias."""
        if self.projections is None:
            return
        hidden = self.projections.hidden_projection
        linear: Any = self.projections.embedding_projection if layer == 0 else None
        if layer and len(hidden) == len(self.layers):
            linear = hidden[layer - 1]
        if not isinstance(linear, nn.Linear):
            return  # one W_h for all layers, or none: left to training
        of = self.layers[layer - 1] if layer else 0
        moments = Moments(self.width, len(linear.weight), self.teacher.device)
        for batch in self._batches():
            moments.add(self._get(batch, "s"), self._get(batch, f"state {of}"))
        moments.ridge(RIDGE, f"layer {layer}, projection", intercept=False).put_into(linear)

    def _fit(
        self, linear: Any, layer: int, name: str, pairs: Iterator[tuple[Tensor, Tensor]]
    ) -> None:
        moments = Moments(linear.in_features, linear.out_features, self.teacher.device)
        for x, y in pairs:
            moments.add(x, y)
        found = moments.ridge(RIDGE, f"layer {layer}, {name}")
        found.put_into(linear)
        self._note(layer, name, found.unexplained)

    def _fit_norm(self, norm: Any, layer: int, name: str, added: ByBatch, target: ByBatch) -> None:
        """Fit a LayerNorm's gain and bias to a target, by coordinate."""
        moments = CoordinateMoments(len(norm.weight), self.teacher.device)
        for batch in self._batches():
            normalised = layer_norm(added(batch), norm.normalized_shape, eps=norm.eps)
            moments.add(normalised, target(batch))
        found = moments.fit(f"layer {layer}, {name}")
        found.put_into(norm)
        self._note(layer, name, found.unexplained)

    def _reduced(self, layer: int) -> ByBatch:
        """Return what gives a batch's states of a teacher's layer in the basis."""
        return lambda batch: self._get(batch, f"state {layer}") @ self.basis

    def _note(self, layer: int, name: str, unexplained: float) -> None:
        self.unexplained.append(Unexplained(layer, name, unexplained))

    def _batches(self) -> range:
        return range(self.targets.num_batches)

    def _get(self, batch: int, name: str) -> Tensor:
        return self.targets.spool.get(batch, name)

    def _keep(self, name: str, made: ByBatch) -> None:
        """Keep a tensor of the student's for each batch: its state s, context c, or x."""
        for batch in self._batches():
            self.targets.spool.put(batch, **{name: made(batch)})
