"""Run one value of a parameter after the other, each as a DVC experiment, and compare them.

python -m flows.sweep KEY VALUE,VALUE,... [dvc|prefect]
"""

import json
import math
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from flows.overrides import params_changed
from flows.pipeline import experiment_name
from flows.request import require_valid_params
from flows.server import require_server
from flows.walk import ask_dvc, only_run_in
from tinybert.errors import InputError

SCORES = ".json:metrics.dev."  # between a metrics file and the name of a score
RAW = Path("data/raw")  # not in git, so a queued experiment's folder would lack it


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
    if via not in ("dvc", "prefect"):
        raise InputError(f"sweep: got VIA={via!r}; right is dvc or prefect")
    root = Path.cwd()
    with only_run_in(root):  # a flow run's own overrides must stay
        for value in chosen:
            with params_changed(root, [f"{key}={value}"]):
                require_valid_params(root)
    if via == "prefect":
        run_with_prefect(key, chosen)
    else:
        run_with_dvc(key, chosen)
    print_experiments(root, key, [experiment_name(key, value) for value in chosen])
    call(sys.executable, "-m", "stages.track", "compare", key)


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


def run_with_dvc(key: str, values: list[str]) -> None:
    """Queue the experiments and run the queue."""
    for value in values:
        name = ["--name", experiment_name(key, value), "--force"]
        call("dvc", "exp", "run", "--queue", "-S", f"{key}={value}", *name, "-C", str(RAW))
    call("dvc", "exp", "run", "--run-all")


def run_with_prefect(key: str, values: list[str]) -> None:
    """Ask the served flow `tinybert-sweep` for them."""
    require_server(os.environ)
    parameters = json.dumps({"key": key, "values": values})
    call(
        *("prefect", "deployment", "run", "tinybert-sweep/full", "--watch"),
        *("--params", parameters),
    )


def print_experiments(root: Path, key: str, names: list[str]) -> None:
    """Print DVC's own table of the sweep, turned on its side: it has a column for every file."""
    done = ask_dvc(root, "exp", "show", "--csv")
    if done.returncode != 0:
        raise InputError(f"dvc exp show: got {done.stderr.strip().splitlines()[-1]}")
    frame = read_experiments(done.stdout, key, names)
    table = Table("DVC experiment", *map(str, frame.index), box=box.SIMPLE_HEAD)
    for name, values in frame.items():
        table.add_row(str(name), *map(_shown, values))
    Console(highlight=False).print(table)
    print("all columns: `dvc exp show`; take one over: `dvc exp apply NAME`")


def read_experiments(text: str, key: str, names: list[str]) -> pd.DataFrame:
    """Read `dvc exp show --csv`.

    Returns:
        One row an experiment, in the order of `names`; the swept parameter and every dev score.
    """
    frame = (
        pd.read_csv(StringIO(text), na_values=["!"])
        .drop_duplicates("Experiment")
        .set_index("Experiment")
    )
    frame = frame.reindex([name for name in names if name in frame.index])
    plain = key.rpartition(":")[2]
    columns: dict[str, str] = {
        column: plain if column.rpartition(":")[2] == plain else _score(column)
        for column in map(str, frame)
        if column.rpartition(":")[2] == plain or SCORES in column
    }
    found = frame[list(columns)].rename(columns=columns)
    return found[sorted(columns.values(), key=lambda column: (column != plain, column))]


def _score(column: str) -> str:
    file, _, name = column.partition(SCORES)
    return f"{file.removeprefix('reports/metrics/')}/{name}"


def _shown(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) and not math.isnan(value) else str(value)


def call(*command: str) -> None:
    """Run a command in the foreground.

    Raises:
        InputError: It failed; it has said why.
    """
    executable = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    code = subprocess.run([*executable, *command[1:]], check=False).returncode
    if code != 0:
        raise InputError(f"sweep: `{' '.join(command)}` failed with exit code {code}; see above")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
