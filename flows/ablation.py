"""Run groups of ablations as DVC experiments, and show them beside the paper's.

python -m flows.ablation [show] [--groups A,B] [--tasks A,B] [--system NAME] [--profile NAME]
    [--glue-dir FOLDER] [--corpus FOLDER] [--glove FILE] [--via dvc|prefect]
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from flows.experiments import (
    Asked,
    Experiment,
    committed_yaml,
    read_experiments,
    require_all_done,
    require_via,
    run_checked,
)
from flows.glue import add_source_options, source_overrides
from flows.request import Request
from tinybert.reports.ablation import (
    CAPTION,
    Planned,
    as_text,
    build_table,
    group_names,
    plan,
    read_groups,
    write_files,
)
from tinybert.reports.results import TaskScores
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.terminal import make_output_safe
from tinybert.settings.names import split_names
from tinybert.settings.reader import PARAMS, parse, read_yaml

REPORTS = Path("reports/ablation")


@dataclass(frozen=True)
class Study:
    """Ablations of one system.

    Attributes:
        groups: Files of params/ablations.
        system: A file of params/systems.
        tasks: Files of params/tasks.
        profile: A file of params/profiles.
        overrides: What else is changed, for every experiment.
    """

    groups: Sequence[str]
    system: str
    tasks: Sequence[str]
    profile: str
    overrides: Sequence[str] = ()

    def planned(self, root: Path) -> list[Planned]:
        """Return the experiments by the ablations' names."""
        return plan(read_groups(root, self.groups), self.system, self.profile)

    def asked(self, root: Path) -> list[Asked]:
        """Return the experiments as DVC runs them: of this system alone, so nothing else runs."""
        base = Request(profile=self.profile, tasks=list(self.tasks), systems=[self.system])
        shared = [*base.all_overrides(), *self.overrides]
        return [
            Asked(self.experiment(each.name), [*shared, *each.overrides])
            for each in self.planned(root)
        ]

    def experiment(self, name: str) -> str:
        """Return an ablation's name in DVC, which tells it from that of other systems and tasks."""
        return ".".join([name, self.system, "-".join(self.tasks), self.profile])

    def title(self) -> str:
        """Say what the table is of."""
        return f"Ablations of {self.system} on {', '.join(self.tasks)} (profile {self.profile})"


def read_study(
    root: Path,
    groups: Sequence[str] | None = None,
    system: str | None = None,
    tasks: Sequence[str] | None = None,
    profile: str | None = None,
    overrides: Sequence[str] = (),
) -> Study:
    """Fill in what is not given: every group, and params.yaml's own first system and tasks."""
    params = read_yaml(root / PARAMS)
    own = Request(profile=params["profile"], tasks=params["tasks"], systems=params["systems"])
    assert own.tasks and own.systems and own.profile
    return Study(
        groups or group_names(root),
        system or own.systems[0],
        tasks or own.tasks,
        profile or own.profile,
        overrides,
    )


def main(arguments: Sequence[str]) -> None:
    """Check every value of every experiment, run what has not run yet, show the table.

    Raises:
        InputError: Something is wrong, and nothing ran; or an experiment failed, and others ran.
    """
    given, root = _options().parse_args(arguments), Path.cwd()
    require_via(given.via, "ablation")
    groups, tasks = split_names(given.groups), split_names(given.tasks)
    study = read_study(root, groups, given.system, tasks, given.profile)
    study = replace(study, overrides=source_overrides(root, given, study.profile))
    asked = study.asked(root)
    if given.action == "show":
        show(root, study)
        return
    failed = run_checked(root, asked, given.via, "tinybert-ablation", vars(study))
    show(root, study)
    require_all_done(asked, read_experiments(root), failed)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flows.ablation")
    parser.add_argument("action", nargs="?", choices=["run", "show"], default="run")
    for name in ("groups", "tasks", "system"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--via", default="dvc")
    add_source_options(parser)
    return parser


def show(root: Path, study: Study) -> None:
    """Print the table, write its files, and mark the runs in MLflow.

    Raises:
        InputError: No experiment of these has run at this commit.
    """
    experiments = read_experiments(root)
    planned = study.planned(root)
    done = {
        each.name: experiments[study.experiment(each.name)]
        for each in planned
        if study.experiment(each.name) in experiments
    }
    if not done:
        raise InputError(
            f"ablation: nothing to show, got no experiment such as "
            f"{study.experiment(planned[0].name)} at this commit; run `make ablation`"
        )
    measured = {name: read_scores(each, study) for name, each in done.items()}
    table = build_table([each.name for each in planned], measured)
    print_table(table, study.title())
    named = [] if set(study.groups) == set(group_names(root)) else study.groups
    stem = root / REPORTS / "-".join([study.system, *study.tasks, study.profile, *named])
    files = write_files(table, study.title(), stem)
    print(f"written: {', '.join(file.relative_to(root).as_posix() for file in files)}")
    try:
        print(f"in MLflow (`make ui`): {_mark_runs(root, study, done, table, files)}")
    except InputError as error:
        print(f"in MLflow: {error}", file=sys.stderr)


def read_scores(experiment: Experiment, study: Study) -> dict[str, TaskScores]:
    """Return what an experiment's student scored, by task."""
    found = {}
    for task in study.tasks:
        file = f"reports/metrics/{study.system}/{task}.json"
        if file in experiment.metrics:
            found[task] = parse(TaskScores, experiment.metrics[file], file)
    return found


def print_table(table: pd.DataFrame, title: str) -> None:
    """Print a table beside the paper's figures."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    text = as_text(table)
    console = Console(highlight=False, markup=False, emoji=False)
    grid = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.add_column("experiment", no_wrap=True)
    for column in text:
        grid.add_column(str(column).replace(" ", "\n"), justify="right", no_wrap=True)
    for name, row in text.iterrows():
        grid.add_row(str(name), *row)
    needed = console.measure(grid, options=console.options.update(max_width=1000)).maximum
    console.width = max(console.width, needed)  # a row that is cut off cannot be read
    console.print(title, grid, sep="\n", markup=False)
    console.print(CAPTION, markup=False)


def _mark_runs(
    root: Path,
    study: Study,
    done: dict[str, Experiment],
    table: pd.DataFrame,
    files: Sequence[Path],
) -> str:
    from tinybert.tracking.ablation import Marked, mark_ablations
    from tinybert.tracking.store import store_uri

    figures = {str(name): dict(row) for name, row in table.iterrows()}
    marked = [
        Marked(each.name, each.groups, _state(root, done[each.name], study), figures[each.name])
        for each in study.planned(root)
        if each.name in done
    ]
    return mark_ablations(store_uri(os.environ), marked, files)


def _state(root: Path, experiment: Experiment, study: Study) -> str:
    """Return the key of an experiment's run in MLflow, from what the experiment keeps."""
    from tinybert.tracking.record import PROFILE, flat, pipeline_state

    with TemporaryDirectory() as folder:
        texts = {}
        for name in ("dvc.lock", str(PARAMS), f"params/profiles/{study.profile}.yaml"):
            texts[name] = Path(folder, Path(name).name)
            text = committed_yaml(root, experiment.commit, name)
            texts[name].write_text(text, encoding="utf-8")
        lock, params, profile = texts.values()
        settings = flat(read_yaml(params)) | flat(read_yaml(profile), PROFILE)
        return pipeline_state(lock, [study.system], study.tasks, settings)


if __name__ == "__main__":
    make_output_safe()
    with ends_with_its_lines():
        main(sys.argv[1:])
