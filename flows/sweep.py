"""Run one value of a parameter after the other, each as a DVC experiment, and compare them.

python -m flows.sweep KEY VALUE,VALUE,... [dvc|prefect]
"""

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Column, Table

from flows.experiments import (
    Asked,
    Experiment,
    call,
    read_experiments,
    require_all_done,
    require_via,
    run_checked,
)
from flows.overrides import select
from flows.pipeline import experiment_name
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.terminal import make_output_safe
from tinybert.settings.reader import PARAMS
from tinybert.tasks.task import DEV

METRICS = "reports/metrics/"  # <system>/<task>.json


def main(key: str = "", values: str = "", via: str = "dvc") -> None:
    """Check every value, run them, show the table.

    Raises:
        InputError: The key, a value or the way is wrong; nothing ran.
    """
    chosen = split_values(values)
    if not key or not chosen:
        raise InputError(
            f"sweep: got KEY={key!r} VALUES={values!r}; right is "
            "`make sweep KEY=loss.attn_weight VALUES=0,0.5,1`"
        )
    require_via(via, "sweep")
    root = Path.cwd()
    asked = [Asked(experiment_name(key, value), [f"{key}={value}"]) for value in chosen]
    require_names_of_their_own(asked)
    failed = run_checked(root, asked, via, "tinybert-sweep", {"key": key, "values": chosen})
    experiments = read_experiments(root)
    print_experiments(sweep_table(experiments, key, [each.name for each in asked]))
    call(sys.executable, "-m", "stages.track", "compare", key)
    require_all_done(asked, experiments, failed)


def require_names_of_their_own(asked: Sequence[Asked]) -> None:
    """Check that no experiment would take the place of another."""
    by_name: dict[str, list[str]] = {}
    for each in asked:
        by_name.setdefault(each.name, []).extend(each.overrides)
    problems = [
        f"sweep: VALUES: one experiment cannot be two, got {' and '.join(same)} for {name}; give "
        "each value once"
        for name, same in by_name.items()
        if len(same) > 1
    ]
    if problems:
        raise InputError(*problems)


def split_values(values: str) -> list[str]:
    """Split at commas outside brackets: `[a,b],[c]` are two values."""
    found, depth = [""], 0
    for character in values:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [value.strip() for value in found if value.strip()]


def sweep_table(
    experiments: Mapping[str, Experiment], key: str, names: Sequence[str]
) -> pd.DataFrame:
    """Return one row an experiment, in the order of `names`: the parameter and every dev score."""
    file, _, dotted = key.rpartition(":")
    params, own = file or str(PARAMS), dotted.lstrip("+")
    rows = {
        name: {dotted: select(experiments[name].params.get(params), own)}
        | _dev_scores(experiments[name])
        for name in names
        if name in experiments
    }
    columns = sorted({column for row in rows.values() for column in row} - {dotted})
    return pd.DataFrame.from_dict(rows, orient="index", columns=[dotted, *columns])


def _dev_scores(experiment: Experiment) -> dict[str, float]:
    """Return the scores on dev, and on MNLI's second dev split, which is named."""
    scores: dict[str, float] = {}
    for file, found in experiment.metrics.items():
        if not file.startswith(METRICS):
            continue
        place = file.removeprefix(METRICS).removesuffix(".json")
        for split in [each for each in found["metrics"] if each.startswith(DEV)]:
            at = place if split == DEV else f"{place}/{split}"
            scores |= {f"{at}/{name}": value for name, value in found["metrics"][split].items()}
    return scores


def print_experiments(frame: pd.DataFrame) -> None:
    """Print the sweep, turned on its side: it has a column for every score."""
    heads = [Column(str(head), overflow="fold") for head in ("DVC experiment", *frame.index)]
    table = Table(*heads, box=box.SIMPLE_HEAD)
    swept = frame.columns[0]
    for name, values in frame.items():
        # A swept value is shown as it is: rounded like a score, 5e-05 would be 0.000.
        table.add_row(str(name), *map(str if name == swept else _shown, values))
    Console(highlight=False, markup=False, emoji=False).print(table)
    print("all columns: `dvc exp show`; take one over: `dvc exp apply NAME`")


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) and not math.isnan(value) else str(value)


if __name__ == "__main__":
    make_output_safe()
    with ends_with_its_lines():
        main(*sys.argv[1:])
