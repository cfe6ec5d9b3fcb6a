"""The first losses of a training beside those of known good runs."""

from pathlib import Path

import torch

from tinybert.distillation.distillation import Distillation
from tinybert.distillation.terms import HEAD_TERMS, Term, output_terms
from tinybert.doctor.findings import Finding, doubt, right
from tinybert.encoders.signals import Signals
from tinybert.settings.reader import read_yaml
from tinybert.text.batching import collate
from tinybert.text.encoded import SCORED, EncodedRows, Rows

RANGES = Path(__file__).with_suffix(".yaml")
SUMMED_OVER_LAYERS = frozenset({"attention", "attention_probs", "hidden"})
HINTS = {
    "attention": "are the layer map and the teacher right?",
    "attention_probs": "are the layer map and the teacher right?",
    "hidden": "are the layer map, the projection and the teacher right?",
    "embedding": "is it the teacher whose vocabulary the student has?",
    "prediction": "is the teacher fine-tuned for this task?",
    "label": "are the labels the task's?",
}
SAMPLE_ROWS = 1024
# A new head's logits are near 0. Three times the loss of zeros is left for those that are not; a
# score's squared error has no unit to measure by, so 1 is added for a head's own first scatter.
TIMES, SCATTER = 3.0, 1.0
OTHER_HINT = "is this phase's teacher, or student, another one than in the runs known?"
Range = tuple[float, float]


def read_ranges() -> dict[str, dict[str, Range]]:
    """Return the known good ranges: phase -> term -> lowest and highest."""
    return {
        phase: {term: (float(low), float(high)) for term, (low, high) in terms.items()}
        for phase, terms in read_yaml(RANGES).items()
    }


def ranges_for(phase: str, model: object, rows: Rows) -> dict[str, dict[str, Range]]:
    """Return the known good ranges, those of logits widened to what the task's own targets give.

    Scores from 0 to 5, or a hundred classes, start elsewhere than two classes. A phase may start
    from a student that knows the task already, so the lowest is 0.
    """
    ranges = read_ranges()
    if not isinstance(model, Distillation) or not isinstance(rows, EncodedRows):
        return ranges
    known = dict(ranges.get(phase, {}))
    for term, loss in losses_of_zeros(model, rows).items():
        if term in known:
            high = TIMES * loss + SCATTER
            squared = model.kind == "regression"
            known[term] = (0.0, high if squared else max(known[term][1], high))
    return {**ranges, phase: known}


def losses_of_zeros(model: Distillation, rows: EncodedRows) -> dict[str, float]:
    """Return what the terms of logits are for a student that answers some rows with zeros."""
    sample = range(0, len(rows), max(1, len(rows) // SAMPLE_ROWS))
    batch = collate([rows[number] for number in sample], 0)
    target: dict[Term, str] = dict.fromkeys(HEAD_TERMS, "teacher_logits") | {"label": "labels"}
    names = [term for term, of in target.items() if term in model.weights and of in batch]
    if not names:
        return {}
    shape = batch["input_ids"].shape if SCORED in batch else batch["input_ids"].shape[:1]
    zeros = torch.zeros(*shape, int(model.student.config.num_labels))
    teacher = Signals({}, {}, batch.get("teacher_logits", zeros))
    found = output_terms(
        names, Signals({}, {}, zeros), teacher, batch, model.temperature, model.kind
    )
    return {name: float(value) for name, value in found.items()}


def compare(
    phase: str, terms: dict[str, float], num_layers: int, ranges: dict[str, dict[str, Range]]
) -> list[Finding]:
    """Put each term's first value beside its range.

    Args:
        phase: The stage's name.
        terms: `loss/<term>` as measured; unweighted, those of layers summed over them.
        num_layers: Of the student; values and ranges are means over layers.
        ranges: Known good ones, of `ranges_for`.
    """
    known = ranges.get(phase, {})
    shown, doubts = [], []
    for name, value in terms.items():
        _, prefix, term = name.partition("loss/")
        if not prefix:
            continue
        mean = value / max(1, num_layers) if term in SUMMED_OVER_LAYERS else value
        if term not in known:
            shown.append(f"{term} {mean:.3g} (no known range)")
            continue
        low, high = known[term]
        shown.append(f"{term} {mean:.3g} (good: {low:g} to {high:g})")
        if not low <= mean <= high:
            side = "above" if mean > high else "below"
            hint = HINTS.get(term, OTHER_HINT)
            doubts.append(
                doubt(f"first {term} loss {mean:.3g} is {side} {low:g} to {high:g}: {hint}")
            )
    return [right(f"first losses: {', '.join(shown)}"), *doubts] if shown else []
