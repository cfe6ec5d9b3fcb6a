"""The terms of a phase by name, computed from one pass of student and teacher."""

from collections.abc import Callable, Collection, Sequence
from functools import reduce
from operator import add
from typing import Literal, NamedTuple, cast

import torch
from torch import Tensor

from tinybert.distillation.losses import (
    attention_loss,
    attention_probs_loss,
    binary_kl_loss,
    binary_prediction_loss,
    cosine_loss,
    embedding_loss,
    hidden_loss,
    kl_loss,
    label_loss,
    patient_loss,
    prediction_loss,
    regression_loss,
    relations_loss,
    several_labels_loss,
)
from tinybert.distillation.pooling import matched_lengths
from tinybert.distillation.projections import Projections
from tinybert.encoders.signals import QueryKey, Signals
from tinybert.runtime import precision
from tinybert.settings.choices import Kind
from tinybert.settings.systems import Relation
from tinybert.text.batching import Batch
from tinybert.text.encoded import SCORED

Term = Literal[
    "attention",
    "hidden",
    "embedding",
    "attention_probs",
    "relations",
    "cosine",
    "patient",
    "mlm",
    "mlm_kl",
    "next_sentence",
    "prediction",
    "kl",
    "label",
]
# What a term's mean is taken over: 0: rows; 1: real tokens; 2: pairs of them; 3: scored tokens, for
# terms of logits where each word has some. Where layers are matched at units, these count in place
# of tokens. What the terms of `Pretraining` are averaged over is drawn and counted with each batch.
COUNTED: dict[Term, int] = {
    "attention": 2,
    "hidden": 1,
    "embedding": 1,
    "attention_probs": 1,
    "relations": 1,
    "cosine": 1,
    "patient": 0,
    "prediction": 0,
    "kl": 0,
    "label": 0,
}
ATTENTION_TERMS: frozenset[Term] = frozenset({"attention", "attention_probs"})
RELATION_TERMS: frozenset[Term] = frozenset({"relations"})
PROJECTED_TERMS: frozenset[Term] = frozenset({"hidden", "embedding"})
EQUAL_WIDTH_TERMS: frozenset[Term] = frozenset({"cosine", "patient"})
# Terms that compare a head's logits with the teacher's.
TEACHERS_LOGITS: tuple[Term, ...] = ("prediction", "kl")
TEACHER_OUTPUT_TERMS: frozenset[Term] = frozenset({"mlm_kl", *TEACHERS_LOGITS})
HEAD_TERMS: frozenset[Term] = frozenset({"label", *TEACHERS_LOGITS})
LOWEST = -1e4  # a logit without probability; finite, so that it may meet a probability of 0
LAYER_TERMS = ATTENTION_TERMS | RELATION_TERMS | PROJECTED_TERMS | EQUAL_WIDTH_TERMS
LayerPair = tuple[int, int]  # (m, g(m)), counted from 1


class HeadLosses(NamedTuple):
    """How a kind of task compares logits: with the teacher's, by two terms, and with labels."""

    prediction: Callable[[Tensor, Tensor, float], Tensor]
    kl: Callable[[Tensor, Tensor, float], Tensor]
    label: Callable[[Tensor, Tensor], Tensor]


def _scores(logits_S: Tensor, logits_T: Tensor, temperature: float) -> Tensor:
    return regression_loss(logits_S[:, 0], logits_T[:, 0])


OF_CLASSES = HeadLosses(prediction_loss, kl_loss, label_loss)
HEAD_LOSSES: dict[Kind, HeadLosses] = {
    "classification": OF_CLASSES,
    "regression": HeadLosses(
        _scores, _scores, lambda logits, values: regression_loss(logits[:, 0], values)
    ),
    "multilabel": HeadLosses(binary_prediction_loss, binary_kl_loss, several_labels_loss),
    "tokens": OF_CLASSES,
    "span": OF_CLASSES,
}


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
    relation: Relation | None = None,
) -> dict[Term, Tensor]:
    """Return the terms that match layers.

    Attention's and hidden are summed over the layers, as in Eq. 11; patient is averaged over all
    but the last, which is left to the classifiers (PKD-skip); cosine is the last layer's. Hidden
    and embedding (Eq. 8 and 9) need the projections. Relations are of the student's last layer.
    """
    terms: dict[Term, Tensor] = {}
    if "attention" in names:
        terms["attention"] = _summed(
            pairs,
            mask,
            lambda some, masks: attention_loss(*_attention_of(student, teacher, some), masks),
        )
    if "attention_probs" in names:
        terms["attention_probs"] = _summed(
            pairs,
            mask,
            lambda some, masks: attention_probs_loss(
                *_attention_of(student, teacher, some), masks, average_heads
            ),
        )
    if "relations" in names and relation is not None:
        ours, theirs = student.relations[len(pairs)], teacher.relations[relation.layer]
        terms["relations"] = relations_loss(ours, theirs, mask, relation.heads)
    if "cosine" in names:
        last_S, last_T = pairs[-1]
        terms["cosine"] = cosine_loss(student.hidden[last_S], teacher.hidden[last_T], mask)
    if "patient" in names:
        terms["patient"] = torch.stack(
            [patient_loss(student.hidden[m][:, 0], teacher.hidden[n][:, 0]) for m, n in pairs[:-1]]
        ).mean()
    if "hidden" in names and projections is not None:

        def hidden_of(some: Sequence[LayerPair], masks: Tensor) -> Tensor:
            hidden_S = _joined([student.hidden[m].float() for m, _ in some])
            hidden_T = _joined([teacher.hidden[n] for _, n in some])
            return hidden_loss(
                projections.hidden_of_layers([m for m, _ in some], hidden_S), hidden_T, masks
            )

        terms["hidden"] = _summed(pairs, mask, hidden_of)
    if "embedding" in names and projections is not None:
        projected = projections.embedding(student.hidden[0].float())
        terms["embedding"] = embedding_loss(projected, teacher.hidden[0], mask)
    return terms


def _summed(
    pairs: Sequence[LayerPair],
    mask: Tensor,
    loss: Callable[[Sequence[LayerPair], Tensor], Tensor],
) -> Tensor:
    """Sum a loss over layers: one after another on a CPU, elsewhere all at once, as further rows.

    M times the mean over the rows of M layers is the sum of the layers' means. A CPU takes twice as
    long for that at 128 tokens, since what it works on leaves its caches.

    Args:
        pairs: The layers.
        mask: Of real tokens, shape (batch, tokens).
        loss: Of some pairs' rows, one layer's after another's, and of their masks.
    """
    alone = precision.reads_at_once(mask.device)
    groups = [[pair] for pair in pairs] if alone else [pairs]
    return reduce(add, [len(some) * loss(some, mask.repeat(len(some), 1)) for some in groups])


def _attention_of(
    student: Signals, teacher: Signals, pairs: Sequence[LayerPair]
) -> tuple[QueryKey, QueryKey]:
    return (
        _joined_attention([student.attention[m] for m, _ in pairs]),
        _joined_attention([teacher.attention[n] for _, n in pairs]),
    )


def _joined_attention(layers: Sequence[QueryKey]) -> QueryKey:
    queries, keys, scalings = zip(*layers, strict=True)
    if len(set(scalings)) > 1:
        raise ValueError(f"attention: layers scale their scores differently, got {scalings}")
    return QueryKey(_joined(queries), _joined(keys), scalings[0])


def _joined(layers: Sequence[Tensor]) -> Tensor:
    """Put one layer's rows after another's; a layer alone stays as it is."""
    return layers[0] if len(layers) == 1 else torch.cat(list(layers))


def output_terms(
    names: Collection[Term],
    student: Signals,
    teacher: Signals,
    batch: Batch,
    temperature: float,
    kind: Kind,
) -> dict[Term, Tensor]:
    """Return the terms of logits: of a kind of task, by its losses."""
    asked = [name for name in (*TEACHERS_LOGITS, "label") if name in names]
    if not asked:
        return {}
    logits_S, losses = compared(cast(Tensor, student.logits), batch, kind), HEAD_LOSSES[kind]
    if not len(logits_S):  # no word of the batch is scored
        return {name: cast(Tensor, student.logits).sum() * 0 for name in asked}
    terms: dict[Term, Tensor] = {}
    if set(TEACHERS_LOGITS) & set(asked):
        logits_T = compared(cast(Tensor, teacher.logits), batch, kind)
        for name in TEACHERS_LOGITS:
            if name in asked:
                terms[name] = getattr(losses, name)(logits_S, logits_T, temperature)
    if "label" in asked:
        labels = batch["labels"]
        labels = labels[batch[SCORED]] if kind == "tokens" else labels
        terms["label"] = losses.label(logits_S, labels.flatten() if kind == "span" else labels)
    return terms


def compared(logits: Tensor, batch: Batch, kind: Kind) -> Tensor:
    """Lay out logits so that each row is one choice.

    Args:
        logits: Shape (batch, outputs), or (batch, tokens, outputs) where tokens have some.
        batch: With `SCORED`, the tokens that count, where tokens have logits.
        kind: Of the task.

    Returns:
        Of tokens the scored ones' logits, shape (words, outputs); of span, for each row the choice
        of its answer's first and of its last token, shape (2 batch, tokens); others as they are.
    """
    if kind == "tokens":
        return logits[batch[SCORED]]
    if kind == "span":
        return logits.masked_fill(~batch[SCORED][..., None], LOWEST).mT.flatten(0, 1)
    return logits


def counted(term: Term, kind: Kind) -> int:
    """Return what a term's mean is taken over, by its place in `term_counts`."""
    return 3 if kind == "tokens" and term in HEAD_TERMS else COUNTED[term]


def term_counts(batch: Batch, terms: Sequence[Term], kind: Kind = "classification") -> Tensor:
    """Return what each term's mean is taken over, as `COUNTED` says.

    Rows that the batch's `counts` denies count nothing.
    """
    lengths, counts = matched_lengths(batch), row_counts(batch)
    found = [counts.sum(), (lengths * counts).sum(), (lengths.square() * counts).sum()]
    if SCORED in batch:
        found.append((batch[SCORED].sum(dim=1) * counts).sum())
    return torch.stack([found[counted(term, kind)] for term in terms])


def row_counts(batch: Batch) -> Tensor:
    """Return 1 for each row of a batch, 0 for those that its `counts` denies; shape (batch,)."""
    ones = torch.ones(len(batch["input_ids"]), dtype=torch.long, device=batch["input_ids"].device)
    return batch.get("counts", ones).to(ones.dtype)
