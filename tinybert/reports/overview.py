"""Say in a few figures what a run kept of the teacher, what it won, and where the time went."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from tinybert.reports.results import TEACHER, Latency, Results, column_words, dev_columns


@dataclass(frozen=True)
class Bar:
    """A bar of a chart, its width in percent of the widest that there can be."""

    name: str
    width: float
    text: str


@dataclass(frozen=True)
class Summary:
    """A student's figures, in words; what was not measured is left out.

    Args:
        system: The student.
        share: Of the teacher's average score, for instance "96.7%"; empty if it is not known.
        facts: Big words and small words, for instance ("6.1x as fast", "32 rows of 64 tokens").
    """

    system: str
    share: str
    facts: Sequence[tuple[str, str]]


def summaries(results: Results, table: pd.DataFrame) -> list[Summary]:
    """Sum up each student that was measured at all.

    Args:
        results: What was measured.
        table: `results.build_table` of it.
    """
    found = []
    for system in results.systems:
        share = float(table["share_of_teacher"][system])
        words = "" if pd.isna(share) else f"{100 * share:.1f}%"
        latency = results.latency.get(system)
        facts = _facts(latency) if latency else []
        if words or facts:
            found.append(Summary(system, words, facts))
    return found


def _facts(latency: Latency) -> list[tuple[str, str]]:
    shortest = min(cell.sequence_length for cell in latency.cells)
    speeds = [
        (f"{cell.speedup:.1f}x as fast", f"{_rows(cell.batch_size)} of {shortest} tokens")
        for cell in latency.cells
        if cell.sequence_length == shortest
    ]
    small, large = latency.student.size_mb, latency.teacher.size_mb
    return [*speeds, (f"{large / small:.1f}x smaller", f"{small:.1f} MB, not {large:.1f}")]


def _rows(number: int) -> str:
    return "1 row" if number == 1 else f"{number} rows"


def kept(table: pd.DataFrame) -> dict[str, list[Bar]]:
    """Return the bars of each dev column that has a teacher's score: what each row kept of it.

    Bars are as wide as the score is of the best row's; a negative one is empty.
    """
    charts = {}
    for column in dev_columns(table):
        scores = table[column].dropna()
        teacher = float(scores.get(TEACHER, 0.0))
        if teacher > 0:
            best = float(scores.max())
            charts[column_words(column)] = [
                Bar(str(row), 100 * max(value, 0) / best, _kept_text(row, value, teacher))
                for row, value in scores.items()
            ]
    return charts


def _kept_text(row: object, score: float, teacher: float) -> str:
    own = f"{100 * score:.1f}"
    return own if row == TEACHER else f"{own} ({100 * score / teacher:.0f}% of the teacher's)"


def stage_bars(seconds: Mapping[str, float]) -> list[Bar]:
    """Return a bar for each stage, as wide as its seconds are of the longest stage's."""
    most = max(seconds.values(), default=0.0) or 1.0
    return [Bar(name, 100 * value / most, f"{value:.0f} s") for name, value in seconds.items()]
