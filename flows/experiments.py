"""Check, queue and run DVC experiments, and read what they gave: for sweeps and ablations."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flows.overrides import params_changed
from flows.request import require_known_names, require_valid_params
from flows.servers import wait_for_server
from flows.walk import ask_dvc, only_run_in
from tinybert.runtime.errors import InputError
from tinybert.runtime.repository import require_commit
from tinybert.settings.names import FOLDERS
from tinybert.settings.reader import PARAMS, read_yaml

RAW = "data/raw"  # mostly not in git, so a queued experiment's folder would lack it
VIA = ("dvc", "prefect")


@dataclass(frozen=True)
class Asked:
    """An experiment to run: its name in DVC, and overrides as `dvc exp run -S` takes them."""

    name: str
    overrides: Sequence[str]


@dataclass(frozen=True)
class Experiment:
    """An experiment that has run.

    Attributes:
        commit: That keeps it.
        params: By params file.
        metrics: By metrics file.
    """

    commit: str
    params: Mapping[str, Any]
    metrics: Mapping[str, Any]


def require_via(via: str, command: str) -> None:
    """Check who shall run the experiments."""
    if via not in VIA:
        raise InputError(f"{command}: got VIA={via!r}; right is {' or '.join(VIA)}")


def require_valid(root: Path, asked: Sequence[Asked], *, queued: bool) -> None:
    """Check every value that every experiment will have.

    Args:
        root: The workspace; no other run may be in it.
        asked: The experiments.
        queued: Whether DVC runs them in folders of their own, which have what git knows alone.

    Raises:
        InputError: One line for each that is wrong; nothing ran.
    """
    used: set[str] = set()
    with TemporaryDirectory() as folder, only_run_in(root):
        variants = []
        for number, each in enumerate(asked):
            with params_changed(root, each.overrides):
                require_known_names(root)
                used |= set(_params_files(root))
                variants.append(Path(folder, str(number)))
                shutil.copytree(root / "params", variants[-1] / "params")
                shutil.copy(root / PARAMS, variants[-1])
        require_valid_params(root, variants)
    require_commit(root)
    if queued:
        _require_in_git(root, sorted(used))


def _params_files(root: Path) -> list[str]:
    params = read_yaml(root / PARAMS)
    named = {key: value if isinstance(value, list) else [value] for key, value in params.items()}
    return [
        f"params/{folder}/{name}.yaml" for key, folder in FOLDERS.items() for name in named[key]
    ]


def _require_in_git(root: Path, files: Sequence[str]) -> None:
    known = set(_git(root, "ls-files", "--", *files).splitlines())
    missing = [file for file in files if file not in known]
    if missing:
        raise InputError(
            f"params: a queued experiment sees only what git knows, got {', '.join(missing)} "
            f"beside it; `git add {' '.join(missing)}`"
        )


def run_checked(
    root: Path, asked: Sequence[Asked], via: str, flow: str, parameters: Mapping[str, Any]
) -> Sequence[str]:
    """Check every value, then run the experiments; return what failed, for `require_all_done`.

    Args:
        root: The workspace.
        asked: The experiments.
        via: dvc: in DVC's queue; prefect: by the served flow.
        flow: Its name.
        parameters: What it is asked for: the same experiments.

    Raises:
        InputError: Something is wrong, and nothing ran.
    """
    require_valid(root, asked, queued=via == "dvc")
    if via == "dvc":
        run_queue(root, asked)
        return ()
    wait_for_server(os.environ)
    given = ("--watch", "--params", json.dumps(parameters))
    try:
        call("prefect", "deployment", "run", f"{flow}/full", *given)
    except InputError as error:
        return error.problems
    return ()


def run_queue(root: Path, asked: Sequence[Asked]) -> None:
    """Queue experiments in DVC and run the queue, one after the other."""
    # No --force: for DVC it also means to run every stage again.
    make_room(root, asked)
    beside = [word for path in _beside_git(root, RAW) for word in ("-C", path)]
    for each in asked:
        changes = [word for override in each.overrides for word in ("-S", override)]
        call("dvc", "exp", "run", "--queue", *changes, "--name", each.name, *beside)
    call("dvc", "exp", "run", "--run-all")


def make_room(root: Path, asked: Sequence[Asked]) -> None:
    """Remove earlier experiments of the same names, lest one stand where its successor fails.

    What they have run is restored from DVC's run-cache.
    """
    wanted = {each.name for each in asked}
    if known := sorted(wanted & {entry["name"] for entry in _entries(root)}):
        call("dvc", "exp", "remove", *known)


def require_all_done(
    asked: Sequence[Asked], experiments: Mapping[str, Experiment], failed: Sequence[str]
) -> None:
    """Check that every experiment has ended well; DVC's exit code does not say.

    Args:
        asked: All of them.
        experiments: Those that there are.
        failed: What `run_checked` returned.

    Raises:
        InputError: Some have not.
    """
    problems = list(failed)
    missing = [each.name for each in asked if each.name not in experiments]
    if missing:
        problems.append(f"experiments: no result, got a failure of {', '.join(missing)}; see above")
    if problems:
        raise InputError(*problems)


def _beside_git(root: Path, folder: str) -> list[str]:
    """Return what git does not track below a folder: files, and folders without a tracked file."""
    # What is tracked is in an experiment's folder, and DVC refuses to copy over it.
    found = _git(root, "ls-files", "--others", "--directory", "-z", "--", folder).split("\0")
    return [path.rstrip("/") for path in found if path]


def _git(root: Path, *command: str) -> str:
    done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InputError(f"git {command[0]}: got {' '.join(done.stderr.split())}; mend the clone")
    return done.stdout


def committed_yaml(root: Path, commit: str, file: str) -> str:
    """Return a file's text as an experiment keeps it."""
    return _git(root, "show", f"{commit}:./{file}")


def read_experiments(root: Path) -> dict[str, Experiment]:
    """Read the experiments of the present commit that have ended well, by name."""
    found: dict[str, Experiment] = {}
    for entry in _entries(root):
        executor = entry.get("executor") or {}
        if executor.get("state") == "running":  # the teacher's metrics are there already
            continue
        newest = entry["revs"][0]
        data = newest["data"]
        if entry["name"] and data and not newest["error"] and (metrics := _values(data["metrics"])):
            found[entry["name"]] = Experiment(newest["rev"], _values(data["params"]), metrics)
    return found


def _entries(root: Path) -> list[dict[str, Any]]:
    """Ask DVC for all experiments of the present commit, whatever became of them."""
    done = ask_dvc(root, "exp", "show", "--json")
    if done.returncode != 0:
        raise InputError(f"dvc exp show: got {done.stderr.strip().splitlines()[-1]}")
    return [each for baseline in json.loads(done.stdout) for each in baseline["experiments"] or []]


def _values(files: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: each["data"] for name, each in (files or {}).items() if "data" in each}


def call(*command: str) -> None:
    """Run a command in the foreground.

    Raises:
        InputError: It failed; it has said why.
    """
    executable = [sys.executable, "-m", "dvc"] if command[0] == "dvc" else [command[0]]
    code = subprocess.run([*executable, *command[1:]], check=False).returncode
    if code != 0:
        raise InputError(f"`{' '.join(command)}`: failed, got exit code {code}; see above")
