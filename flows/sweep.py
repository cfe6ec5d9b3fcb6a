"""Run one value of a parameter after the other, each as a DVC experiment, and compare them.

python -m flows.sweep KEY VALUE,VALUE,... [dvc|prefect]
"""

import json
import os
import subprocess
import sys
from pathlib import Path

from flows.overrides import params_changed
from flows.pipeline import experiment_name
from flows.request import require_valid_params
from flows.server import require_server
from tinybert.errors import InputError

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
    for value in chosen:
        with params_changed(root, [f"{key}={value}"]):
            require_valid_params(root)
    if via == "prefect":
        run_with_prefect(key, chosen)
    else:
        run_with_dvc(key, chosen)
    call("dvc", "exp", "show", "--only-changed", "--no-pager", "--sort-by", key.rpartition(":")[2])
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
