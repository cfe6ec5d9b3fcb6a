"""Put this run's dev scores beside the figures that the paper printed.

A row is a system's own figures, or a published row that it stands for; `source` says which. All
scores are times 100, as the paper prints them; a cell nobody has measured stays empty.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pydantic import BaseModel

from tinybert.reports.results import (
    COLUMN_WORDS,
    TEACHER,
    Results,
    cell_text,
    column_words,
    costs_of,
    speedup_captions,
)
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse, read_yaml
from tinybert.tasks.glue import spelling
from tinybert.tasks.task import DEV, TaskInfo

TEACHERS_ROW = "bert_base"  # the published row that the teacher stands for
OURS, TEST, PUBLISHED_DEV = "ours, dev", "published, test", "published, dev"
PUBLISHED = Path(__file__).parent / "published.yaml"
TABLES = {TEST: "glue_test", PUBLISHED_DEV: "glue_dev"}  # of published.yaml


class GlueColumn(NamedTuple):
    """A column of the paper's table: where its score stands in ours, and its heading."""

    glue: str
    split: str
    metric: str
    words: str


GLUE_COLUMNS = {
    "mnli_m": GlueColumn("mnli", DEV, "accuracy", "MNLI-m"),
    "mnli_mm": GlueColumn("mnli", "dev_mm", "accuracy", "MNLI-mm"),
    "qqp": GlueColumn("qqp", DEV, "f1", "QQP F1"),
    "qnli": GlueColumn("qnli", DEV, "accuracy", "QNLI"),
    "sst2": GlueColumn("sst2", DEV, "accuracy", "SST-2"),
    "cola": GlueColumn("cola", DEV, "matthews", "CoLA"),
    "stsb": GlueColumn("stsb", DEV, "spearman", "STS-B"),
    "mrpc": GlueColumn("mrpc", DEV, "f1", "MRPC F1"),
    "rte": GlueColumn("rte", DEV, "accuracy", "RTE"),
}
COSTS = ("parameters", "gflops", "gflops_printed", "speedup")
SUMMARIES = ("average", "share_of_teacher")
WORDS = {
    **COLUMN_WORDS,
    "gflops_printed": "GFLOPs as printed",
    "average": "average of GLUE's nine",
    **{key: column.words for key, column in GLUE_COLUMNS.items()},
}
FLOPS = (
    "GFLOPs: the encoder's matrix products for one row of 128 tokens, two operations per "
    "multiply-add. As printed: the paper's figures, which are those and one product of the width "
    "with itself at each token. Parameters include the pooler and no classifier."
)
AVERAGE = (
    "Average of GLUE's nine: the paper's rule, the plain mean of exactly MNLI-m, MNLI-mm, QQP "
    "(F1), QNLI, SST-2, CoLA (Matthews), STS-B (Spearman), MRPC (F1) and RTE, accuracy where "
    "nothing is said; a row that lacks one has none. Scores are times 100."
)
SPLITS = (
    "Ours are scores on dev, on which epochs and grid points were chosen; published, test: GLUE's "
    "test set, scored by its leaderboard. They are of different rows."
)


class Shown(BaseModel):
    """What a file of params/systems/ says of its row; its other keys are not read here."""

    published: str | None = None
    note: str | None = None


def read_published() -> dict[str, Any]:
    """Read the figures that the paper printed."""
    return read_yaml(PUBLISHED)


def read_shown(systems: Sequence[str], folder: Path) -> dict[str, Shown]:
    """Read each system's file in a folder, where there is one."""
    found = {}
    for system in systems:
        file = folder / f"{system}.yaml"
        found[system] = parse(Shown, read_yaml(file), str(file)) if file.is_file() else Shown()
    return found


def compare(
    results: Results, infos: Sequence[TaskInfo], shown: Mapping[str, Shown]
) -> pd.DataFrame:
    """Lay out each system's dev scores with the published rows it stands for right below.

    Args:
        results: What was measured.
        infos: The tasks; the first one of a GLUE task has the paper's column, any other task a
            column `<task>/<split>/<metric>` of its own for each dev split.
        shown: What each system's file says of its row.

    Returns:
        One row each, indexed by system, with `source`, the columns of `COSTS`, the speed-up's
        quartiles and protocol, `GLUE_COLUMNS`, the own columns, `average`, `share_of_teacher`
        and the columns `share_over` that it is taken over.
    """
    places = _places(infos)
    rows = [row for system in results.rows for row in _rows_of(system, results, places, shown)]
    scores = list(places)
    numbers = [*COSTS, "speedup_low", "speedup_high", *scores]
    columns = ["system", "source", *numbers, "speedup_protocol"]
    table = pd.DataFrame(rows).reindex(columns=columns)
    table[numbers] = table[numbers].astype(float)
    table["average"] = table[list(GLUE_COLUMNS)].mean(axis=1, skipna=False)
    shares = [
        _share(row, _teachers_row(table, row["source"]), scores) for _, row in table.iterrows()
    ]
    table["share_of_teacher"] = [share for share, _ in shares]
    table["share_over"] = [over for _, over in shares]
    return table.set_index("system")


def _places(infos: Sequence[TaskInfo]) -> dict[str, tuple[str, str, str]]:
    """Return task, split and metric of each score column: the paper's, then the tasks' own."""
    known = {column.glue for column in GLUE_COLUMNS.values()}
    placed: dict[str, str] = {}
    for info in infos:
        if info.glue and spelling(info.glue) in known:
            placed.setdefault(spelling(info.glue), info.name)
    places = {
        key: (placed.get(column.glue, ""), column.split, column.metric)
        for key, column in GLUE_COLUMNS.items()
    }
    for info in infos:
        if info.name not in placed.values():
            own = [(info.name, split, info.metrics[0]) for split in info.eval_splits]
            places |= {"/".join(place): place for place in own if place[1].startswith(DEV)}
    return places


def _rows_of(
    system: str,
    results: Results,
    places: Mapping[str, tuple[str, str, str]],
    shown: Mapping[str, Shown],
) -> Iterator[dict[str, Any]]:
    ours: dict[str, Any] = {"system": system, "source": OURS} | dict(costs_of(results, system))
    for key, (task, split, metric) in places.items():
        found = results.scores.get((system, task))
        value = found.metrics.get(split, {}).get(metric) if found else None
        if value is not None:
            ours[key] = 100 * value
    yield ours
    stands_for = TEACHERS_ROW if system == TEACHER else shown[system].published or system
    published = read_published()
    for source, name in TABLES.items():
        if values := published_row(published[name], stands_for):
            yield {"system": stands_for, "source": source} | values


def published_row(table: Mapping[str, Any], name: str) -> dict[str, float]:
    """Return a published row by our columns; empty where the paper has none.

    Its own average is left out: it is computed from the columns, as ours is.
    """
    values = dict(zip(table["columns"], table["rows"].get(name, []), strict=False))
    row = {key: float(value) for key, value in values.items() if value is not None}
    row.pop("avg", None)
    if "params_m" in row:
        row["parameters"] = row.pop("params_m") * 1e6
    if "gflops" in row:
        row["gflops_printed"] = row.pop("gflops")
    return row


def _teachers_row(table: pd.DataFrame, source: str) -> "pd.Series[Any] | None":
    name = TEACHER if source == OURS else TEACHERS_ROW
    found = table[(table["source"] == source) & (table["system"] == name)]
    return None if found.empty else found.iloc[0]


def _share(
    row: "pd.Series[Any]", teacher: "pd.Series[Any] | None", scores: Sequence[str]
) -> tuple[float, str]:
    """Return a row's mean as a part of the teacher's over the columns that both have."""
    if teacher is None:
        return math.nan, ""
    both = [key for key in scores if pd.notna(row[key]) and pd.notna(teacher[key])]
    best = float(np.mean([teacher[key] for key in both])) if both else 0.0
    if best <= 0:
        return math.nan, ""
    return float(np.mean([row[key] for key in both])) / best, ", ".join(both)


def require_alike(first: pd.DataFrame, other: pd.DataFrame, folder: Path) -> None:
    """Check that two runs were scored by the same metrics.

    Args:
        first: A run's table.
        other: Another's.
        folder: Where that one stands.

    Raises:
        InputError: They were not, so that means would be of different things.
    """
    if differ := sorted(set(first.columns) ^ set(other.columns)):
        raise InputError(
            f"{folder}: runs must have the same metrics, got {', '.join(differ)} in one alone; "
            "name runs of the same task files"
        )


def merge_runs(tables: Sequence[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return each figure's mean over runs of the same systems and tasks, and its spread.

    The spread is the standard deviation of a sample (n - 1). A figure that one run lacks is
    missing; the speed-up's quartiles, which are of one run each, always are.
    """
    first = tables[0]
    numbers = [name for name in first.columns if pd.api.types.is_float_dtype(first[name])]
    values = np.stack([table[numbers].to_numpy(float) for table in tables])
    equal = np.ptp(values, axis=0) == 0  # of which sums would leave a spread in the last digits
    mean, spread = first.copy(), first.copy()
    mean[numbers] = np.where(equal, values[0], values.mean(axis=0))
    spread[numbers] = np.where(equal, 0.0, values.std(axis=0, ddof=1))
    quartiles = ["speedup_low", "speedup_high"]
    mean[quartiles] = spread[quartiles] = math.nan
    return mean, spread[numbers]


def captions(table: pd.DataFrame, shown: Mapping[str, Shown], num_runs: int = 1) -> list[str]:
    """Say how each kind of figure came about, and what a system's file notes."""
    published = read_published()
    ours = table[table["source"] == OURS]
    lines = [f"Ours: mean and standard deviation of {num_runs} runs."] if num_runs > 1 else []
    lines += speedup_captions(ours)
    lines.append(f"Published speed-ups: {published['glue_test']['speedup_protocol']}.")
    lines += [FLOPS, AVERAGE, *_share_captions(table), SPLITS, *_other_metrics(table, published)]
    lines += [f"{system}: {found.note}" for system, found in shown.items() if found.note]
    return [*lines, f"Published: {published['citation']}."]


def _share_captions(table: pd.DataFrame) -> list[str]:
    over: dict[str, list[str]] = {}
    for (system, row), label in zip(table.iterrows(), labels(table), strict=True):
        if row["share_over"] and system not in (TEACHER, TEACHERS_ROW):
            keys = row["share_over"].split(", ")
            words = "GLUE's nine" if keys == list(GLUE_COLUMNS) else ", ".join(map(heading, keys))
            over.setdefault(words, []).append(label)
    return [
        f"Share of teacher, {'; '.join(dict.fromkeys(names))}: the mean of {words} as a part of "
        "the teacher's."
        for words, names in over.items()
    ]


def _other_metrics(table: pd.DataFrame, published: Mapping[str, Any]) -> list[str]:
    """Name the published dev figures in a metric that no column has."""
    lines = []
    for name in dict.fromkeys(table.index[table["source"] == PUBLISHED_DEV]):
        row = published_row(published["glue_dev"], name)
        others = [f"{key.replace('_', ' ')} {row[key]}" for key in row if key not in GLUE_COLUMNS]
        if others:
            lines.append(f"{name}, {PUBLISHED_DEV}, without a column: {', '.join(others)}.")
    return lines


def heading(column: str) -> str:
    """Return a column's heading."""
    return WORDS.get(column) or column_words(column)


def labels(table: pd.DataFrame) -> list[str]:
    """Return what stands before each row, for instance "tinybert4 (published, test)"."""
    return [f"{system} ({source})" for system, source in table["source"].items()]


def as_text(table: pd.DataFrame, spread: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return the table as it is read: headings, rounded figures, a dash where missing."""
    hidden = ("source", "speedup_low", "speedup_high", "speedup_protocol", "share_over")
    columns = [*COSTS, *GLUE_COLUMNS, *SUMMARIES]
    columns += [name for name in table.columns if name not in (*columns, *hidden)]
    spreads = [{} for _ in range(len(table))] if spread is None else spread.to_dict("records")
    shown = {
        heading(column): [
            _cell_text(column, row, float(around.get(column, 0.0)))
            for (_, row), around in zip(table.iterrows(), spreads, strict=True)
        ]
        for column in columns
    }
    return pd.DataFrame(shown, index=pd.Index(labels(table), name="system"))


def _cell_text(column: str, row: "pd.Series[Any]", spread: float) -> str:
    value = float(row[column])
    printed = {"parameters": f"{value / 1e6:g}M", "gflops_printed": f"{value:.1f}"}
    if row["source"] != OURS and column in printed and not math.isnan(value):
        return printed[column]  # no more digits than the paper has
    return cell_text(column, row, 1, spread)


def to_csv(table: pd.DataFrame, spread: pd.DataFrame | None, file: Path) -> None:
    """Write the figures unrounded, spreads as columns `<column>_sd`; missing cells stay empty."""
    if spread is not None:
        extra = {f"{name}_sd": spread[name].to_numpy() for name in spread.columns}
        table = table.assign(**extra)
    table.to_csv(file, lineterminator="\n")
