"""The stages of dvc.yaml, one file each, run as `python -m stages.<name> [SYSTEM] [TASK]`."""

import gc
import hashlib
import importlib
import inspect
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import cast

# What torch and transformers make while they are imported stays. Searching it for garbage took a
# fifth of the time (measured). "-m": run as a stage, whose name is not known yet; not imported.
if sys.argv[0] == "-m":
    # By name, since it changes no output.
    if "stages.benchmark_latency" not in sys.orig_argv:  # which measures a process of its own
        importlib.import_module("tinybert.runtime.preloaded").run_preloaded()
    gc.disable()

# Read once, when a library is loaded: transformers' warnings and bars need no import of it here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# As is this, by torch. Threads that wait for each other give their core away instead of
# spinning on it: beside another busy process a training step took half the time (measured), alone
# the same. Latency is measured as others run a model: waking threads up took the student, whose
# products are small, 5.6 ms a row where it takes 3.0 (measured).
if "stages.benchmark_latency" in sys.orig_argv:
    os.environ.pop("OMP_WAIT_POLICY", None)
else:
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tinybert.runtime.errors import InputError
from tinybert.runtime.memory import keep_freed_memory
from tinybert.runtime.outputs import disk_space_guard
from tinybert.runtime.processes import die_with_parent, rank

STARTED = time.monotonic()  # before the imports of a stage, which take seconds
PARENT = os.getppid()  # read before what takes seconds to import, while a parent may be killed
NAMES = tuple(
    "fetch_teacher prepare_corpus word_vectors prepare_task finetune_teacher general_distill "
    "augment teacher_logits intermediate_distill prediction_distill evaluate export "
    "benchmark_latency model_card report track".split()
)
TRAINING = tuple(
    "fetch_teacher finetune_teacher general_distill intermediate_distill prediction_distill".split()
)
REPEATING = (*TRAINING, "teacher_logits", "evaluate")  # one pass of a model after the other
UNTIMED = ("report", "track")  # what shows the times of the others
FIRST_SPEAKS_SECONDS = 10.0


def run(main: Callable[..., str]) -> None:
    """Run a stage's `main` on the command line's arguments; end with one line.

    The line says what was made, where, and how long it took. Wrong input ends with exit code 1
    and one line per problem; wrong code crashes. Of several processes the first one prints.
    """
    started = time.monotonic()
    gc.freeze()  # what was imported stays, and is searched no more
    gc.enable()
    name = Path(sys.argv[0]).stem
    die_with_parent(PARENT)
    quieten_libraries()
    if name in REPEATING:
        keep_freed_memory()
    importlib.import_module("tinybert.runtime.terminal").make_output_safe()  # it changes no output
    if rank():
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115  (open to the end)
    try:
        _check_params_once()  # first, since a name with a space arrives as two arguments
        _require_arguments(main)
        with _live_curves(name), disk_space_guard(Path.cwd()):
            made = main(*sys.argv[1:])
    except InputError as error:
        if rank():
            time.sleep(FIRST_SPEAKS_SECONDS)  # else the launcher ends the first before it speaks
            sys.exit(1)
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        sys.exit(1)
    _write_seconds(name)
    print(f"{name}: {made}, {time.monotonic() - started:.0f} s", flush=True)


def _write_seconds(name: str) -> None:
    """Write down how long the stage took; imported by name, since it changes no output."""
    if name in NAMES and name not in UNTIMED and not rank():
        times = importlib.import_module("tinybert.reports.times")
        times.write_seconds(name, sys.argv[1:], time.monotonic() - STARTED)


def doctor() -> ModuleType:
    """Return what checks a set-up before hours are spent; by name, since it changes no output."""
    return importlib.import_module("tinybert.doctor.checkup")


def _live_curves(name: str) -> AbstractContextManager[None]:
    """Show a training in MLflow while it runs; imported by name, since it changes no output."""
    if name not in TRAINING:
        return nullcontext()
    live = importlib.import_module("tinybert.tracking.live")
    return cast(AbstractContextManager[None], live.shown(name))


def _require_arguments(main: Callable[..., str]) -> None:
    given = sys.argv[1:]
    wanted = inspect.signature(main)
    try:
        wanted.bind(*given)
    except TypeError as error:
        names = " ".join(wanted.parameters).upper() or "none"
        raise InputError(
            f"arguments: got {' '.join(given) or 'none'}; right are: {names}"
        ) from error


def _check_params_once() -> None:
    """Check every params file, unless just these files were found right by just this code."""
    digest = hashlib.sha256()
    places = (Path("params"), Path("stages"), Path("tinybert"))
    for file in sorted([Path("params.yaml"), *(f for p in places for f in p.rglob("*"))]):
        if file.suffix in (".py", ".yaml") and file.is_file():
            digest.update(f"{file.as_posix()}\n".encode())
            digest.update(file.read_bytes())
    root = Path(os.environ.get("DVC_ROOT", "."))
    marker = root / "checkpoints" / "right_params" / digest.hexdigest()[:16]
    if marker.is_file():
        return
    importlib.import_module("stages._check_params").check_params()
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()


def quieten_libraries() -> None:
    """Switch off what libraries tell others."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
