"""Draw the report's figures, each as PNG and as SVG."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import track

from tinybert.reports.results import TEACHER, column_words, engine_words
from tinybert.runtime.errors import InputError, in_one_line

MOST_POINTS = 300  # per curve; more cannot be told apart and swell the page
# Okabe and Ito's colours, which colour-blind readers can tell apart; the teacher is grey.
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#000000",
    "#8C6BB1",
    "#A6761D",
    "#882255",
    "#44AA99",
)
TEACHER_COLOUR = "#8A8A8A"
DASHES = ("-", "--", ":")  # once the colours are used up
STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "tinybert",  # the same figures give the same bytes
}


@dataclass(frozen=True)
class Curves:
    """The logged losses of one phase, for one figure.

    Args:
        name: The figure's file name.
        title: What stands above it.
        runs: Label of a curve -> its log, with the columns `step` and one per term.
    """

    name: str
    title: str
    runs: Mapping[str, pd.DataFrame]


def training_curves(systems: Sequence[str], tasks: Sequence[str], folder: Path) -> list[Curves]:
    """Read the logs of reports/training; a phase that trained nothing has no figure.

    Teachers share a figure, and so does the general phase of all systems; the task phases have
    one figure per system, with a curve per task.
    """
    teachers, general = ({name: name for name in names} for names in (tasks, systems))
    figures = [
        _curves("fetch_teacher", "Masked-word head of the teacher", folder, {"teacher": "mlm"}),
        _curves("finetune_teacher", "Fine-tuning of the teacher", folder, teachers),
        _curves("general_distill", "General distillation", folder, general),
    ]
    for system in systems:
        for stage in ("intermediate_distill", "prediction_distill"):
            words = stage.replace("_distill", " distillation").capitalize()
            files = {task: f"{system}-{task}" for task in tasks}
            figures.append(_curves(stage, f"{words} of {system}", folder, files, system))
    return [figure for figure in figures if figure.runs]


def _curves(
    stage: str, title: str, folder: Path, names: Mapping[str, str], system: str = ""
) -> Curves:
    files = {label: folder / stage / f"{name}.csv" for label, name in names.items()}
    runs = {label: _read_log(file) for label, file in files.items() if file.is_file()}
    trained = {label: log for label, log in runs.items() if len(log)}
    return Curves(f"loss_{stage}_{system}".rstrip("_"), title, trained)


def _read_log(file: Path) -> pd.DataFrame:
    try:
        log = pd.read_csv(file)
        if {"step", "loss"} <= set(log.columns):
            log = log.astype(float)
    except (ValueError, UnicodeDecodeError) as error:
        reason = in_one_line(error)
        raise InputError(
            f"{file}: no training log, got {reason}; delete it and run `dvc repro`"
        ) from error
    if not {"step", "loss"} <= set(log.columns):
        raise InputError(
            f"{file}: no training log, got columns {', '.join(map(str, log.columns))}; needed are "
            "step and loss"
        )
    return log


def draw_all(
    table: pd.DataFrame, points: pd.DataFrame, curves: Sequence[Curves], folder: Path
) -> dict[str, str]:
    """Draw every figure that has something to show.

    Args:
        table: Of `results.build_table`.
        points: Of `front.measured_points`.
        curves: Of `training_curves`.
        folder: Where `<name>.png` and `<name>.svg` are written; must exist.

    Returns:
        Name of each figure -> what it shows, in the order of the report.
    """
    drawings: dict[str, Callable[[Any], str]] = {
        "scores": partial(draw_scores, table=table),
        "score_and_latency": partial(draw_score_and_latency, table=table, points=points),
        "score_and_size": partial(draw_score_and_size, table=table),
        **{phase.name: partial(draw_curves, phase=phase) for phase in curves},
    }
    shown = {}
    for name, draw in track(drawings.items(), "drawing", transient=True):
        if title := draw_figure(draw, folder / name):
            shown[name] = title
    return shown


def draw_figure(draw: Callable[[Any], str], path: Path) -> str:
    """Write `<path>.png` and `<path>.svg`, unless there is nothing to show.

    Args:
        draw: Draws into a figure and returns its title, or nothing.
        path: Without ending.

    Returns:
        The title, or nothing.
    """
    with _figure() as figure:
        title = draw(figure)
        if title:  # a name may have dots
            figure.savefig(path.with_name(f"{path.name}.png"), dpi=130)
            figure.savefig(path.with_name(f"{path.name}.svg"), metadata={"Date": None})
    return title


def draw_scores(figure: Any, table: pd.DataFrame) -> str:
    """Draw a bar per system for every task, the teacher's first; return the title or nothing."""
    columns = [column for column in table.columns if "/" in column and table[column].notna().any()]
    if not columns:
        return ""
    figure.set_size_inches(7, 1.6 + len(columns) * (0.35 + 0.2 * len(table)))
    kinds = {
        row: (colour, 100 * table.loc[row, columns].to_numpy(dtype=float))
        for row, (colour, _) in _styles(table).items()
    }
    axes = draw_bars(figure, list(map(column_words, columns)), kinds, 0.8 / len(table))
    axes.margins(x=0.1, y=0.4 / len(columns) / (1 + len(table)))
    axes.set_xlabel("score, times 100")
    axes.grid(axis="x", alpha=0.3)
    return put_legend(figure, "Scores per task")


def draw_bars(
    figure: Any,
    names: Sequence[str],
    kinds: Mapping[str, tuple[str, NDArray[np.float64]]],
    height: float,
    sign: str = "",
) -> Any:
    """Draw a group of bars with their figures for each name; return the axes.

    Args:
        figure: To draw into.
        names: Of the groups, from top to bottom.
        kinds: Label of a bar in each group -> its colour and its value by group.
        height: Of a bar; that of a group is 1.
        sign: "+" for figures with a sign.
    """
    axes = figure.subplots()
    middles = np.arange(len(names))
    for number, (label, (colour, values)) in enumerate(kinds.items()):
        places = middles + (number - (len(kinds) - 1) / 2) * height
        bars = axes.barh(places, np.nan_to_num(values), 0.92 * height, label=label, color=colour)
        words = ["" if np.isnan(value) else f"{value:{sign}.1f}" for value in values]
        axes.bar_label(bars, words, padding=3, fontsize=9)
    axes.set_yticks(middles, names)
    axes.invert_yaxis()
    return axes


def draw_score_and_latency(figure: Any, table: pd.DataFrame, points: pd.DataFrame) -> str:
    """Draw average score over milliseconds in each engine; return the title or nothing.

    The Pareto front is a line: no other point is as good and faster. A point below it is beaten.
    """
    if points.empty:
        return ""
    protocols = table["speedup_protocol"].dropna().unique()
    how = protocols[0] if len(protocols) == 1 else "several protocols, see the result table"
    figure.set_size_inches(7, 5.2)
    axes = figure.subplots()
    colours = {row: colour for row, (colour, _) in _styles(table).items()}
    markers = dict(zip(dict.fromkeys(points["engine"]), "osD^vP", strict=False))
    front = points[points["front"]].sort_values("ms")
    look: dict[str, Any] = {
        "drawstyle": "steps-post",
        "color": "#555555",
        "lw": 1.2,
        "ls": "--",
        "zorder": 1,
    }
    axes.plot(front["ms"], 100 * front["score"], label="Pareto front", **look)
    for _, point in points.iterrows():
        system, engine = str(point["system"]), str(point["engine"])
        look = {"marker": markers[engine], "color": colours[system]}
        look |= {"markeredgecolor": "black", "markeredgewidth": 1.5} if point["front"] else {}
        label = f"{system}, {engine_words(engine)}"
        axes.plot(point["ms"], 100 * point["score"], ms=11, ls="", label=label, **look)
    axes.set_xlim(left=0, right=1.08 * points["ms"].max())
    axes.margins(y=0.15)
    axes.set_xlabel(f"milliseconds a batch\n{textwrap.fill(how, 90)}", fontsize=10)
    axes.set_ylabel("average score, times 100")
    axes.grid(alpha=0.3)
    return put_legend(figure, "Average score and milliseconds", columns=2)


def draw_score_and_size(figure: Any, table: pd.DataFrame) -> str:
    """Draw average score over the weights' size on disk; return the title or nothing."""
    places = table["size_mb"]
    known = places.notna() & table["average"].notna()
    if not known.any():
        return ""
    figure.set_size_inches(7, 4.6)
    axes = figure.subplots()
    for row, (colour, marker) in _styles(table).items():
        if known[row]:
            score = 100 * float(table["average"][row])
            axes.plot(places[row], score, marker, ms=11, color=colour, label=row)
    axes.set_xlim(left=0, right=1.08 * places[known].max())
    axes.margins(y=0.15)
    axes.set_xlabel("weights on disk, MB", fontsize=10)
    axes.set_ylabel("average score, times 100")
    axes.grid(alpha=0.3)
    return put_legend(figure, "Average score and weights on disk")


def draw_curves(figure: Any, phase: Curves) -> str:
    """Draw a phase's total loss and each of its terms, on axes of its own; return the title."""
    terms = list(dict.fromkeys(name for log in phase.runs.values() for name in _terms(log)))
    num_columns = min(2, len(terms))
    num_rows = -(-len(terms) // num_columns)
    figure.set_size_inches(3.5 * max(num_columns, 1.7), 2.4 * num_rows + 1.4)
    grid = figure.subplots(num_rows, num_columns, squeeze=False)
    for axes, term in zip(grid.flat, terms, strict=False):
        for number, (label, log) in enumerate(phase.runs.items()):
            if term in log:
                steps, losses = thinned(log[["step", term]].dropna().to_numpy(dtype=float))
                dash = DASHES[number // len(COLOURS) % len(DASHES)]
                colour = COLOURS[number % len(COLOURS)]
                axes.plot(steps, losses, dash, color=colour, label=label, linewidth=1.4)
        axes.set_title("sum of the terms" if term == "loss" and len(terms) > 1 else term)
        axes.set_xlabel("step")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    for axes in grid.flat[len(terms) :]:
        axes.remove()
    return put_legend(figure, phase.title)


def _terms(log: pd.DataFrame) -> list[str]:
    """Return what is drawn of a log: the sum only where it is a sum of several terms."""
    terms = [str(column) for column in log if str(column).startswith("loss/") and log[column].any()]
    return terms if len(terms) == 1 else ["loss", *terms]


def thinned(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average neighbouring points until a curve has at most `MOST_POINTS`.

    Args:
        points: Steps and losses, shape (points, 2).

    Returns:
        The same in shape (2, points left).
    """
    parts = np.array_split(points, min(len(points), MOST_POINTS) or 1)
    return np.array([part.mean(axis=0) for part in parts if len(part)]).reshape(-1, 2).T


def _styles(table: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """Give each row a colour and a marker, the same ones in every figure."""
    markers = "osD^vP*Xph"
    systems = [str(row) for row in table.index if row != TEACHER]
    styles = {
        system: (COLOURS[number % len(COLOURS)], markers[number % len(markers)])
        for number, system in enumerate(systems)
    }
    return {TEACHER: (TEACHER_COLOUR, "s")} | styles


def put_legend(figure: Any, title: str, columns: int = 3) -> str:
    """Put one legend of so many columns below all axes, and the title above them."""
    named: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.suptitle(title, fontsize=13)
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=columns, frameon=False
    )
    return title


@contextmanager
def _figure() -> Iterator[Any]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    # No pyplot: its figures live on in a global list.
    with rc_context(STYLE):
        figure = Figure(layout="constrained")
        FigureCanvasAgg(figure)
        yield figure
