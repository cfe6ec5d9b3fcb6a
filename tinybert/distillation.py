"""Teacher, student, projections and the weighted sum of loss terms (Eq. 11): one engine for all.

A phase is a set of weighted terms. General and intermediate distillation weigh attention, hidden
and embedding; prediction distillation weighs prediction; ordinary fine-tuning weighs label.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from tinybert.batching import Batch
from tinybert.errors import InputError
from tinybert.losses import (
    attention_loss,
    embedding_loss,
    hidden_loss,
    label_loss,
    prediction_loss,
    regression_loss,
)
from tinybert.processes import num_processes, shares, sum_over_all
from tinybert.projections import Projection, Projections
from tinybert.settings import Settings
from tinybert.signals import Signals, compile_layers, read_signals, record_attention
from tinybert.teacher import TeacherSignals

Term = Literal["attention", "hidden", "embedding", "prediction", "label"]
# What a term's mean is taken over: rows (0), real tokens (1), pairs of them (2).
COUNTED: dict[Term, int] = {
    "attention": 2,
    "hidden": 1,
    "embedding": 1,
    "prediction": 0,
    "label": 0,
}
TRANSFORMER_TERMS: frozenset[Term] = frozenset({"attention", "hidden", "embedding"})
Weights = Mapping[Term, float]


class Loss(Settings):
    """Weights of the terms, in the section `loss` of params.yaml; a stage reads its own."""

    attn_weight: float = Field(default=0.0, ge=0)
    hidden_weight: float = Field(default=0.0, ge=0)
    embedding_weight: float = Field(default=0.0, ge=0)
    prediction_weight: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class Distillation(nn.Module):
    """The student with everything that is trained beside it; its forward pass gives the loss.

    Args:
        student: An encoder, or a sequence classifier where logits are matched.
        weights: The phase's terms and their weights; a term with weight 0 is not computed.
        teacher: None where only gold labels, or stored teacher logits, are matched.
        layers: [g(1), ..., g(M)], from `layer_map.teacher_layers`.
        projection: How hidden states are brought to the teacher's width.
        temperature: For the prediction term.
        regression: Whether logits are one score, matched by squared error.

    Raises:
        InputError: Student and teacher do not fit together.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        weights: Weights,
        teacher: TeacherSignals | None = None,
        layers: list[int] | None = None,
        projection: Projection = "per_layer",
        temperature: float = 1.0,
        regression: bool = False,
    ) -> None:
        super().__init__()
        self.student = student
        self.weights = {term: weight for term, weight in weights.items() if weight}
        self.layers = layers or []
        self.temperature, self.regression = temperature, regression
        self.projections: Projections | None = None
        self._teacher = (teacher,)  # in a tuple, so that it is no part of this module's state
        if self._matches_layers and teacher is not None:
            if "attention" in self.weights:
                require_equal_heads(student.config, teacher.config)
                record_attention(student)
                teacher.record_attention()
            widths = (student.config.hidden_size, teacher.config.hidden_size)
            self.projections = Projections(len(self.layers), *widths, kind=projection)

    @property
    def _matches_layers(self) -> bool:
        return bool(TRANSFORMER_TERMS & self.weights.keys())

    def compile_layers(self) -> None:
        """Let torch.compile make kernels for the layers of student and teacher."""
        compile_layers(self.student)
        if self.teacher is not None:
            self.teacher.compile_layers()

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the weighted sum as `loss`, and each term, unweighted, as `loss/<term>`.

        Args:
            batch: As `batching.collate` makes it. `teacher_logits` in it stand for the teacher's
                pass; `labels` are needed by the label term. Of several processes each has
                `counts`, and its terms are weighed so that their mean is that of the whole batch.
        """
        return self.terms(batch, self._teacher_signals(batch))

    def terms(self, batch: Batch, teacher: Signals) -> dict[str, Tensor]:
        """Return what `forward` does, from a pass of the teacher that has been made."""
        student = read_signals(
            self.student,
            batch,
            attention=range(1, len(self.layers) + 1) if "attention" in self.weights else (),
            hidden=self._matches_layers,
        )
        with torch.autocast(batch["input_ids"].device.type, enabled=False):
            terms: dict[Term, Tensor] = {}
            if self._matches_layers:
                terms |= self._layer_terms(student, teacher, batch["attention_mask"].bool())
            terms |= self._output_terms(student, teacher, batch)
            terms = self._share(terms, batch)
            total = torch.stack([self.weights[term] * terms[term] for term in terms]).sum()
        return {"loss": total} | {f"loss/{term}": terms[term].detach() for term in terms}

    @property
    def teacher(self) -> TeacherSignals | None:
        """What gives the teacher's signals."""
        return self._teacher[0]

    def _teacher_signals(self, batch: Batch) -> Signals:
        if "teacher_logits" in batch and not self._matches_layers:
            return Signals({}, {}, batch["teacher_logits"])
        if self.teacher is None:
            return Signals({}, {})
        return self.teacher.signals(batch, **self.read_of_teacher())

    def read_of_teacher(self) -> dict[str, Any]:
        """Say what the terms read of the teacher, as `Teacher.signals` takes it."""
        attention = self.layers if "attention" in self.weights else []
        return {"attention": attention, "hidden": self._matches_layers}

    def _share(self, terms: dict[Term, Tensor], batch: Batch) -> dict[Term, Tensor]:
        """Weigh each term by what its mean is taken over here, against the whole or the usual.

        Of several processes, this one has a part of the batch. Of batches by tokens, those of long
        rows have fewer: without this a row would count more the longer it is.
        """
        if "per_batch" not in batch and num_processes() == 1:
            return terms
        counts = term_counts(batch, list(terms))
        if "per_batch" in batch:
            whole = torch.stack([batch["per_batch"][COUNTED[term]] for term in terms])
        else:
            whole = sum_over_all(counts)
        factors = shares(counts, whole, num_processes())
        return {term: terms[term] * factor for term, factor in zip(terms, factors, strict=True)}

    def _layer_terms(self, student: Signals, teacher: Signals, mask: Tensor) -> dict[Term, Tensor]:
        """Eq. 11 for layers 0 to M: each term summed over the layers."""
        projections = cast(Projections, self.projections)
        pairs = list(enumerate(self.layers, start=1))  # (m, g(m))
        terms: dict[Term, Tensor] = {}
        if "attention" in self.weights:
            terms["attention"] = torch.stack(
                [attention_loss(student.attention[m], teacher.attention[n], mask) for m, n in pairs]
            ).sum()
        if "hidden" in self.weights:
            terms["hidden"] = torch.stack(
                [
                    hidden_loss(projections.hidden(m, student.hidden[m].float()), t, mask)
                    for m, t in ((m, teacher.hidden[n]) for m, n in pairs)
                ]
            ).sum()
        if "embedding" in self.weights:
            projected = projections.embedding(student.hidden[0].float())
            terms["embedding"] = embedding_loss(projected, teacher.hidden[0], mask)
        return terms

    def _output_terms(self, student: Signals, teacher: Signals, batch: Batch) -> dict[Term, Tensor]:
        terms: dict[Term, Tensor] = {}
        logits_S = cast(Tensor, student.logits)
        if "prediction" in self.weights:
            logits_T = cast(Tensor, teacher.logits)
            terms["prediction"] = (
                regression_loss(logits_S[:, 0], logits_T[:, 0])
                if self.regression
                else prediction_loss(logits_S, logits_T, self.temperature)
            )
        if "label" in self.weights:
            labels = batch["labels"]
            terms["label"] = (
                regression_loss(logits_S[:, 0], labels)
                if self.regression
                else label_loss(logits_S, labels)
            )
        return terms


def term_counts(batch: Batch, terms: Sequence[Term]) -> Tensor:
    """Return what each term's mean is taken over: pairs of real tokens, real tokens, or rows.

    Rows that the batch's `counts` denies count nothing.
    """
    lengths = batch["attention_mask"].sum(dim=1)
    counts = batch.get("counts", torch.ones_like(lengths)).to(lengths.dtype)
    found = (counts.sum(), (lengths * counts).sum(), (lengths.square() * counts).sum())
    return torch.stack([found[COUNTED[term]] for term in terms])


def require_equal_heads(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    """Check that attention can be matched head by head.

    Raises:
        InputError: The numbers of heads differ.
    """
    ours, theirs = student.num_attention_heads, teacher.num_attention_heads
    if ours != theirs:
        raise InputError(
            f"shape.num_attention_heads: attention distillation needs the teacher's {theirs} "
            f"heads, got {ours}; change the student's, or set loss.attn_weight to 0"
        )


def phase_weights(
    terms: Sequence[Term], loss: Loss, factors: Mapping[Any, float] | None = None
) -> dict[Term, float]:
    """Weigh the terms that a system's file names for a phase; the label term always weighs 1.

    Args:
        terms: The phase's terms.
        loss: The weights of params.yaml.
        factors: The system's own, times those; a term left out has 1.
    """
    weights: dict[Term, float] = {
        "attention": loss.attn_weight,
        "hidden": loss.hidden_weight,
        "embedding": loss.embedding_weight,
        "prediction": loss.prediction_weight,
        "label": 1.0,
    }
    weighed = {term: weights[term] * (factors or {}).get(term, 1.0) for term in terms}
    return {term: weight for term, weight in weighed.items() if weight}
