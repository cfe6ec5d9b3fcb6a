"""Read what `evaluate`, `export` and `benchmark_latency` wrote, and lay it out as one table.

A row is a system, the teacher first; a cell nobody has measured stays empty. Columns are
`parameters`, `gflops`, `size_mb`, `speedup` with its quartiles and its protocol, one
`<task>/<split>/<metric>` per labelled split, `average` and `share_of_teacher`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from tinybert.runtime.errors import InputError
from tinybert.settings.reader import read_json
from tinybert.tasks.task import SplitName, TaskInfo

TEACHER = "teacher"
FIRST_ENGINE = "pytorch_fp32"
LATENCY_HEADS = [
    *("engine", "batch size", "tokens", "threads", "median ms", "95% within ms", "rows/s"),
    *("teacher ms", "speed-up"),
]
ENGINE_HEADS = ["engine", "weights MB", "peak memory MB"]
EXPORT_HEADS = ["int8 by", "size MB", "score", "points lost (95% interval)", "same answer"]
MISSING = "\N{EN DASH}"
AVERAGE = (
    "Average: plain mean of every task's main metric on its dev splits, where MNLI's matched and "
    "mismatched halves count as one column each; a row that lacks one has no average. "
    "Share: this average as a part of the teacher's. Scores are times 100."
)
PROTOCOL = ("precision", "device", "processor", "torch", "num_repeats")  # what a caption says
METRIC_WORDS = {
    "f1": "F1",
    "f1_macro": "macro F1",
    "f1_micro": "micro F1",
    "matthews": "Matthews",
    "entity_f1": "entity F1",
    "entity_precision": "entity precision",
    "entity_recall": "entity recall",
    "squad_f1": "answer F1",
    "exact_match": "exact match",
}
# What the parts of a score are, in the order in which a cell has them.
PART_METRICS = ("precision", "recall", "f1", "squad_f1", "exact_match")
PART_WORDS = {"HasAns": "with an answer", "NoAns": "without one"}
SPLIT_WORDS = {"dev_mm": "dev mismatched", "test_mm": "test mismatched"}
COLUMN_WORDS = {
    "parameters": "parameters",
    "gflops": "GFLOPs",
    "size_mb": "size MB",
    "speedup": "speed-up",
    "average": "average",
    "share_of_teacher": "share of teacher",
}
# Scale, digits and unit of a column as it is read; any other one is a score.
FORMATS = {
    "gflops": (1, 2, ""),
    "gflops_printed": (1, 2, ""),
    "size_mb": (1, 1, ""),
    "speedup": (1, 1, "x"),
    "share_of_teacher": (100, 1, "%"),
}

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")]  # of a metric
Score = Annotated[float, Field(ge=-1, le=1)]
Figure = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TaskScores(BaseModel):
    """reports/metrics/<system>/<task>.json; scores are fractions."""

    system: str | None = None  # older files lack it, and the task
    task: str | None = None
    main_metric: Name
    metrics: dict[SplitName, dict[Name, Score]]  # by labelled split, then by metric
    undefined: dict[str, list[str]] = {}  # by split: what its gold values give no score for
    num_rows: dict[str, int] = {}
    confusion: dict[str, list[list[int]]] = {}  # by split; rows are gold labels
    confusion_labels: list[str] = []  # of its rows and columns; older files lack it: the labels
    parts: dict[str, dict[str, dict[str, float]]] = {}  # by split and label, type or part
    labels: list[str] = []

    @model_validator(mode="after")
    def _fits_itself(self) -> "TaskScores":
        for split, found in self.metrics.items():
            if self.main_metric not in (*found, *self.undefined.get(split, [])):
                raise ValueError(f"metrics.{split} must hold the main metric {self.main_metric}")
        for split, rows in self.confusion.items():
            names = self.confusion_labels or self.labels
            if {len(names)} != {len(rows), *map(len, rows)}:
                raise ValueError(
                    f"confusion.{split} must have a row and a column for each of the "
                    f"{len(names)} labels"
                )
        return self


class Cost(BaseModel):
    """What a model costs without a clock."""

    parameters: int
    gflops: Figure | None = None
    gflops_printed: Figure | None = None  # as the paper prints it; older files lack it
    size_mb: Figure


class Cell(BaseModel):
    """One measurement of student and teacher side by side, the student in one engine."""

    engine: str = FIRST_ENGINE  # older files lack it, and what has a default below
    batch_size: int
    sequence_length: int | Literal["task"]  # task: rows of its dev split, as they are
    tokens: Figure | None = None  # mean length of the padded batches
    num_threads: int
    student_ms: Figure
    student_p95_ms: Figure | None = None
    teacher_ms: Figure
    rows_per_second: Figure | None = None
    speedup: Figure
    speedup_low: Figure
    speedup_high: Figure


class EngineCost(BaseModel):
    """What an engine needs."""

    peak_mb: Figure  # of a process that does nothing else, on the greatest batch
    size_mb: Figure | None = None  # of an ONNX file


class Latency(BaseModel):
    """reports/latency/<system>.json; the first cell is the one that stands in the table."""

    system: str | None = None
    protocol: dict[str, Any]
    student: Cost
    teacher: Cost
    engines: dict[str, EngineCost] = {}  # and the teacher's
    cells: list[Cell] = Field(min_length=1)

    def rows(self) -> list[list[object]]:
        """Return each cell as it is read, under `LATENCY_HEADS`."""
        return [
            [
                engine_words(cell.engine),
                cell.batch_size,
                f"{cell.tokens:.0f} (task)"
                if cell.tokens and cell.sequence_length == "task"
                else cell.sequence_length,
                cell.num_threads,
                f"{cell.student_ms:.2f}",
                f"{cell.student_p95_ms:.2f}" if cell.student_p95_ms else MISSING,
                f"{cell.rows_per_second:,.0f}" if cell.rows_per_second else MISSING,
                f"{cell.teacher_ms:.2f}",
                f"{cell.speedup:.2f}x ({cell.speedup_low:.2f}-{cell.speedup_high:.2f})",
            ]
            for cell in self.cells
        ]

    def engine_rows(self) -> list[list[object]]:
        """Return what each engine needs as it is read, under `ENGINE_HEADS`."""
        sizes = {TEACHER: self.teacher.size_mb}
        return [
            [
                engine_words(name),
                f"{cost.size_mb or sizes.get(name, self.student.size_mb):.1f}",
                f"{cost.peak_mb:,.0f}",
            ]
            for name, cost in self.engines.items()
        ]


class Float32(BaseModel):
    """The student as ONNX in float32."""

    score: Score  # on dev
    largest_difference: float  # of a logit, from PyTorch's
    size_mb: Figure


class Int8(BaseModel):
    """The student as ONNX in int8, beside float32."""

    name: str  # of the calibration
    score: Score
    drop: float  # of the score, and its 95% interval
    drop_low: float
    drop_high: float
    agreement: float | None
    size_mb: Figure


class Export(BaseModel):
    """reports/export/<system>-<task>.json of a student that is exported."""

    system: str | None = None
    task: str | None = None
    metric: Name
    num_rows: int
    float32: Float32
    int8: list[Int8]
    chosen: Int8

    def rows(self) -> list[list[object]]:
        """Return each calibration as it is read, under `EXPORT_HEADS`."""
        return [
            [
                f"{one.name}{', kept' if one.name == self.chosen.name else ''}",
                f"{one.size_mb:.1f}",
                f"{100 * one.score:.1f}",
                f"{100 * one.drop:.1f} ({100 * one.drop_low:.1f} to {100 * one.drop_high:.1f})",
                MISSING if one.agreement is None else f"{100 * one.agreement:.1f}%",
            ]
            for one in self.int8
        ]


class NoExport(BaseModel):
    """The file of a system that says `export: false`."""

    model_config = ConfigDict(extra="forbid")
    system: str | None = None
    task: str | None = None


@dataclass(frozen=True)
class Results:
    """Everything measured of the systems and tasks of one run."""

    systems: list[str]  # without the teacher
    tasks: list[str]
    scores: dict[tuple[str, str], TaskScores] = field(default_factory=dict)  # by row and task
    latency: dict[str, Latency] = field(default_factory=dict)  # by system
    exports: dict[tuple[str, str], Export] = field(default_factory=dict)  # by system and task

    @property
    def rows(self) -> list[str]:
        """The teacher, then the systems in their order."""
        return [TEACHER, *self.systems]


def read_results(systems: Sequence[str], tasks: Sequence[str], reports: Path) -> Results:
    """Read the files of the named systems and tasks; one that does not exist is left out.

    Raises:
        InputError: A file is there and cannot be understood.
    """
    results = Results(list(systems), list(tasks))
    for row in results.rows:
        for task in tasks:
            file = reports / "metrics" / row / f"{task}.json"
            if file.is_file():
                stage = "finetune_teacher" if row == TEACHER else "evaluate"
                results.scores[row, task] = _own(file, TaskScores, stage, system=row, task=task)
    for system in systems:
        file = reports / "latency" / f"{system}.json"
        if file.is_file():
            results.latency[system] = _own(file, Latency, "benchmark_latency", system=system)
        for task in tasks:
            file = reports / "export" / f"{system}-{task}.json"
            if file.is_file():
                found = _own(file, Export | NoExport, "export", system=system, task=task)
                if isinstance(found, Export):
                    results.exports[system, task] = found
    return results


def _own(file: Path, kind: Any, stage: str, **places: str) -> Any:
    """Read a file that a stage wrote for this system and task, and not for others."""
    found = read_json(file, kind, f"dvc repro {stage}")
    for key, place in places.items():
        said = getattr(found, key)
        if said not in (None, place):
            raise InputError(
                f"{file}: must be of {key} {place}, got {said}; it is a copy: delete it and run "
                f"`dvc repro {stage}`"
            )
    return found


def require_prepared(results: Results, infos: Sequence[TaskInfo]) -> None:
    """Check that scores are of the tasks as they are prepared now.

    Raises:
        InputError: Metric, labels or rows differ; one line for each file.
    """
    known = {info.name: info for info in infos}
    problems = []
    for (row, task), scores in results.scores.items():
        info = known[task]
        rows = {split: num for split, num in info.num_rows.items() if split in scores.num_rows}
        pairs = (
            ("main_metric", scores.main_metric, info.metrics[0]),
            ("labels", scores.labels or info.labels, info.labels),
            ("num_rows", scores.num_rows, rows),
        )
        for key, measured, prepared in pairs:
            if measured != prepared:
                problems.append(
                    f"metrics/{row}/{task}.json: {key} must be {prepared} as in task.json of "
                    f"{task}, got {measured}; run `dvc repro`"
                )
    if problems:
        raise InputError(*problems)


def build_table(results: Results) -> pd.DataFrame:
    """Lay the results out, one row per system; see this module's docstring for the columns."""
    rows = {}
    for row in results.rows:
        rows[row] = dict(costs_of(results, row))
        for task in results.tasks:
            rows[row] |= _task_scores(results, row, task)
    table = pd.DataFrame(rows).T
    costs = ["parameters", "gflops", "size_mb", "speedup", "speedup_low", "speedup_high"]
    scores = score_columns(results)
    table = table.reindex(columns=[*costs, "speedup_protocol", *scores])
    numbers = [*costs, *scores]
    table[numbers] = table[numbers].astype(float)
    dev = dev_columns(table)
    table["average"] = table[dev].mean(axis=1, skipna=False) if dev else math.nan
    best = float(table["average"].iloc[0])
    table["share_of_teacher"] = table["average"] / best if best > 0 else math.nan
    return table.rename_axis("system")


def dev_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of scores on dev splits."""
    names = [str(column) for column in table if "/" in str(column)]
    return [name for name in names if name.split("/")[1].startswith("dev")]


def score_columns(results: Results) -> list[str]:
    """Name each task's labelled splits with their main metric."""
    columns: list[str] = []
    for task in results.tasks:
        names = [column for row in results.rows for column in _task_scores(results, row, task)]
        columns += dict.fromkeys(names or [f"{task}/dev/score"])
    return columns


def _task_scores(results: Results, row: str, task: str) -> dict[str, float]:
    found = results.scores.get((row, task))
    if found is None:
        return {}
    main = found.main_metric
    return {f"{task}/{split}/{main}": of.get(main, math.nan) for split, of in found.metrics.items()}


def costs_of(results: Results, row: str) -> Iterator[tuple[str, object]]:
    """Return a row's size and speed by column, as far as they were measured."""
    measured = next(iter(results.latency.values()), None)
    if row == TEACHER:
        if measured is not None:
            yield from measured.teacher.model_dump().items()
            yield "speedup", 1.0  # by definition
        return
    latency = results.latency.get(row)
    if latency is not None:
        yield from latency.student.model_dump().items()
        first = latency.cells[0]
        yield from first.model_dump(include={"speedup", "speedup_low", "speedup_high"}).items()
        yield "speedup_protocol", protocol_text(latency.protocol, first)


def protocol_text(protocol: dict[str, Any], cell: Cell) -> str:
    """Say in one line how a speed-up was measured."""
    threads = "thread" if cell.num_threads == 1 else "threads"
    how = {key: protocol.get(key, f"unknown {key.replace('_', ' ')}") for key in PROTOCOL}
    other = f"{engine_words(cell.engine)} beside the teacher's "
    engine = "" if cell.engine == FIRST_ENGINE else other
    return (
        f"batch size {cell.batch_size}, {cell.sequence_length} tokens, {cell.num_threads} {threads}"
        f", {engine}{how['precision']}, {how['device']} ({how['processor']}), "
        f"torch {how['torch']}, median and quartiles of {how['num_repeats']} paired runs"
    )


def engine_words(name: str) -> str:
    """Return an engine's name as it is read, for instance "ONNX int8"."""
    return name.replace("pytorch_", "PyTorch ").replace("onnx_", "ONNX ")


def write_table(table: pd.DataFrame, file: Path) -> None:
    """Write the table as CSV; an unmeasured cell stays empty."""
    table.to_csv(file, lineterminator="\n")


def read_table(file: Path) -> pd.DataFrame:
    """Read a table back that `write_table` wrote.

    Raises:
        InputError: There is none.
    """
    if not file.is_file():
        raise InputError(f"{file}: no results, got nothing there; run `dvc repro report`")
    needed = {"system", "speedup_low", "speedup_high", "speedup_protocol", *COLUMN_WORDS}
    try:
        table = pd.read_csv(file, dtype={"system": str, "speedup_protocol": object})
        if missing := sorted(needed - set(table.columns)):
            raise ValueError(f"no columns {', '.join(missing)}")
        numbers = [str(name) for name in table if name not in ("system", "speedup_protocol")]
        table[numbers] = table[numbers].astype(float)
    except ValueError as error:
        raise InputError(
            f"{file}: no result table, got {error}; delete it and run `dvc repro report`"
        ) from error
    return table.set_index("system")


def captions(table: pd.DataFrame) -> list[str]:
    """Say how the speed-ups were measured, and what the average is of."""
    return [*speedup_captions(table), AVERAGE]


def speedup_captions(table: pd.DataFrame) -> list[str]:
    """Say how the speed-ups were measured, once for all systems measured alike."""
    by_protocol: dict[str, list[str]] = {}
    for system, protocol in table["speedup_protocol"].dropna().items():
        by_protocol.setdefault(protocol, []).append(str(system))
    return [
        f"Speed-up of {', '.join(systems)} over the teacher: {protocol}."
        for protocol, systems in by_protocol.items()
    ]


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as it is read: headings, rounded figures, a dash where unmeasured."""
    hidden = {"speedup_low", "speedup_high", "speedup_protocol"}
    shown = {
        column_words(column): [cell_text(column, row) for _, row in table.iterrows()]
        for column in table.columns
        if column not in hidden
    }
    return pd.DataFrame(shown, index=table.index)


def without_unknown(text: pd.DataFrame) -> pd.DataFrame:
    """Leave out the columns of a table as it is read that no row has a figure in."""
    return text.loc[:, (text != MISSING).any()]


def column_words(column: str) -> str:
    """Return a column's heading, for instance "mrpc F1 dev"."""
    if "/" not in column:
        return COLUMN_WORDS[column]
    task, split, metric = column.split("/")
    return f"{task} {METRIC_WORDS.get(metric, metric)} {SPLIT_WORDS.get(split, split)}"


def cell_text(
    column: str, row: "pd.Series[Any]", score_scale: int = 100, spread: float = 0.0
) -> str:
    """Return a figure as it is read: rounded, with its spread or the speed-up's quartiles."""
    value = float(row[column])
    if math.isnan(value):
        return MISSING
    if column == "parameters":
        return f"{value / 1e6:.2f}M"
    scale, digits, unit = FORMATS.get(column, (score_scale, 1, ""))
    text = f"{scale * value:.{digits}f}{unit}"
    if spread:
        return f"{text} \N{PLUS-MINUS SIGN} {scale * spread:.{digits}f}"
    if column == "speedup" and not math.isnan(row["speedup_low"]):
        return f"{text} ({row['speedup_low']:.1f}-{row['speedup_high']:.1f})"
    return text
