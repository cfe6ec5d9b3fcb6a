"""Write the result table as Markdown and LaTeX, and the whole report as one HTML page.

The page needs no network and no other file: its figures are inside it.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel

from tinybert.reports.comparison import COSTS, OURS, heading, read_published
from tinybert.reports.markup import fill_template, printable
from tinybert.reports.results import (
    COLUMN_WORDS,
    ENGINE_HEADS,
    EXPORT_HEADS,
    LATENCY_HEADS,
    METRIC_WORDS,
    MISSING,
    PART_METRICS,
    PART_WORDS,
    TEACHER,
    Cell,
    Export,
    Latency,
    Results,
    as_text,
    captions,
    column_words,
    dev_columns,
    without_unknown,
)
from tinybert.reports.shown_rows import Example
from tinybert.reports.starts import Start
from tinybert.settings.reader import read_json

COST_WORDS = [COLUMN_WORDS[name] for name in ("parameters", "gflops", "size_mb", "speedup")]
PUBLISHED_WORDS = {"params_m": "parameters, M", "gflops": "GFLOPs", "speedup": "speed-up"}


class Sample(BaseModel):
    """An augmented row: a text, or the two texts of a pair."""

    original: Any
    copies: list[Any]


class Samples(BaseModel):
    """What is shown of data/augmented/<task>/augmentation.json."""

    samples: list[Sample] = []


@dataclass(frozen=True)
class Report:
    """What the page shows.

    Args:
        profile: Name of the profile that ran.
        results: What was measured.
        table: `build_table` of it, with rows for closed-form starts.
        comparison: Our rows and published ones, as they are read; empty if no task is of GLUE.
        notes: The captions of the comparison.
        figures: Name of each figure -> its title.
        submissions: System -> what its GLUE submission lacks; empty if it was packed. No system
            is there if no task is of GLUE.
        wnli: Where the submission's WNLI predictions come from.
        samples: Task -> augmented rows, each with `original` and `copies`.
        examples: Task -> rows of dev with each model's answer.
        seconds: Stage -> its wall-clock seconds, as far as they were written down.
        starts: System and task -> its closed-form start.
    """

    profile: str
    results: Results
    table: pd.DataFrame
    comparison: pd.DataFrame
    notes: Sequence[str]
    figures: Mapping[str, str]
    submissions: Mapping[str, Sequence[str]]
    wnli: str
    samples: Mapping[str, Sequence[Mapping[str, Any]]]
    examples: Mapping[str, Sequence[Example]]
    seconds: Mapping[str, float]
    starts: Mapping[tuple[str, str], Start]


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


def write_tables(name: str, text: pd.DataFrame, notes: Sequence[str], folder: Path) -> None:
    """Write a table as <name>.md and <name>.tex, with its captions, to an existing folder."""
    for kind in ("md", "tex"):
        written = fill_template(f"table.{kind}.j2", text=text, captions=notes)
        (folder / f"{name}.{kind}").write_text(written, encoding="utf-8")


def write_page(report: Report, plots: Path, file: Path) -> None:
    """Write the page, with the SVG figures of `plots` inside it."""
    images = {
        name: base64.b64encode((plots / f"{name}.svg").read_bytes()).decode()
        for name in report.figures
    }
    text = fill_template(
        "index.html.j2",
        **vars(report),
        systems=report.results.systems,
        tasks=report.results.tasks,
        summaries=summaries(report.results, report.table),
        kept=kept(report.table),
        stages=stage_bars(report.seconds),
        total=sum(report.seconds.values()),
        tables=_halves(as_text(report.table), COST_WORDS),
        comparisons=_halves(report.comparison, list(map(heading, COSTS))),
        captions=captions(report.table),
        ours=[label for label in report.comparison.index if label.endswith(f"({OURS})")],
        images=images,
        published=read_published(),
        published_table=_published_table,
        latency_heads=LATENCY_HEADS,
        engine_heads=ENGINE_HEADS,
        export_heads=EXPORT_HEADS,
        confusion_rows=_confusion_rows,
        parts=parts_tables(report.results),
        sentence=_sentence,
    )
    file.write_text(printable(text), encoding="utf-8")


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
        exports = [results.exports[of] for of in results.exports if of[0] == system]
        facts = _facts(latency, exports) if latency else []
        if words or facts:
            found.append(Summary(system, words, facts))
    return found


def _facts(latency: Latency, exports: Sequence[Export]) -> list[tuple[str, str]]:
    first = latency.cells[0]
    speeds = [
        (f"{cell.speedup:.1f}x as fast", f"{_rows(cell)} of {first.sequence_length} tokens")
        for cell in latency.cells
        if (cell.engine, cell.sequence_length, cell.num_threads)
        == (first.engine, first.sequence_length, first.num_threads)
    ]
    small, large = latency.student.size_mb, latency.teacher.size_mb
    sizes = [(f"{large / small:.1f}x smaller", f"{small:.1f} MB, not {large:.1f}")]
    int8 = [cell for cell in latency.cells if cell.engine == "onnx_int8"]
    if int8 and exports:
        lost = sum(one.chosen.drop for one in exports) / len(exports)
        size = exports[0].chosen.size_mb
        words = f"as ONNX in int8, {_rows(int8[0])} of {int8[0].sequence_length} tokens"
        sizes.append((f"{int8[0].speedup:.1f}x as fast", words))
        change = f"{100 * abs(lost):.1f} points {'lost' if lost >= 0 else 'gained'}"
        sizes.append((f"{large / size:.1f}x smaller", f"{size:.1f} MB in int8, {change}"))
    return [*speeds, *sizes]


def _rows(cell: Cell) -> str:
    return f"{cell.batch_size} row{'s' if cell.batch_size != 1 else ''}"


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


def read_samples(file: Path) -> list[dict[str, Any]]:
    """Read the augmented rows to show, if there are any.

    Raises:
        InputError: The file is no JSON, or a sample lacks its original or its copies.
    """
    if not file.is_file():
        return []
    return [vars(each) for each in read_json(file, Samples, "dvc repro augment").samples]


def _halves(
    text: pd.DataFrame, costs: Sequence[str]
) -> list[tuple[list[object], list[list[object]]]]:
    """Cut a table in two, scores and costs; return heads and rows of each that has figures."""
    known = without_unknown(text)
    first = [name for name in known if name not in costs]
    halves = [known[first], known.drop(columns=first)]
    return [
        (["system", *half], half.replace(MISSING, "").reset_index().values.tolist())
        for half in (half[(half != MISSING).any(axis=1)] for half in halves)
        if len(half.columns)
    ]


def _sentence(value: object) -> str:
    """Show a row, which is a text, or the two texts of a pair."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return " | ".join(str(part) for part in value if part is not None)
    return str(value)


def _published_table(table: Mapping[str, Any]) -> tuple[list[str], list[list[object]]]:
    """Return the heads and the rows of a table of published.yaml."""
    words = (PUBLISHED_WORDS.get(column, column) for column in table["columns"])
    return ["system", *(word.replace("_", " ") for word in words)], [
        [system, *(MISSING if value is None else value for value in values)]
        for system, values in table["rows"].items()
    ]


def parts_tables(results: Results) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Lay out the scores of each label, type or part of a task, the systems side by side.

    Returns:
        By task and split the heads and rows of a table: what it is of, how many there are of it,
        and for each system its scores, times 100.
    """
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for (system, task), scores in results.scores.items():
        for split, parts in scores.parts.items():
            names = [n for n in PART_METRICS if n in next(iter(parts.values()), {})]
            title = f"{task}, {split}: {' / '.join(METRIC_WORDS.get(n, n) for n in names)}"
            heads, rows = found.setdefault(title, ([" ", "number"], []))
            known = {row[0]: row for row in rows}
            for name, values in parts.items():
                shown = PART_WORDS.get(name, name)
                if shown not in known:
                    missing = [MISSING] * (len(heads) - 2)
                    rows.append([shown, f"{values['support']:.0f}", *missing])
                    known[shown] = rows[-1]
                known[shown].append(" / ".join(f"{100 * values[n]:.1f}" for n in names))
            heads.append(system)
            for row in rows:
                row += [MISSING] * (len(heads) - len(row))
    return found


def _confusion_rows(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[list[object]]:
    return [[label, *row] for label, row in zip(labels, counts, strict=True)]
