"""What a training run keeps in its folder of checkpoints, so that a kill costs no finished step.

A checkpoint is written beside and renamed; the sizes of its files tell whether it is whole.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from tinybert.outputs import replace_folder
from tinybert.processes import rank, wait_for_all

if TYPE_CHECKING:  # imported late, since settings are checked without it
    from transformers import TrainerState

PARTIAL = "partial"  # where a checkpoint is written, before it is renamed
SIZES = "sizes.json"  # of a checkpoint's files, written last
STATE = "trainer_state.json"
WEIGHTS = "model.safetensors"
FINISHED = "finished"  # weights and history of a run that came to its end
HISTORY = "history.json"


def last_checkpoint(folder: Path) -> str | None:
    """Return the newest checkpoint that is whole, with the best one it names, if any."""
    found = sorted(folder.glob("checkpoint-*"), key=lambda path: -int(path.name.split("-")[1]))
    for path in found:
        if is_whole(path):
            best = state_of(path).best_global_step
            if best is None or is_whole(folder / f"checkpoint-{best}"):
                return str(path)
    return None


def is_whole(checkpoint: Path) -> bool:
    """Say whether every file of a checkpoint is there in the size it was written in."""
    try:
        sizes: dict[str, int] = json.loads((checkpoint / SIZES).read_text(encoding="utf-8"))
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def state_of(checkpoint: Path) -> "TrainerState":
    """Read where training stood."""
    from transformers import TrainerState

    return TrainerState.load_from_json(str(checkpoint / STATE))


def keep_finished(last: Path, checkpoints: Path) -> None:
    """Keep the weights and history of a run that came to its end; drop its checkpoints."""
    state = state_of(last)
    chosen = last
    if state.best_global_step is not None:
        chosen = checkpoints / f"checkpoint-{state.best_global_step}"
    with replace_folder(checkpoints / FINISHED) as folder:
        shutil.copy(chosen / WEIGHTS, folder / WEIGHTS)
        kept = {"best": state.best_metric, "log": state.log_history}
        (folder / HISTORY).write_text(json.dumps(kept), encoding="utf-8")
    wait_for_all()
    if not rank():
        remove_checkpoints(checkpoints, set())


def put_in_place(written: Path, checkpoints: Path, best_step: int | None) -> None:
    """Seal a checkpoint, move it among the others, and remove those before it but the best.

    Args:
        written: The checkpoint, elsewhere on the same disk.
        checkpoints: The run's folder.
        best_step: Of the best checkpoint so far.
    """
    sizes = {path.name: path.stat().st_size for path in written.iterdir()}
    (written / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
    shutil.rmtree(checkpoints / written.name, ignore_errors=True)
    written.rename(checkpoints / written.name)
    remove_checkpoints(checkpoints, {written.name, f"checkpoint-{best_step}"})


def remove_checkpoints(checkpoints: Path, kept: set[str]) -> None:
    """Remove all checkpoints but the named ones."""
    for checkpoint in checkpoints.glob("checkpoint-*"):
        if checkpoint.name not in kept:
            shutil.rmtree(checkpoint, ignore_errors=True)
