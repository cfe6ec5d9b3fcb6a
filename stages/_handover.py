"""Hand a student on: a folder that serves it, or the hub.

python -m stages._handover bundle SYSTEM TASK
python -m stages._handover push SYSTEM TASK REPO     # user/name; offline: a folder, checked
"""

import os
import sys
from pathlib import Path

from tinybert.deployment.bundle import CARD, make_bundle, require_made
from tinybert.deployment.hub import check_folder, fill_folder, require_repository_name, upload
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.settings.reader import read_param, read_system, read_task
from tinybert.tasks.task import read_named_info
from tinybert.tasks.task_file import TaskFile

USAGE = "bundle SYSTEM TASK, or push SYSTEM TASK REPO"


def bundle(system: str, task: str) -> str:
    """Make bundles/<system>-<task>."""
    exported, card = _made(system, task)
    folder = Path("bundles") / f"{system}-{task}"
    info = read_named_info(Path("data/tasks") / task, task)
    encoding = read_task(task, TaskFile).encoding(info)
    make_bundle(exported, card, info, folder.name, encoding, folder)
    return f"made {folder}: `pip install -r requirements.txt` there, then `python service.py`"


def push(system: str, task: str, repo: str) -> str:
    """Make reports/upload/hub/<repo>, check that it loads, and upload it unless the hub is off."""
    require_repository_name(repo)
    exported, card = _made(system, task)
    folder = Path("reports/upload/hub") / repo
    fill_folder(card.parent, exported, folder)
    check_folder(folder)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return f"made {folder} and checked it; HF_HUB_OFFLINE is set, so nothing was uploaded"
    return f"uploaded {folder} to {upload(folder, repo)}"


def _made(system: str, task: str) -> tuple[Path, Path]:
    """Return the exported folder and the model card of a student.

    Raises:
        InputError: One of the names is unknown, or the student is not made yet.
    """
    for key, name in (("systems", system), ("tasks", task)):
        known = read_param(key, list[str])
        if name not in known:
            raise InputError(
                f"params.yaml: {key}: {name} is not among them, got {', '.join(known)}; "
                f"`dvc exp run -S '{key}=[{name}]'` makes it"
            )
    exported, card = (
        Path("models/onnx") / system / task,
        Path("models/student") / system / task / CARD,
    )
    item = f"{system}-{task}"
    if not read_system(system, "export", bool):
        raise InputError(
            f"params/systems/{system}.yaml: export: nothing of it is exported, got false; write "
            f"true and run `dvc repro export@{item}`"
        )
    require_made({exported: f"dvc repro export@{item}", card: f"dvc repro model_card@{item}"})
    return exported, card


def main(action: str = "", *rest: str) -> str:
    """Do what the command line asks for."""
    if action == "bundle" and len(rest) == 2:
        return bundle(*rest)
    if action == "push" and len(rest) == 3:
        return push(*rest)
    raise InputError(
        f"arguments: got {' '.join([action, *rest]).strip() or 'none'}; right are: {USAGE}"
    )


if __name__ == "__main__":
    with ends_with_its_lines():
        print(main(*sys.argv[1:]))
