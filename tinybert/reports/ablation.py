"""Named groups of ablations, and what they scored beside the paper's figures.

The table's columns are `<task>/<split>/<metric>` on dev, `average`, `difference` (from `full`), and
`published/<column>`. All times 100.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from tinybert.reports.comparison import WORDS, read_published
from tinybert.reports.markup import fill_template
from tinybert.reports.plots import COLOURS, TEACHER_COLOUR, draw_bars, draw_figure, put_legend
from tinybert.reports.results import MISSING, TaskScores, column_words
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.settings.names import require_group_name
from tinybert.settings.reader import Settings, parse, read_yaml

FULL = "full"  # the system as it is: in every group, and written in none
FOLDER = Path("params/ablations")
TABLE = "ablation_dev"  # of published.yaml
PLACEHOLDER = re.compile(r"\{(\w+)\}")
Scores = Mapping[str, TaskScores]  # by task
PAPER = "published/"
# The paper's columns as this project measures them; its table has MRPC's accuracy, not its F1.
PAPER_COLUMNS = {
    "mnli_m": "mnli/dev/accuracy",
    "mnli_mm": "mnli/dev_mm/accuracy",
    "mrpc_accuracy": "mrpc/dev/accuracy",
    "cola": "cola/dev/matthews",
}
PAPER_WORDS = WORDS | {"mrpc_accuracy": "MRPC accuracy"}
CAPTION = (
    "Scores on dev, times 100, one seed. average: plain mean of the score columns of this table, "
    "where MNLI's halves count as one each; the paper's avg is that of its four columns, measured "
    "with TinyBERT4. difference: average minus that of full."
)

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_]*$")]  # part of an experiment's name


class Ablation(Settings):
    """One experiment: overrides as `dvc exp run -S` takes them, with {system} and {profile}."""

    description: str
    overrides: list[str] = Field(min_length=1)


class AblationGroup(Settings):
    """A file of params/ablations/."""

    description: str
    experiments: dict[Name, Ablation] = Field(min_length=1)


@dataclass(frozen=True)
class Planned:
    """One experiment of the chosen groups.

    Attributes:
        name: `full`, or the ablation's.
        groups: The groups it belongs to.
        overrides: What is changed for it.
    """

    name: str
    groups: tuple[str, ...]
    overrides: tuple[str, ...]


def group_names(root: Path) -> list[str]:
    """Return the names of all groups."""
    return sorted(file.stem for file in (root / FOLDER).glob("*.yaml"))


def read_groups(root: Path, names: Sequence[str]) -> dict[str, AblationGroup]:
    """Read groups by name.

    Raises:
        InputError: One line for each that does not exist, or each wrong key of one.
    """
    known = group_names(root)
    problems = [
        f"groups: unknown, got {name!r}; known: {', '.join(known)}"
        for name in names
        if name not in known
    ]
    groups: dict[str, AblationGroup] = {}
    for name in (name for name in names if name in known):
        try:
            require_group_name("ablations", name)  # part of a tag of MLflow, set at the very end
            groups[name] = _read_group(root, FOLDER / f"{name}.yaml")
        except InputError as error:
            problems.extend(error.problems)
    if problems:
        raise InputError(*problems)
    return groups


def _read_group(root: Path, file: Path) -> AblationGroup:
    group = parse(AblationGroup, read_yaml(root / file), str(file))
    if FULL in group.experiments:
        raise InputError(
            f"{file}: experiments: {FULL} is in every group by itself, got it written out; remove "
            "it"
        )
    for name, ablation in group.experiments.items():
        found = {word for text in ablation.overrides for word in PLACEHOLDER.findall(text)}
        if strange := found - {"system", "profile"}:
            raise InputError(
                f"{file}: experiments.{name}: unknown placeholder, got "
                f"{', '.join(f'{{{word}}}' for word in sorted(strange))}; known: {{system}}, "
                "{profile}"
            )
    return group


def plan(groups: Mapping[str, AblationGroup], system: str, profile: str) -> list[Planned]:
    """Return the groups' experiments, each once: `full`, the published ones in order, others.

    Raises:
        InputError: Two groups mean different things by one name.
    """
    found = {FULL: Planned(FULL, tuple(groups), ())}
    for group, file in groups.items():
        for name, ablation in file.experiments.items():
            filled = tuple(  # no str.format: a value may have braces of its own
                text.replace("{system}", system).replace("{profile}", profile)
                for text in ablation.overrides
            )
            before = found.get(name, Planned(name, (), filled))
            if before.overrides != filled:
                raise InputError(
                    f"{FOLDER / group}.yaml: experiments.{name}: another group has other overrides "
                    f"by this name, got {', '.join(filled)}; rename one"
                )
            found[name] = Planned(name, (*before.groups, group), filled)
    order = {name: place for place, name in enumerate(read_published()[TABLE]["rows"])}
    return sorted(found.values(), key=lambda each: order.get(each.name, len(order)))


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
    published = read_published()[TABLE]
    for place, column in enumerate(published["columns"]):
        found = (published["rows"].get(name) for name in names)
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
        key = column.removeprefix(PAPER)
        return f"paper {PAPER_WORDS.get(key, key)}"
    return column_words(column) if "/" in column else column


def _cell(value: float, sign: str = "") -> str:
    return MISSING if math.isnan(value) else f"{value:{sign}.1f}"


def write_files(table: pd.DataFrame, title: str, stem: Path) -> list[Path]:
    """Write the table as Markdown and CSV and the differences as PNG and SVG; return the files."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    markdown, plain = stem.with_name(f"{stem.name}.md"), stem.with_name(f"{stem.name}.csv")
    text = fill_template("table.md.j2", text=as_text(table), captions=[CAPTION])
    with replace_file(markdown) as file:
        file.write_text(f"# {title}\n\n{text.rstrip()}\n", encoding="utf-8")
    with replace_file(plain) as file:
        table.round(4).to_csv(file, lineterminator="\n")
    drawn = draw_figure(partial(draw_differences, table=table, title=title), stem)
    kinds = ("png", "svg") if drawn else ()
    return [markdown, plain, *(stem.with_name(f"{stem.name}.{kind}") for kind in kinds)]


def draw_differences(figure: Any, table: pd.DataFrame, title: str) -> str:
    """Draw what each ablation costs, ours and the paper's; return the title or nothing."""
    ours = table["difference"].drop(FULL, errors="ignore")
    if not ours.notna().any():
        return ""
    average = table[f"{PAPER}avg"]
    papers = (average - average.get(FULL, math.nan)).drop(FULL, errors="ignore")
    figure.set_size_inches(7, 1.8 + 0.5 * len(ours))
    kinds = {
        "here": (COLOURS[0], ours.to_numpy(dtype=float)),
        "paper, TinyBERT4": (TEACHER_COLOUR, papers.to_numpy(dtype=float)),
    }
    axes = draw_bars(figure, list(ours.index), kinds, 0.38, "+")
    axes.margins(x=0.15)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("average minus that of full, times 100")
    axes.grid(axis="x", alpha=0.3)
    return put_legend(figure, title)
