"""Teacher, student, projections and the weighted sum of loss terms (Eq. 11): one engine for all.

A phase is a set of weighted terms. TinyBERT's general and intermediate distillation weigh
attention, hidden and embedding, its prediction distillation prediction; ordinary fine-tuning weighs
label. The other terms are those of the systems it is compared with.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from tinybert.distillation.pooling import matched
from tinybert.distillation.pretraining import Pretraining
from tinybert.distillation.projections import Projections
from tinybert.distillation.teacher import Teacher, TeacherSignals
from tinybert.distillation.terms import (
    ATTENTION_TERMS,
    EQUAL_WIDTH_TERMS,
    LAYER_TERMS,
    PROJECTED_TERMS,
    RELATION_TERMS,
    LayerPair,
    Term,
    counted,
    layer_terms,
    output_terms,
    row_counts,
    term_counts,
)
from tinybert.encoders.signals import (
    Signals,
    ask_for_no_wait,
    compile_layers,
    matches_scores,
    read_signals,
    record_attention,
    record_relations,
)
from tinybert.runtime.errors import InputError
from tinybert.runtime.processes import num_processes, shares, sum_over_all
from tinybert.settings.choices import WEIGHED_BY, Kind, Loss, Projection
from tinybert.settings.systems import Relation, divisors
from tinybert.text.batching import Batch

Weights = Mapping[Term, float]


class Distillation(nn.Module):
    """The student with everything that is trained beside it; its forward pass gives the loss.

    Args:
        student: An encoder, or one with a task's head where logits are matched.
        weights: The phase's terms and their weights; a term with weight 0 is not computed.
        teacher: None where only gold labels, or stored teacher logits, are matched.
        layers: [g(1), ..., g(M)], from `layer_map.teacher_layers`.
        projection: How hidden states are brought to the teacher's width.
        temperature: For the prediction and kl terms.
        kind: Of the task, which says how logits are compared.
        average_heads: Whether attention_probs matches the means over heads.
        pretraining: Heads and hiding of the mlm, mlm_kl and next_sentence terms.
        relation: Whose relations are matched; None: the teacher's last layer's, in 12 heads.

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
        kind: Kind = "classification",
        average_heads: bool = False,
        pretraining: Pretraining | None = None,
        relation: Relation | None = None,
    ) -> None:
        super().__init__()
        self.student, self.pretraining = student, pretraining
        self.weights = {term: weight for term, weight in weights.items() if weight}
        self.layers = layers or []
        self.temperature, self.kind = temperature, kind
        self.average_heads, self.relation = average_heads, relation
        self.projections: Projections | None = None
        self._teacher = (teacher,)  # in a tuple, so that it is no part of this module's state
        ask_for_no_wait(student)
        if self._matches_layers and teacher is not None:
            if ATTENTION_TERMS & self.weights.keys():
                if not (average_heads and "attention" not in self.weights):
                    require_equal_heads(student.config, teacher.config)
                record_attention(student)
                teacher.record_attention()
            if RELATION_TERMS & self.weights.keys():
                self.relation = relation or Relation(teacher.config.num_hidden_layers)
                widths = record_relations(student), teacher.record_relations()
                require_relation_heads(*widths, self.relation.heads)
            if EQUAL_WIDTH_TERMS & self.weights.keys():
                require_equal_widths(student.config, teacher.config)
            if "patient" in self.weights and len(self.layers) < 2:
                raise InputError(
                    "prediction_distill.terms: patient matches all layers but the last, got a "
                    "student of 1 layer; make it deeper, or remove the term"
                )
            if PROJECTED_TERMS & self.weights.keys():
                widths = (student.config.hidden_size, teacher.config.hidden_size)
                self.projections = Projections(len(self.layers), *widths, kind=projection)

    @property
    def _matches_layers(self) -> bool:
        return bool(LAYER_TERMS & self.weights.keys())

    @property
    def _reads_hidden(self) -> bool:
        return self._matches_layers or self.pretraining is not None

    @property
    def _pairs(self) -> list[LayerPair]:
        return list(enumerate(self.layers, start=1))

    @property
    def _attention_layers(self) -> list[int]:
        return self.layers if ATTENTION_TERMS & self.weights.keys() else []

    def train(self, mode: bool = True) -> "Distillation":
        """Change the mode, if it is another: the Trainer asks in each step, over all modules."""
        if self.training != mode or self.student.training != mode:
            super().train(mode)
        return self

    @property
    def _matches_relations(self) -> bool:
        return bool(RELATION_TERMS & self.weights.keys())

    def compile_layers(self) -> None:
        """Let torch.compile make kernels for the layers of student and teacher."""
        compile_layers(self.student)
        if self.teacher is not None:
            self.teacher.compile_layers()

    @property
    def can_be_captured(self) -> bool:
        """Whether a pass asks the same of a device for every batch of one shape.

        Hidden words and scored tokens are looked for by the host, stored states are read by it.
        """
        live = self.teacher is None or isinstance(self.teacher, Teacher)
        return live and self.pretraining is None and self.kind != "tokens"

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the weighted sum as `loss`, and each term, unweighted, as `loss/<term>`.

        Args:
            batch: As `batching.collate` makes it. `teacher_logits` in it stand for the teacher's
                pass; `labels` are needed by the label term. Of several processes each has
                `counts`, and its terms are weighed so that their mean is that of the whole batch.
        """
        if self.pretraining is not None:
            batch = self.pretraining.hide(batch)
        return self.terms(batch, self._teacher_signals(batch))

    def terms(self, batch: Batch, teacher: Signals) -> dict[str, Tensor]:
        """Return what `forward` does, from a pass of the teacher that has been made."""
        student = read_signals(
            self.student,
            batch,
            attention=range(1, len(self._attention_layers) + 1),
            hidden=self._reads_hidden,
            relations=[len(self.layers)] if self._matches_relations else (),
        )
        found = {} if self.pretraining is None else self.pretraining.predict(student, batch)
        with torch.autocast(batch["input_ids"].device.type, enabled=False):
            terms: dict[Term, Tensor] = {}
            ours, mask = matched(student, batch)
            terms |= layer_terms(
                self.weights,
                ours,
                teacher,
                mask,
                self._pairs,
                self.average_heads,
                self.projections,
                self.relation,
            )
            if self.pretraining is not None:
                terms |= cast(dict[Term, Tensor], self.pretraining.losses(found, teacher, batch))
            terms |= output_terms(
                self.weights, student, teacher, batch, self.temperature, self.kind
            )
            values = torch.stack(list(terms.values())) * self._shares(list(terms), batch)
            total = torch.stack(
                [self.weights[term] * value for term, value in zip(terms, values, strict=True)]
            ).sum()
        each = zip(terms, values.detach(), strict=True)
        return {"loss": total} | {f"loss/{term}": value for term, value in each}

    @property
    def teacher(self) -> TeacherSignals | None:
        """What gives the teacher's signals."""
        return self._teacher[0]

    def _teacher_signals(self, batch: Batch) -> Signals:
        if "teacher_logits" in batch and not self._matches_layers:
            return Signals({}, {}, batch["teacher_logits"])
        if self.teacher is None:
            return Signals({}, {})
        found = self.teacher.signals(batch, **self.read_of_teacher())
        # Of a teacher with other tokens its stored logits are read, placed at the student's.
        return replace(found, logits=batch.get("teacher_logits", found.logits))

    def read_of_teacher(self) -> dict[str, Any]:
        """Say what the terms read of the teacher, as `Teacher.signals` takes it."""
        relations = [self.relation.layer] if self._matches_relations and self.relation else []
        return {
            "attention": self._attention_layers,
            "hidden": self._reads_hidden,
            "relations": relations,
        }

    def _shares(self, terms: Sequence[Term], batch: Batch) -> Tensor | float:
        """Weigh each term by what its mean is taken over here, against the whole or the usual.

        Of several processes, this one has a part of the batch. Of batches by tokens, those of long
        rows have fewer: without this a row would count more the longer it is.
        """
        if "per_batch" not in batch and num_processes() == 1:
            return 1.0
        counts = self._counts(batch, terms)
        if "per_batch" in batch:
            whole = torch.stack([batch["per_batch"][counted(term, self.kind)] for term in terms])
        else:
            whole = sum_over_all(counts)
        return shares(counts, whole, num_processes())

    def _counts(self, batch: Batch, terms: Sequence[Term]) -> Tensor:
        if self.pretraining is None:
            return term_counts(batch, terms, self.kind)
        drawn = self.pretraining.counts(batch, row_counts(batch))
        return torch.stack(
            [drawn[term] if term in drawn else term_counts(batch, [term])[0] for term in terms]
        )


def require_equal_widths(student: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    """Check that hidden states can be compared without a projection.

    Raises:
        InputError: The widths differ.
    """
    ours, theirs = student.hidden_size, teacher.hidden_size
    if ours != theirs:
        raise InputError(
            f"shape.hidden_size: the terms cosine and patient need the teacher's width {theirs}, "
            f"got {ours}; change the student's, or use the term hidden, which has a projection"
        )


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


def require_relation_heads(student: int, teacher: int, heads: int) -> None:
    """Check that queries, keys and values of both can be cut into as many relation heads.

    Args:
        student: How wide the student's are, heads joined.
        teacher: How wide the teacher's are.
        heads: Of relations.

    Raises:
        InputError: They cannot.
    """
    if student % heads or teacher % heads:
        fit = divisors(math.gcd(student, teacher))
        raise InputError(
            f"relation_heads: must divide the student's width {student} and the teacher's "
            f"{teacher}, got {heads}; write one of {fit}"
        )


def phase_weights(
    terms: Sequence[Term], loss: Loss, factors: Mapping[Any, float] | None = None
) -> dict[Term, float]:
    """Weigh the terms that a system's file names for a phase.

    Attention, before or after the softmax, relations, hidden, embedding, and what matches the
    teacher's predictions have a weight in params.yaml; the others' is 1.

    Args:
        terms: The phase's terms.
        loss: The weights of params.yaml.
        factors: The system's own, times those; a term left out has 1.
    """
    weights: dict[str, float] = {term: getattr(loss, key) for term, key in WEIGHED_BY.items()}
    weighed = {term: weights.get(term, 1.0) * (factors or {}).get(term, 1.0) for term in terms}
    return {term: weight for term, weight in weighed.items() if weight}


def matched_weights(
    weights: Weights, teacher: PreTrainedModel, place: str = ""
) -> dict[Term, float]:
    """Match relations in place of attention where a teacher's scores are more than Q K^T.

    Args:
        weights: The phase's terms.
        teacher: The model.
        place: The stage, which says so in one line; empty: nothing is said.
    """
    asked = sorted(ATTENTION_TERMS & weights.keys())
    if not asked or matches_scores(teacher):
        return dict(weights)
    if place:
        print(
            f"{place}: matches relations of queries, keys and values instead of "
            f"{' and '.join(asked)}, whose scores of a {teacher.config.model_type} teacher have "
            "more in them than its queries and keys",
            flush=True,
        )
    kept = {term: weight for term, weight in weights.items() if term not in asked}
    return {**kept, "relations": max(weights[term] for term in asked)}
