"""The terms of a phase by name, computed from one pass of student and teacher."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, cast

import torch
from torch import Tensor

from tinybert.distillation.losses import (
    attention_loss,
    attention_probs_loss,
    cosine_loss,
    embedding_loss,
    hidden_loss,
    kl_loss,
    label_loss,
    patient_loss,
    prediction_loss,
    regression_loss,
)
from tinybert.distillation.projections import Projections
from tinybert.encoders.signals import Signals
from tinybert.text.batching import Batch

Term = Literal[
    "attention",
    "hidden",
    "embedding",
    "attention_probs",
    "cosine",
    "patient",
    "mlm",
    "mlm_kl",
    "next_sentence",
    "prediction",
    "kl",
    "label",
]
# What a term's mean is taken over: rows (0), real tokens (1), pairs of them (2). What the terms of
# `Pretraining` are averaged over is drawn with each batch, and counted there.
COUNTED: dict[Term, int] = {
    "attention": 2,
    "hidden": 1,
    "embedding": 1,
    "attention_probs": 1,
    "cosine": 1,
    "patient": 0,
    "prediction": 0,
    "kl": 0,
    "label": 0,
}
ATTENTION_TERMS: frozenset[Term] = frozenset({"attention", "attention_probs"})
PROJECTED_TERMS: frozenset[Term] = frozenset({"hidden", "embedding"})
EQUAL_WIDTH_TERMS: frozenset[Term] = frozenset({"cosine", "patient"})
# Terms that compare a classifier's logits with the teacher's.
TEACHERS_LOGITS: dict[Term, Callable[[Tensor, Tensor, float], Tensor]] = {
    "prediction": prediction_loss,
    "kl": kl_loss,
}
TEACHER_OUTPUT_TERMS: frozenset[Term] = frozenset({"mlm_kl", *TEACHERS_LOGITS})
LAYER_TERMS = ATTENTION_TERMS | PROJECTED_TERMS | EQUAL_WIDTH_TERMS
LayerPair = tuple[int, int]  # (m, g(m)), counted from 1


def reads_teacher(names: Collection[Term]) -> bool:
    """Say whether any of the terms compares with a teacher's pass."""
    return bool((LAYER_TERMS | TEACHER_OUTPUT_TERMS) & set(names))


def layer_terms(
    names: Collection[Term],
    student: Signals,
    teacher: Signals,
    mask: Tensor,
    pairs: Sequence[LayerPair],
    average_heads: bool,
    projections: Projections | None,
) -> dict[Term, Tensor]:
    """Return the terms that match layers.

    Attention's and hidden are summed over the layers, as in Eq. 11; patient is averaged over all
    but the last, which is left to the classifiers (PKD-skip); cosine is the last layer's. Hidden
    and embedding (Eq. 8 and 9) need the projections.
    """
    terms: dict[Term, Tensor] = {}
    if "attention" in names:
        terms["attention"] = torch.stack(
            [attention_loss(student.attention[m], teacher.attention[n], mask) for m, n in pairs]
        ).sum()
    if "attention_probs" in names:
        terms["attention_probs"] = torch.stack(
            [
                attention_probs_loss(s, t, mask, average_heads)
                for s, t in ((student.attention[m], teacher.attention[n]) for m, n in pairs)
            ]
        ).sum()
    if "cosine" in names:
        last_S, last_T = pairs[-1]
        terms["cosine"] = cosine_loss(student.hidden[last_S], teacher.hidden[last_T], mask)
    if "patient" in names:
        terms["patient"] = torch.stack(
            [patient_loss(student.hidden[m][:, 0], teacher.hidden[n][:, 0]) for m, n in pairs[:-1]]
        ).mean()
    if "hidden" in names and projections is not None:
        terms["hidden"] = torch.stack(
            [
                hidden_loss(projections.hidden(m, student.hidden[m].float()), t, mask)
                for m, t in ((m, teacher.hidden[n]) for m, n in pairs)
            ]
        ).sum()
    if "embedding" in names and projections is not None:
        projected = projections.embedding(student.hidden[0].float())
        terms["embedding"] = embedding_loss(projected, teacher.hidden[0], mask)
    return terms


def output_terms(
    names: Collection[Term],
    student: Signals,
    teacher: Signals,
    batch: Batch,
    temperature: float,
    regression: bool,
) -> dict[Term, Tensor]:
    """Return the terms of logits; of a regression's scores, squared errors."""
    terms: dict[Term, Tensor] = {}
    logits_S, logits_T = cast(Tensor, student.logits), cast(Tensor, teacher.logits)
    for name, loss in TEACHERS_LOGITS.items():
        if name in names:
            terms[name] = (
                regression_loss(logits_S[:, 0], logits_T[:, 0])
                if regression
                else loss(logits_S, logits_T, temperature)
            )
    if "label" in names:
        labels = batch["labels"]
        terms["label"] = (
            regression_loss(logits_S[:, 0], labels) if regression else label_loss(logits_S, labels)
        )
    return terms


def term_counts(batch: Batch, terms: Sequence[Term]) -> Tensor:
    """Return what each term's mean is taken over: pairs of real tokens, real tokens, or rows.

    Rows that the batch's `counts` denies count nothing.
    """
    lengths, counts = batch["attention_mask"].sum(dim=1), row_counts(batch)
    found = (counts.sum(), (lengths * counts).sum(), (lengths.square() * counts).sum())
    return torch.stack([found[COUNTED[term]] for term in terms])


def row_counts(batch: Batch) -> Tensor:
    """Return 1 for each row of a batch, 0 for those that its `counts` denies; shape (batch,)."""
    ones = torch.ones(len(batch["input_ids"]), dtype=torch.long, device=batch["input_ids"].device)
    return batch.get("counts", ones).to(ones.dtype)
