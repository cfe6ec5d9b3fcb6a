"""GLUE as its download script lays it out in folders, and as the hub names it.

Source: Wang et al. 2019, arXiv 1804.07461; the 2018 download's folders and headers.
"""

from pathlib import Path

from tinybert.runtime.errors import InputError
from tinybert.tasks.delimited import read_glue_table
from tinybert.tasks.tables import Table
from tinybert.tasks.task import DEV, TRAIN
from tinybert.tasks.task_file import Columns, Hub, TaskFile

MNLI = "mnli"
AX = "ax"  # the diagnostic set, in MNLI's labels
AX_FOLDERS = ("ax", "diagnostic")
AX_FILES = ("diagnostic.tsv", "AX.tsv", "ax.tsv", "test.tsv")
AX_COLUMNS = Columns(sentence1="sentence1", sentence2="sentence2", label="label")
# Only CoLA's train and dev have no header; the star repeats the label as linguists mark it.
COLA_HEADER = ("source", "label", "star", "sentence")
PLAIN_SPLITS = {TRAIN: "train", DEV: "dev", "test": "test"}
MNLI_SPLITS = {
    TRAIN: "train",
    DEV: "dev_matched",
    "dev_mm": "dev_mismatched",
    "test": "test_matched",
    "test_mm": "test_mismatched",
}
HUB_PAIR = ("sentence1", "sentence2")  # where HUB_COLUMNS says nothing else
HUB_COLUMNS: dict[str, tuple[str, str | None]] = {
    "cola": ("sentence", None),
    "sst2": ("sentence", None),
    "qnli": ("question", "sentence"),
    "qqp": ("question1", "question2"),
    MNLI: ("premise", "hypothesis"),
    AX: ("premise", "hypothesis"),
}
CURE = "run `make glue GLUE_DIR=<folder>` or point to it with `-S sources.tasks=<folder>`"


def spelling(name: str) -> str:
    """Return a task's name without case and dashes, so that SST-2 is sst2."""
    return name.lower().replace("-", "").replace("_", "")


def read_glue(sources: Path, task: TaskFile) -> dict[str, Table]:
    """Read a task's splits from GLUE's folder.

    Args:
        sources: The folder that holds CoLA, MNLI, ...
        task: Its `glue` names the folder, in any case and also as the hub spells it.

    Returns:
        The splits; a test split only where its file is there.

    Raises:
        InputError: The folder, train.tsv or a dev file is missing, or a file cannot be read.
    """
    name = spelling(str(task.glue))
    folder = find_folder(sources, str(task.glue))
    layout = MNLI_SPLITS if name == MNLI else PLAIN_SPLITS
    files = {split: folder / f"{stem}.tsv" for split, stem in layout.items()}
    needed = [split for split in files if split == TRAIN or is_labelled(split)]
    missing = [files[split].name for split in needed if not files[split].is_file()]
    if missing:
        raise InputError(
            f"{folder}: no folder of GLUE's {task.glue}, looked for {', '.join(missing)}, "
            f"got {listing(folder)}; {CURE}"
        )
    tables = {}
    for split, file in files.items():
        if file.is_file():
            header = COLA_HEADER if name == "cola" and split in needed else None
            tables[split] = read_glue_table(file, header, task.columns, split in needed)
    return tables | (_read_ax(sources) if name == MNLI else {})


def hub_glue(glue: str, path: str) -> tuple[Hub, Columns]:
    """Return where the hub's copy of GLUE has a task, by the same splits as the folder."""
    name = spelling(glue)
    first, second = HUB_COLUMNS.get(name, HUB_PAIR)
    columns = Columns(sentence1=first, sentence2=second, label="label")
    layout = MNLI_SPLITS if name == MNLI else PLAIN_SPLITS
    splits = {split: stem.replace("dev", "validation") for split, stem in layout.items()}
    return Hub(path=path, name=name, splits=splits), columns


def is_labelled(split: str) -> bool:
    """Return whether a split must have labels: train and every dev split."""
    return split == TRAIN or split.startswith(DEV)


def find_folder(sources: Path, name: str) -> Path:
    """Return the folder of a task in GLUE's or the hub's spelling.

    Raises:
        InputError: There is none, or there are several that are not spelt as in the task's file.
    """
    found = _matching(sources, name)
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"{sources}: no GLUE folder, looked for {name}, got {listing(sources)}; {CURE}"
        )
    names = ", ".join(folder.name for folder in found)
    raise InputError(f"{sources}: several folders for {name}, got {names}; keep one of them")


def _matching(sources: Path, name: str) -> list[Path]:
    if not sources.is_dir():
        return []
    folders = [path for path in sorted(sources.iterdir()) if path.is_dir()]
    exact = [path for path in folders if path.name == name]
    return exact or [path for path in folders if spelling(path.name) == spelling(name)]


def _read_ax(sources: Path) -> dict[str, Table]:
    folders = [folder for name in AX_FOLDERS for folder in _matching(sources, name)]
    if not folders:
        return {}
    files = [folder / name for folder in folders for name in AX_FILES if (folder / name).is_file()]
    if not files:
        raise InputError(
            f"{folders[0]}: no diagnostic set, looked for {', '.join(AX_FILES)}, "
            f"got {listing(folders[0])}; put diagnostic.tsv there or remove the folder"
        )
    return {AX: read_glue_table(files[0], None, AX_COLUMNS, labelled=False)}


def listing(folder: Path, limit: int = 10) -> str:
    """Return what is in a folder, in words."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) + more) or "an empty folder"
