"""Write the result tables, the figures, the page and GLUE's submission from what was measured.

python -m stages.report [show]
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from stages import run
from tinybert.errors import InputError
from tinybert.outputs import replace_file, replace_folder
from tinybert.page import Report, read_samples, write_page, write_tables
from tinybert.plots import draw_all, training_curves
from tinybert.results import (
    COLUMN_WORDS,
    as_text,
    build_table,
    captions,
    read_results,
    read_table,
    write_table,
)
from tinybert.settings import read_param
from tinybert.submission import write_submission
from tinybert.tasks import read_info

REPORTS = Path("reports")
DATA = Path("data")
PLAIN_WIDTH = 80  # columns, where the output is no terminal


def report(
    systems: Sequence[str], tasks: Sequence[str], profile: str, data: Path, reports: Path
) -> pd.DataFrame:
    """Write everything that is shown of a run.

    Args:
        systems: Rows of the table, beside the teacher.
        tasks: Its columns.
        profile: Name of the profile that ran.
        data: The folder with the prepared tasks and the augmented data.
        reports: The folder with what was measured; tables, plots, index.html and submission are
            written there.

    Returns:
        The result table.
    """
    results = read_results(systems, tasks, reports)
    table = build_table(results)
    with replace_folder(reports / "tables") as folder:
        write_table(table, folder / "results.csv")
        write_tables(table, folder)
    with replace_folder(reports / "plots") as folder:
        figures = draw_all(table, training_curves(systems, tasks, reports / "training"), folder)
    glue = {
        info.glue: info.name
        for info in (read_info(data / "tasks" / task) for task in tasks)
        if info.glue
    }
    with replace_folder(reports / "submission") as folder:
        submissions = {
            system: write_submission(glue, reports / "predictions" / system, folder / system)
            for system in systems
        }
    samples = {
        task: found
        for task in tasks
        if (found := read_samples(data / "augmented" / task / "augmentation.json"))
    }
    shown = Report(profile, results, table, figures, submissions, samples, bool(glue))
    with replace_file(reports / "index.html") as file:
        write_page(shown, reports / "plots", file)
    return table


def print_summary(table: pd.DataFrame) -> None:
    """Print the table, cut into pieces that fit the terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = min(console.width, PLAIN_WIDTH)
    text = as_text(table)
    for columns in _pieces(text, console.width):
        piece = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        piece.add_column("system", no_wrap=True)
        for column in columns:
            piece.add_column(_folded(column), justify="right", no_wrap=True)
        for system, row in text.iterrows():
            piece.add_row(str(system), *row[columns])
        console.print(piece)
    for line in captions(table):
        console.print(line, markup=False)


def _pieces(text: pd.DataFrame, width: int) -> Iterator[list[str]]:
    """Group columns, costs before scores, so that each group fits beside the systems' names."""
    gap = 2
    room = width - max(map(len, ["system", *map(str, text.index)]))
    costs = list(COLUMN_WORDS.values())
    for kind in (costs, [column for column in text.columns if column not in costs]):
        piece: list[str] = []
        taken = 0
        for column in kind:
            needed = max(map(len, [*_folded(column).split("\n"), *text[column]])) + gap
            if piece and taken + needed > room:
                yield piece
                piece, taken = [], 0
            piece.append(column)
            taken += needed
        if piece:
            yield piece


def _folded(heading: str) -> str:
    """Give each word of a heading its own line, so that a column is as narrow as its figures."""
    return heading.replace(" ", "\n")


def main(action: str = "") -> str:
    """Write the report, or with `show` print the one that is there."""
    if action not in ("", "show"):
        raise InputError(f"argument: unknown, got {action!r}; known: show")
    if action == "show":
        print_summary(read_table(REPORTS / "tables/results.csv"))
        return f"the whole report is {REPORTS / 'index.html'}"
    tasks, systems = read_param("tasks", list[str]), read_param("systems", list[str])
    print_summary(report(systems, tasks, read_param("profile", str), DATA, REPORTS))
    return f"made the report in {REPORTS / 'index.html'}"


if __name__ == "__main__":
    run(main)
