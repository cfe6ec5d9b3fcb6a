"""Name a training run by what determines it, so that a checkpoint only continues the same run."""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tinybert.runtime.processes import num_processes, rank

DAYS_KEPT = 14  # unfinished runs of other settings or code; going back to those goes on from them
SHOWS = ("reports", "tracking", "doctor")  # folders whose code changes no training


def checkpoints_folder(stage: str, settings: dict[str, Any], inputs: Sequence[Path]) -> Path:
    """Return `checkpoints/<stage>/<fingerprint>` under the DVC root, outside every output.

    Args:
        stage: The stage's name.
        settings: Everything that was read of params, as JSON-able values.
        inputs: Files and folders that were read.

    Side effects: Removes the stage's other folders that nothing was written to for `DAYS_KEPT`.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    if num_processes() > 1:  # each process draws its own random numbers
        digest.update(f"{num_processes()} processes".encode())
    package = Path(__file__).parents[1]
    code = sorted(
        set(package.rglob("*.py")) - {f for s in SHOWS for f in (package / s).glob("*.py")}
    )
    for path in [*code, *inputs]:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.name).encode())
                status = file.stat()
                digest.update(_file_digest(file, status.st_size, status.st_mtime_ns))
    folder = Path(os.environ.get("DVC_ROOT", ".")) / "checkpoints" / stage
    own = folder / digest.hexdigest()[:16]
    if not rank():
        _remove_abandoned(folder, own)
    return own


@cache
def _file_digest(file: Path, size: int, changed: int) -> bytes:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _remove_abandoned(folder: Path, own: Path) -> None:
    oldest = time.time() - DAYS_KEPT * 24 * 3600
    for run in folder.glob("*/"):
        if run != own and max(_written(path) for path in [run, *run.rglob("*")]) < oldest:
            shutil.rmtree(run, ignore_errors=True)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process is at work there
        return time.time()
