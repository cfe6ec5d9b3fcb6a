"""Write the result tables, the figures, the page and GLUE's submission from what was measured.

python -m stages.report
python -m stages.report show    # prints the table that is there
python -m stages.report table [FOLDER...]    # beside the paper's, scores checked; means over runs
python -m stages.report submission SYSTEM    # packs GLUE's zip, or says what is missing
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from stages import run
from tinybert.reports import comparison as beside
from tinybert.reports.front import measured_points
from tinybert.reports.page import Report, read_samples, write_page, write_tables
from tinybert.reports.plots import draw_all, training_curves
from tinybert.reports.recomputed import require_same_scores
from tinybert.reports.results import (
    COLUMN_WORDS,
    as_text,
    build_table,
    captions,
    read_results,
    read_table,
    require_prepared,
    without_unknown,
    write_table,
)
from tinybert.reports.shown_rows import read_examples
from tinybert.reports.starts import read_starts, with_starts
from tinybert.reports.submission import PACKED, wnli_source, write_submission
from tinybert.reports.times import read_seconds
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file, replace_folder
from tinybert.settings.reader import read_param
from tinybert.tasks.task import TaskInfo, read_named_info

REPORTS = Path("reports")
DATA = Path("data")
SYSTEM_FILES = Path("params/systems")
COMPARISON, UPLOAD = REPORTS / "comparison", REPORTS / "upload"  # no outputs of DVC's
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
    infos = read_infos(tasks, data)
    require_prepared(results, infos)
    table, shown = build_table(results), beside.read_shown(systems, SYSTEM_FILES)
    starts = read_starts(reports / "start", systems, tasks)
    table_shown = with_starts(table, starts)
    compared = beside.compare(results, infos, shown)
    compared_text = beside.as_text(compared)
    notes = beside.captions(compared, shown)
    with replace_folder(reports / "tables") as folder:
        write_table(table, folder / "results.csv")
        write_tables("results", as_text(table_shown), captions(table), folder)
        beside.to_csv(compared, None, folder / "comparison.csv")
        write_tables("comparison", compared_text, notes, folder)
    with replace_folder(reports / "plots") as folder:
        curves = training_curves(systems, tasks, reports / "training")
        figures = draw_all(table, measured_points(results), curves, folder)
    glue = glue_tasks(infos)
    with replace_folder(reports / "submission") as folder:  # empty where no task is of GLUE
        submissions = {
            system: write_submission(glue, reports / "predictions" / system, folder / system)
            for system in (systems if glue else ())
        }
    samples = {
        task: found
        for task in tasks
        if (found := read_samples(data / "augmented" / task / "augmentation.json"))
    }
    predictions = reports / "predictions"
    examples = {
        info.name: rows
        for info in infos
        if (rows := read_examples(info, data / "tasks" / info.name, predictions, systems))
    }
    page = Report(
        profile=profile,
        results=results,
        table=table_shown,
        comparison=compared_text if glue else pd.DataFrame(),
        notes=notes,
        figures=figures,
        submissions=submissions,
        wnli=wnli_source(glue),
        samples=samples,
        examples=examples,
        seconds=read_seconds(reports / "times", [*systems, *tasks]),
        starts=starts,
    )
    with replace_file(reports / "index.html") as file:
        write_page(page, reports / "plots", file)
    return table


def read_infos(tasks: Sequence[str], data: Path) -> list[TaskInfo]:
    """Read what the prepared tasks are."""
    return [read_named_info(data / "tasks" / task, task) for task in tasks]


def glue_tasks(infos: Sequence[TaskInfo]) -> dict[str, str]:
    """Return GLUE's name of each task that is one of its -> ours."""
    return {info.glue: info.name for info in infos if info.glue}


def compare_with_paper(
    systems: Sequence[str], tasks: Sequence[str], folders: Sequence[Path], output: Path
) -> int:
    """Print the table beside the paper's, and write it as Markdown, LaTeX and CSV.

    Args:
        systems: Rows of the table, beside the teacher.
        tasks: Its columns.
        folders: Of what was measured, as `reports`, one for each run; the prepared tasks are in
            `data` beside it, or else in the working directory's. Several give means and spreads.
        output: The folder to write.

    Returns:
        How many scores were computed again from predictions.

    Raises:
        InputError: A stored score is not what its predictions give; nothing is written.
    """
    require_once(folders)
    tables, num_scores = [], 0
    shown = beside.read_shown(systems, SYSTEM_FILES)
    for folder in folders:
        results = read_results(systems, tasks, folder)
        if not results.scores:
            raise InputError(
                f"{folder}: no scores, got no metrics of {', '.join(tasks)}; name a "
                "folder that holds metrics/<system>/<task>.json"
            )
        data = folder.parent / DATA
        data = data if (data / "tasks").is_dir() else DATA
        infos = read_infos(tasks, data)
        require_prepared(results, infos)
        num_scores += require_same_scores(results, data / "tasks", folder)
        tables.append(beside.compare(results, infos, shown))
        beside.require_alike(tables[0], tables[-1], folder)
    table, spread = beside.merge_runs(tables) if len(tables) > 1 else (tables[0], None)
    text = beside.as_text(table, spread)
    notes = beside.captions(table, shown, len(tables))
    with replace_folder(output) as partial:
        beside.to_csv(table, spread, partial / "comparison.csv")
        write_tables("comparison", text, notes, partial)
    print_text(text, notes, list(map(beside.heading, [*beside.COSTS, *beside.SUMMARIES])))
    return num_scores


def require_once(folders: Sequence[Path]) -> None:
    """Check that no run is named twice, of which a mean would count it twice.

    Raises:
        InputError: One is.
    """
    places = [folder.resolve() for folder in folders]
    if twice := [folder for n, folder in enumerate(folders) if places[n] in places[:n]]:
        raise InputError(
            f"RUNS: each run is counted once, got {twice[0]} again; leave it out ({REPORTS} "
            "of this folder is always counted)"
        )


def pack_submission(
    system: str,
    systems: Sequence[str],
    tasks: Sequence[str],
    data: Path,
    reports: Path,
    output: Path,
) -> str:
    """Pack GLUE's zip for a system, and return where WNLI's predictions are from.

    Raises:
        InputError: The system is unknown, or files are missing or wrong: one line each.
    """
    if system not in systems:
        known = ", ".join(systems)
        raise InputError(f"argument: no system of params.yaml, got {system!r}; known: {known}")
    glue = glue_tasks(read_infos(tasks, data))
    if problems := write_submission(glue, reports / "predictions" / system, output):
        raise InputError(*problems)
    return wnli_source(glue)


def print_summary(table: pd.DataFrame) -> None:
    """Print the result table and what its figures are."""
    print_text(without_unknown(as_text(table)), captions(table), list(COLUMN_WORDS.values()))


def print_text(text: pd.DataFrame, notes: Sequence[str], first: Sequence[str]) -> None:
    """Print a table, cut into pieces that fit the terminal, the columns `first` before others."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)  # names may hold brackets
    if not console.is_terminal:
        console.width = min(console.width, PLAIN_WIDTH)
    width = console.width
    for columns in _pieces(text, width, first):
        piece = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
        piece.add_column("system", no_wrap=True)
        for column in columns:
            piece.add_column(_folded(column), justify="right", no_wrap=True)
        for system, row in text.iterrows():
            piece.add_row(str(system), *row[columns])
        needed = console.measure(piece, options=console.options.update(max_width=1000)).maximum
        console.width = max(width, needed)  # a row that is cut off cannot be read
        console.print(piece)
    console.width = width
    for line in notes:
        console.print(line)


def _pieces(text: pd.DataFrame, width: int, first: Sequence[str]) -> Iterator[list[str]]:
    """Group columns, `first` before the others, so that each group fits beside the rows' names."""
    gap = 2
    room = width - max(map(len, ["system", *map(str, text.index)]))
    known = [column for column in first if column in text]
    for kind in (known, [column for column in text.columns if column not in first]):
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


def main(action: str = "", *rest: str) -> str:
    """Write the report, or do what `action` says."""
    _require_rest(action, rest)
    if action == "show":
        print_summary(read_table(REPORTS / "tables/results.csv"))
        return f"the whole report is {REPORTS / 'index.html'}"
    tasks, systems = read_param("tasks", list[str]), read_param("systems", list[str])
    if action == "table":
        folders = [REPORTS, *map(Path, rest)]
        num_scores = compare_with_paper(systems, tasks, folders, COMPARISON)
        return f"made {COMPARISON}/comparison.md, .tex, .csv ({num_scores} scores computed again)"
    if action == "submission":
        (system,) = rest
        wnli = pack_submission(system, systems, tasks, DATA, REPORTS, UPLOAD / system)
        return f"packed {UPLOAD / system / PACKED} ({wnli})"
    print_summary(report(systems, tasks, read_param("profile", str), DATA, REPORTS))
    return f"made the report in {REPORTS / 'index.html'}"


def _require_rest(action: str, rest: Sequence[str]) -> None:
    if action not in ("", "show", "table", "submission"):
        raise InputError(f"argument: unknown, got {action!r}; known: show, table, submission")
    if action == "submission" and len(rest) != 1:
        raise InputError(f"submission: one system is needed, got {len(rest)}; name one")
    if action in ("", "show") and rest:
        raise InputError(f"argument: nothing follows show, got {' '.join(rest)}; leave it out")


if __name__ == "__main__":
    run(main)
