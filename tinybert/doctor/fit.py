"""Whether student and teacher fit together: heads, layers, widths, vocabulary."""

from typing import Any

import torch
from transformers import PreTrainedModel

from tinybert.distillation.distillation import (
    Weights,
    matched_weights,
    require_equal_heads,
    require_equal_widths,
    require_relation_heads,
)
from tinybert.distillation.projections import Projections
from tinybert.distillation.terms import (
    ATTENTION_TERMS,
    EQUAL_WIDTH_TERMS,
    LAYER_TERMS,
    PROJECTED_TERMS,
    RELATION_TERMS,
)
from tinybert.doctor.findings import Finding, as_findings, doubt, right
from tinybert.encoders.checkpoints import require_vocabulary
from tinybert.settings.choices import Projection
from tinybert.settings.layer_map import LayerMap, teacher_layers
from tinybert.settings.systems import MatchesRelations, Relation, Shape

# A tokenizer with numbers that the model has no embedding for is wrong.
vocabulary_fits = as_findings(require_vocabulary)


def fit(
    student: Any,
    teacher: Any,
    weights: Weights,
    layers: list[int],
    projection: Projection,
    average_heads: bool = False,
    relation: Relation | None = None,
) -> list[Finding]:
    """Look at heads, layer map and widths.

    Args:
        student: Its configuration, or the shape in the system's file.
        teacher: Its configuration.
        weights: The phase's terms.
        layers: [g(1), ..., g(M)].
        projection: Kind of W_h.
        average_heads: Whether attention_probs matches the means over heads.
        relation: Whose relations are matched, if they are.
    """
    if not LAYER_TERMS & weights.keys():
        return []
    found: list[Finding] = []
    if PROJECTED_TERMS & weights.keys():
        found += _widths(student, teacher, layers, projection)
    if EQUAL_WIDTH_TERMS & weights.keys():
        found += _equal_widths(student, teacher)
    if ATTENTION_TERMS & weights.keys() and not (average_heads and "attention" not in weights):
        found += _heads(student, teacher)
    if RELATION_TERMS & weights.keys() and relation is not None:
        found += _relation_heads(student, teacher, relation.heads)
    shown = " ".join(f"{m}<-{n}" for m, n in enumerate(layers, start=1))
    if layers == sorted(layers):
        return [*found, right(f"layers {shown}")]
    return [*found, doubt(f"layer map: not ascending, {shown}")]


@as_findings
def fit_by_map(
    student: Any,
    teacher: Any,
    weights: Weights,
    layer_map: LayerMap,
    projection: Projection,
    average_heads: bool = False,
    relation: Relation | None = None,
) -> list[Finding]:
    """Look at the same, from the layer map that a system's file names."""
    layers = teacher_layers(layer_map, student.num_hidden_layers, teacher.num_hidden_layers)
    return fit(student, teacher, weights, layers, projection, average_heads, relation)


@as_findings
def relations_fit(
    student: Any, teacher: PreTrainedModel, weights: Weights, phase: MatchesRelations
) -> list[Finding]:
    """Look at which of the teacher's relations are matched, if any are, and in how many heads."""
    if not RELATION_TERMS & matched_weights(weights, teacher).keys():
        return []
    relation = phase.relation(teacher.config.num_hidden_layers)
    return _relation_heads(student, teacher.config, relation.heads)


@as_findings
def _heads(student: Any, teacher: Any) -> list[Finding]:
    require_equal_heads(student, teacher)
    return [right(f"{student.num_attention_heads} heads")]


@as_findings
def _relation_heads(student: Any, teacher: Any, heads: int) -> list[Finding]:
    require_relation_heads(_joined_width(student), _joined_width(teacher), heads)
    return [right(f"{heads} relation heads")]


def _joined_width(of: Any) -> int:
    """Return how wide a shape's or a configuration's queries are, heads joined."""
    if isinstance(of, Shape):
        return of.attention_width
    return int(getattr(of, "true_hidden_size", None) or of.hidden_size)


@as_findings
def _equal_widths(student: Any, teacher: Any) -> list[Finding]:
    require_equal_widths(student, teacher)
    return [right(f"{student.hidden_size} wide, as the teacher")]


@as_findings
def _widths(student: Any, teacher: Any, layers: list[int], projection: Projection) -> list[Finding]:
    widths = (student.hidden_size, teacher.hidden_size)
    with torch.device("meta"):
        Projections(len(layers), *widths, kind=projection)
    how = "as it is" if projection == "identity" else projection.replace("_", " ")
    return [right(f"width {widths[0]} to {widths[1]} {how}")]
