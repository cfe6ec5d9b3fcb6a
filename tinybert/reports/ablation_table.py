"""Lay out what ablations scored beside the paper's figures: a table, its files, a figure.

Columns are `<task>/<split>/<metric>` on dev, `average`, `difference` (from `full`), and
`published/<column>`. All times 100.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tinybert.core.outputs import replace_file
from tinybert.reports.ablation import FULL, read_published
from tinybert.reports.markup import markdown
from tinybert.reports.plots import COLOURS, TEACHER_COLOUR, draw_figure, put_legend
from tinybert.reports.results import MISSING, TaskScores, column_words

Scores = Mapping[str, TaskScores]  # by task
PAPER = "published/"
# The paper's columns as this project measures them; its table has MRPC's accuracy, not its F1.
PAPER_COLUMNS = {
    "mnli_m": "mnli/dev/accuracy",
    "mnli_mm": "mnli/dev_mm/accuracy",
    "mrpc_accuracy": "mrpc/dev/accuracy",
    "cola": "cola/dev/matthews",
}
PAPER_WORDS = {
    "mnli_m": "paper MNLI-m",
    "mnli_mm": "paper MNLI-mm",
    "mrpc_accuracy": "paper MRPC accuracy",
    "cola": "paper CoLA",
    "avg": "paper avg",
}
CAPTION = (
    "Scores on dev, times 100, one seed. average: plain mean of the score columns of this table, "
    "where MNLI's halves count as one each; the paper's avg is that of its four columns, measured "
    "with TinyBERT4. difference: average minus that of full."
)


def build_table(names: Sequence[str], measured: Mapping[str, Scores]) -> pd.DataFrame:
    """Lay the experiments out, one row each.

    Args:
        names: The rows, in their order.
        measured: Experiment -> its scores; one that is missing has an empty row.
    """
    rows = {name: dict(_scores(measured.get(name, {}))) for name in names}
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns, dtype=float)
    table["average"] = table[columns].mean(axis=1, skipna=False) if columns else math.nan
    full = float(table["average"].get(FULL, math.nan))
    table["difference"] = table["average"] - full
    published = read_published()
    for place, column in enumerate(published.columns):
        found = (published.rows.get(name) for name in names)
        table[PAPER + column] = [math.nan if row is None else row[place] for row in found]
    return table.rename_axis("experiment")


def _scores(tasks: Scores) -> Iterator[tuple[str, float]]:
    for task, scores in tasks.items():
        own = [column for column in PAPER_COLUMNS.values() if column.startswith(f"{task}/")]
        splits = [split for split in scores.metrics if split.startswith("dev")]
        for column in own or [f"{task}/{split}/{scores.main_metric}" for split in splits]:
            _, split, metric = column.split("/")
            yield column, 100 * scores.metrics.get(split, {}).get(metric, math.nan)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as it is read: headings, one digit, a dash where there is nothing."""
    shown = {_words(str(column)): map(_cell, table[column]) for column in table}
    text = pd.DataFrame({words: list(cells) for words, cells in shown.items()}, index=table.index)
    signed = {name: _cell(value, "+") for name, value in table["difference"].items()}
    text["difference"] = pd.Series({**signed, FULL: ""})
    return text


def _words(column: str) -> str:
    if column.startswith(PAPER):
        return PAPER_WORDS[column.removeprefix(PAPER)]
    return column_words(column) if "/" in column else column


def _cell(value: float, sign: str = "") -> str:
    return MISSING if math.isnan(value) else f"{value:{sign}.1f}"


def write_files(table: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Write the table as Markdown and CSV and the differences as PNG and SVG; return the files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    markdown, plain = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.csv")
    with replace_file(markdown) as file:
        file.write_text(_markdown(table, title), encoding="utf-8")
    with replace_file(plain) as file:
        table.round(4).to_csv(file, lineterminator="\n")
    drawn = draw_figure(partial(draw_differences, table=table, title=title), stem)
    kinds = ("png", "svg") if drawn else ()
    return [markdown, plain, *(stem.with_name(f"{stem.name}.{kind}") for kind in kinds)]


def _markdown(table: pd.DataFrame, title: str) -> str:
    text = as_text(table)
    lines = [
        f"# {title}",
        "",
        f"| experiment | {' | '.join(map(markdown, text.columns))} |",
        f"|---|{'---:|' * len(text.columns)}",
        *(f"| {markdown(name)} | {' | '.join(row)} |" for name, row in text.iterrows()),
        "",
        CAPTION,
    ]
    return "\n".join(lines) + "\n"


def draw_differences(figure: Any, table: pd.DataFrame, title: str) -> str:
    """Draw what each ablation costs, ours and the paper's; return the title or nothing."""
    ours = table["difference"].drop(FULL, errors="ignore")
    if not ours.notna().any():
        return ""
    average = table[f"{PAPER}avg"]
    papers = (average - average.get(FULL, math.nan)).drop(FULL, errors="ignore")
    figure.set_size_inches(7, 1.8 + 0.5 * len(ours))
    axes = figure.subplots()
    middles, height = np.arange(len(ours)), 0.38
    kinds = ((ours, "here", COLOURS[0], -0.5), (papers, "paper, TinyBERT4", TEACHER_COLOUR, 0.5))
    for values, label, colour, side in kinds:
        numbers = values.to_numpy(dtype=float)
        places = middles + side * height
        bars = axes.barh(places, np.nan_to_num(numbers), 0.92 * height, label=label, color=colour)
        words = ["" if np.isnan(number) else f"{number:+.1f}" for number in numbers]
        axes.bar_label(bars, words, padding=3, fontsize=9)
    axes.set_yticks(middles, list(ours.index))
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("average minus that of full, times 100")
    axes.grid(axis="x", alpha=0.3)
    return put_legend(figure, title)
