"""What is logged of a finished pipeline, read from its files."""

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tinybert.reports.results import TEACHER, Results, build_table
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import PARAMS, read_yaml
from tinybert.settings.yaml_reader import parse_yaml
from tinybert.tracking.display import TaskData
from tinybert.tracking.histories import History
from tinybert.tracking.registry import Model

# What they read are results, with measured milliseconds among them; the state is what made these.
SHOWING = ("model_card", "report", "track")
COSTS = ("parameters", "gflops", "size_mb", "speedup", "average", "share_of_teacher")
PROFILE = "profile."  # before a setting of the profile's file
NAME = re.compile(r"\w[\w-]*")
LONGEST_NAME = 250  # characters that MLflow's databases hold


@dataclass(frozen=True)
class Record:
    """What is logged of a pipeline.

    Attributes:
        state: Of `pipeline_state`.
        name: What people read.
        params: Flat settings.
        metrics: Flat figures.
        tags: Where it comes from.
        artifacts: Files and folders of the report; one that does not exist is left out.
        histories: Of every training.
        models: To register.
        data: The tasks' splits.
        shown: The metrics that are seen first.
    """

    state: str
    name: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Sequence[Path] = ()
    histories: Sequence[History] = field(default_factory=list)
    models: Sequence[Model] = field(default_factory=list)
    data: Sequence[TaskData] = ()
    shown: Sequence[str] = ()


def pipeline_state(
    lock: Path, systems: Sequence[str], tasks: Sequence[str], params: Mapping[str, str]
) -> str:
    """Hash the dependencies and parameters of every stage that made the results.

    Args:
        lock: The path of dvc.lock.
        systems: The systems of this run; dvc.lock remembers others too, which do not count.
        tasks: The tasks of this run, likewise.
        params: What is logged: MLflow never changes a run's parameters, so other ones are
            another state.

    Raises:
        InputError: There is no dvc.lock.
    """
    if not lock.is_file():
        raise InputError(f"{lock}: is missing, got no finished pipeline; run `dvc repro`")
    items = {*systems, *tasks, *(f"{system}-{task}" for system in systems for task in tasks)}
    stages = {}
    for name, stage in read_yaml(lock).get("stages", {}).items():
        stage_name, _, item = name.partition("@")
        if stage_name not in SHOWING and (not item or item in items):
            deps = sorted(
                (str(dep["path"]), str(dep.get("md5", dep))) for dep in stage.get("deps", [])
            )
            stages[name] = {"deps": deps, "params": stage.get("params", {})}
    text = json.dumps([stages, dict(params)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Flatten nested settings: {"loss": {"attn_weight": 1.0}} gives {"loss.attn_weight": "1.0"}.

    A mapping of keys that are no names, as a task's labels may be, stays one value.
    """
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value and all(map(NAME.fullmatch, map(str, value))):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return found


def flat_metrics(results: Results) -> dict[str, float]:
    """Return all that was measured by name.

    Scores are `<system>/<task>/<split>/<metric>`, costs `<system>/<cost>`, times
    `<system>/latency_ms/batch_<rows>_tokens_<tokens>`, of other engines than the first
    `<system>/<engine>/latency_ms/...`; what an engine needs, `<system>/<engine>/peak_mb`; int8's
    score `<system>/<task>/int8/<metric>` and what it lost, `<system>/<task>/int8/drop`.
    """
    found = {
        f"{system}/{task}/{split}/{metric}": value
        for (system, task), scores in results.scores.items()
        for split, metrics in scores.metrics.items()
        for metric, value in metrics.items()
    }
    table = build_table(results)
    for cost in COSTS:
        found |= {f"{row}/{cost}": float(value) for row, value in table[cost].dropna().items()}
    for system, latency in reversed(results.latency.items()):  # the teacher's are the first's
        for cell in latency.cells:
            place = f"batch_{cell.batch_size}_tokens_{cell.sequence_length}"
            threads = f"_threads_{cell.num_threads}"
            place += threads if cell.num_threads != latency.cells[0].num_threads else ""
            own = f"{system}/{cell.engine}"
            if cell.engine == latency.cells[0].engine:
                found[f"{TEACHER}/latency_ms/{place}"] = cell.teacher_ms
                own = system
            found[f"{own}/latency_ms/{place}"] = cell.student_ms
            if cell.student_p95_ms:
                found[f"{own}/latency_p95_ms/{place}"] = cell.student_p95_ms
            if cell.rows_per_second:
                found[f"{own}/rows_per_second/{place}"] = cell.rows_per_second
        for name, engine in latency.engines.items():
            own = TEACHER if name == TEACHER else f"{system}/{name}"
            found[f"{own}/peak_mb"] = engine.peak_mb
    for (system, task), export in results.exports.items():
        found[f"{system}/{task}/int8/{export.metric}"] = export.chosen.score
        found[f"{system}/{task}/int8/drop"] = export.chosen.drop
    return found


def all_settings(
    profile: str,
    systems: Sequence[str],
    tasks: Sequence[str],
    read: Callable[[Path], Mapping[str, Any]],
) -> dict[str, str]:
    """Return the settings of a run, flat: those of params.yaml and of the files that it chooses.

    Args:
        profile: The selected profile.
        systems: The systems of this run.
        tasks: The tasks of this run.
        read: Reads one of the files.
    """
    found = flat(read(PARAMS)) | flat(read(Path(f"params/profiles/{profile}.yaml")), PROFILE)
    for folder, names in (("systems", systems), ("tasks", tasks)):
        for name in names:
            content = dict(read(Path(f"params/{folder}/{name}.yaml")))
            content.pop("description", None)  # says nothing to a training
            found |= flat(content, f"{folder}.{name}.")
    return found


def setting_name(key: str) -> str:
    """Return the name of a setting in `all_settings`.

    Args:
        key: As `dvc exp run -S` takes it: `loss.attn_weight`, or `file:key`.
    """
    file, _, name = key.rpartition(":")
    folder, stem = Path(file).parent.name, Path(file).stem
    prefix = PROFILE if folder == "profiles" else f"{folder}.{stem}."
    return (prefix if file and Path(file) != PARAMS else "") + name.lstrip("+")


def run_name(
    profile: str,
    systems: Sequence[str],
    tasks: Sequence[str],
    params: Mapping[str, str],
    folder: Path,
) -> str:
    """Name a run by its profile and what differs from the committed settings.

    Args:
        profile: The selected profile.
        systems: The systems of this run.
        tasks: The tasks of this run.
        params: Of `all_settings`.
        folder: The project's folder.
    """
    committed = all_settings(profile, systems, tasks, partial(_committed, folder=folder))
    changed = [
        f"{name.removeprefix(PROFILE)}={value}"
        for name, value in params.items()
        if name != "profile" and not _same(committed.get(name, value), value)
    ]
    name = " ".join([profile, *changed])
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."


def _same(one: str, other: str) -> bool:
    """Return whether two settings are the same, as numbers too: `1` and `1.0`."""
    if one == other:
        return True
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False  # a text


def _committed(file: Path, folder: Path) -> dict[str, Any]:
    text = _git(folder, "show", f"HEAD:./{file}")
    with suppress(InputError):  # what was committed may have been wrong
        return parse_yaml(text.encode(), f"{file} at HEAD") if text else {}
    return {}


def origin(profile: str, folder: Path) -> dict[str, str]:
    """Say where a run comes from: profile, git commit, dvc.lock, and DVC's experiment if any."""
    lock = folder / "dvc.lock"
    tags = {"profile": profile, "git_commit": git_commit(folder)}
    if lock.is_file():
        tags["dvc_revision"] = hashlib.md5(lock.read_bytes(), usedforsecurity=False).hexdigest()
    experiment = os.environ.get("DVC_EXP_NAME")
    return tags | ({"dvc_experiment": experiment} if experiment else {})


def git_commit(folder: Path) -> str:
    """Return the commit that is checked out, or `unknown`."""
    return _git(folder, "rev-parse", "HEAD") or "unknown"


def _git(folder: Path, *command: str) -> str:
    try:
        found = subprocess.run(
            ["git", *command], cwd=folder, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
