"""Teacher, student, projections and the weighted sum of loss terms (Eq. 11): one engine for all.

A phase is a set of weighted terms. General and intermediate distillation weigh attention, hidden
and embedding; prediction distillation weighs prediction; ordinary fine-tuning weighs label.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

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
from tinybert.settings import Settings
from tinybert.signals import Signals, read_signals, record_attention

Term = Literal["attention", "hidden", "embedding", "prediction", "label"]
TRANSFORMER_TERMS: frozenset[Term] = frozenset({"attention", "hidden", "embedding"})
Projection = Literal["per_layer", "shared", "identity"]
Weights = Mapping[Term, float]
Batch = dict[str, Tensor]


class Loss(Settings):
    """Weights of the terms, in the section `loss` of params.yaml; a stage reads its own."""

    attn_weight: float = Field(default=0.0, ge=0)
    hidden_weight: float = Field(default=0.0, ge=0)
    embedding_weight: float = Field(default=0.0, ge=0)
    prediction_weight: float = Field(default=0.0, ge=0)
    temperature: float = Field(default=1.0, gt=0)


class Teacher:
    """A frozen model: in eval mode, without gradients, no part of what is trained or saved.

    Args:
        model: The pretrained or fine-tuned model.
        dtype: Its weights' dtype; None leaves float32.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        if dtype is not None:
            self.model.to(dtype)

    @property
    def num_layers(self) -> int:
        """N."""
        return int(self.model.config.num_hidden_layers)

    def signals(self, batch: Batch, *, attention: bool) -> Signals:
        """Run the teacher on the batch's device, without gradients."""
        device = batch["input_ids"].device
        if self.model.device != device:
            self.model.to(device)
        with torch.no_grad():
            return read_signals(self.model, batch, attention=attention)


class Projections(nn.Module):
    """W_h and W_e: the student's width to the teacher's (Eq. 8 and 9). Never in the saved student.

    Args:
        num_layers: M, the student's layers.
        width_S: The student's width.
        width_T: The teacher's width.
        kind: One W_h per layer, one for all layers, or none where the widths are equal.

    Raises:
        InputError: "identity" with unequal widths.
    """

    def __init__(self, num_layers: int, width_S: int, width_T: int, kind: Projection) -> None:
        super().__init__()
        if kind == "identity" and width_S != width_T:
            raise InputError(
                f"projection: identity needs equal widths, got student {width_S} and teacher "
                f"{width_T}; write per_layer or shared"
            )
        if kind == "identity":
            self.embedding_projection: nn.Module = nn.Identity()
            self.hidden_projection = nn.ModuleList([nn.Identity()])
        else:
            num_matrices = num_layers if kind == "per_layer" else 1
            self.embedding_projection = nn.Linear(width_S, width_T, bias=False)
            self.hidden_projection = nn.ModuleList(
                nn.Linear(width_S, width_T, bias=False) for _ in range(num_matrices)
            )

    def hidden(self, layer: int, hidden_S: Tensor) -> Tensor:
        """Project the output of student layer `layer`, counted from 1."""
        index = layer - 1 if len(self.hidden_projection) > 1 else 0
        return cast(Tensor, self.hidden_projection[index](hidden_S))

    def embedding(self, embedding_S: Tensor) -> Tensor:
        """Project the student's embedding output."""
        return cast(Tensor, self.embedding_projection(embedding_S))

    def save(self, file: Path) -> None:
        """Write the matrices, for the next phase to go on from."""
        save_file(self.state_dict(), file)

    def load(self, file: Path) -> bool:
        """Go on from an earlier phase's matrices, if they are there and fit; say whether."""
        state = load_file(file) if file.is_file() else {}
        ours = self.state_dict()
        fits = {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in ours.items()}
        if fits and state:
            self.load_state_dict(state)
        return fits and bool(state)


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
        teacher: Teacher | None = None,
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
                require_equal_heads(student, teacher.model)
                record_attention(student)
                record_attention(teacher.model)
            widths = (student.config.hidden_size, teacher.model.config.hidden_size)
            self.projections = Projections(len(self.layers), *widths, kind=projection)

    @property
    def _matches_layers(self) -> bool:
        return bool(TRANSFORMER_TERMS & self.weights.keys())

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return the weighted sum as `loss`, and each term, unweighted, as `loss/<term>`.

        Args:
            batch: As `batching.collate` makes it. `teacher_logits` in it stand for the teacher's
                pass; `labels` are needed by the label term. Of several processes each has
                `counts`, and its terms are weighed so that their mean is that of the whole batch.
        """
        attention = "attention" in self.weights
        student = read_signals(self.student, batch, attention=attention)
        teacher = self._teacher_signals(batch, attention)
        with torch.autocast(student.hidden[0].device.type, enabled=False):
            terms: dict[Term, Tensor] = {}
            if self._matches_layers:
                terms |= self._layer_terms(student, teacher, batch["attention_mask"].bool())
            terms |= self._output_terms(student, teacher, batch)
            if num_processes() > 1:
                counts = term_counts(batch, list(terms))
                factors = shares(counts, sum_over_all(counts), num_processes())
                terms = {t: terms[t] * factor for t, factor in zip(terms, factors, strict=True)}
            total = torch.stack([self.weights[term] * terms[term] for term in terms]).sum()
        return {"loss": total} | {f"loss/{term}": terms[term].detach() for term in terms}

    def _teacher_signals(self, batch: Batch, attention: bool) -> Signals:
        if "teacher_logits" in batch and not self._matches_layers:
            return Signals([], (), batch["teacher_logits"])
        (teacher,) = self._teacher
        if teacher is None:
            return Signals([], ())
        return teacher.signals(batch, attention=attention)

    def _layer_terms(self, student: Signals, teacher: Signals, mask: Tensor) -> dict[Term, Tensor]:
        """Eq. 11 for layers 0 to M: each term summed over the layers."""
        projections = cast(Projections, self.projections)
        pairs = list(enumerate(self.layers, start=1))  # (m, g(m))
        terms: dict[Term, Tensor] = {}
        if "attention" in self.weights:
            terms["attention"] = torch.stack(
                [attention_loss(student.scores(m), teacher.scores(n), mask) for m, n in pairs]
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
    per_row = {"attention": lengths.square(), "hidden": lengths, "embedding": lengths}
    return torch.stack([(per_row.get(term, counts) * counts).sum() for term in terms])


def require_equal_heads(student: PreTrainedModel, teacher: PreTrainedModel) -> None:
    """Check that attention can be matched head by head.

    Raises:
        InputError: The numbers of heads differ.
    """
    ours, theirs = student.config.num_attention_heads, teacher.config.num_attention_heads
    if ours != theirs:
        raise InputError(
            f"shape.num_attention_heads: attention distillation needs the teacher's {theirs} "
            f"heads, got {ours}; change the student's, or set loss.attn_weight to 0"
        )


def phase_weights(terms: Sequence[Term], loss: Loss) -> dict[Term, float]:
    """Weigh the terms that a system's file names for a phase; the label term always weighs 1."""
    weights: dict[Term, float] = {
        "attention": loss.attn_weight,
        "hidden": loss.hidden_weight,
        "embedding": loss.embedding_weight,
        "prediction": loss.prediction_weight,
        "label": 1.0,
    }
    return {term: weights[term] for term in terms if weights[term]}
