"""The first losses of a training beside those of known good runs."""

from pathlib import Path

from tinybert.doctor.findings import Finding, doubt, right
from tinybert.settings import read_yaml

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
OTHER_HINT = "is this phase's teacher, or student, another one than in the runs known?"
Range = tuple[float, float]


def read_ranges(file: Path = RANGES) -> dict[str, dict[str, Range]]:
    """Return the known good ranges: phase -> term -> lowest and highest."""
    found = read_yaml(file)
    return {
        phase: {term: (float(low), float(high)) for term, (low, high) in terms.items()}
        for phase, terms in found.items()
    }


def compare(
    phase: str,
    terms: dict[str, float],
    num_layers: int,
    ranges: dict[str, dict[str, Range]] | None = None,
) -> list[Finding]:
    """Put each term's first value beside its range.

    Args:
        phase: The stage's name.
        terms: `loss/<term>` as measured; unweighted, those of layers summed over them.
        num_layers: Of the student; values and ranges are means over layers.
        ranges: Known good ones; None: those of `first_losses.yaml`.
    """
    known = (read_ranges() if ranges is None else ranges).get(phase, {})
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
