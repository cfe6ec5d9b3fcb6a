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

from tinybert.reports.comparison import COSTS, OURS, heading
from tinybert.reports.markup import markdown, printable, tex
from tinybert.reports.overview import kept, stage_bars, summaries
from tinybert.reports.results import (
    COLUMN_WORDS,
    MISSING,
    Latency,
    Results,
    as_text,
    captions,
    without_unknown,
)
from tinybert.reports.shown_rows import Example
from tinybert.reports.starts import Start
from tinybert.settings.reader import read_json, read_yaml

HERE = Path(__file__).parent
PUBLISHED = HERE / "published.yaml"
COST_WORDS = [COLUMN_WORDS[name] for name in ("parameters", "gflops", "size_mb", "speedup")]
LATENCY_HEADS = ["batch size", "tokens", "threads", "student ms", "teacher ms", "speed-up"]
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
        submissions: System -> what its GLUE submission lacks; empty if it was packed.
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


def write_tables(name: str, text: pd.DataFrame, notes: Sequence[str], folder: Path) -> None:
    """Write a table as <name>.md and <name>.tex, with its captions, to an existing folder."""
    for kind in ("md", "tex"):
        written = _render(f"table.{kind}.j2", text=text, captions=notes)
        (folder / f"{name}.{kind}").write_text(written, encoding="utf-8")


def read_published() -> dict[str, Any]:
    """Read the figures that the paper printed."""
    return read_yaml(PUBLISHED)


def write_page(report: Report, plots: Path, file: Path) -> None:
    """Write the page, with the SVG figures of `plots` inside it."""
    images = {
        name: base64.b64encode((plots / f"{name}.svg").read_bytes()).decode()
        for name in report.figures
    }
    text = _render(
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
        published_heads=_published_heads,
        published_rows=_published_rows,
        latency_heads=LATENCY_HEADS,
        latency_rows=_latency_rows,
        confusion_rows=_confusion_rows,
    )
    file.write_text(printable(text), encoding="utf-8")


def read_samples(file: Path) -> list[dict[str, Any]]:
    """Read the augmented rows to show, if there are any.

    Raises:
        InputError: The file is no JSON, or a sample lacks its original or its copies.
    """
    if not file.is_file():
        return []
    return [vars(each) for each in read_json(file, Samples, "dvc repro augment").samples]


def _render(template: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=template.endswith(".html.j2"),  # sentences and labels are the user's text
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"tex": tex, "markdown": markdown, "sentence": _sentence}
    return environment.get_template(template).render(**values)


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


def _published_heads(table: Mapping[str, Any]) -> list[str]:
    words = (PUBLISHED_WORDS.get(column, column) for column in table["columns"])
    return ["system", *(word.replace("_", " ") for word in words)]


def _published_rows(table: Mapping[str, Any]) -> list[list[object]]:
    return [
        [system, *(MISSING if value is None else value for value in values)]
        for system, values in table["rows"].items()
    ]


def _latency_rows(latency: Latency) -> list[list[object]]:
    return [
        [
            cell.batch_size,
            cell.sequence_length,
            cell.num_threads,
            f"{cell.student_ms:.2f}",
            f"{cell.teacher_ms:.2f}",
            f"{cell.speedup:.2f}x ({cell.speedup_low:.2f}-{cell.speedup_high:.2f})",
        ]
        for cell in latency.cells
    ]


def _confusion_rows(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> list[list[object]]:
    return [[label, *row] for label, row in zip(labels, counts, strict=True)]
