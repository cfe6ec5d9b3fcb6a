"""Read a task's splits from where its file says: GLUE, the hub, files, or the embedded corpus."""

import itertools
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.settings.choices import Kind
from tinybert.tasks.conll import read_conll
from tinybert.tasks.files import read_table
from tinybert.tasks.glue import AX, MNLI, hub_glue, is_labelled, listing, read_glue, spelling
from tinybert.tasks.records import arrow_table
from tinybert.tasks.squad import read_squad
from tinybert.tasks.tables import QuestionColumns, Table, collect
from tinybert.tasks.task import UNLABELLED
from tinybert.tasks.task_file import USUAL_COLUMNS, Columns, Files, Hub, TaskFile

LISTS: tuple[Kind, ...] = ("multilabel", "tokens")  # kinds whose columns may hold lists


@dataclass(frozen=True)
class Sources:
    """Where tasks come from."""

    folder: Path  # `sources.tasks`, the only folder whose files DVC watches
    glue: Literal["folder", "hub"]  # GLUE's tasks: out of `folder`, or from the hub
    glue_hub: str  # the hub's copy of GLUE, or a folder in its layout inside `folder`


def read_splits(task: TaskFile, sources: Sources, seed: int) -> dict[str, Table]:
    """Read every split of a task.

    Args:
        task: Says where the data is.
        sources: Where to look.
        seed: Of the embedded tasks, which are drawn from text.

    Returns:
        The splits; of an embedded task also `unlabelled` where its file asks for it.

    Raises:
        InputError: A source is missing or cannot be read.
    """
    if task.glue and sources.glue == "folder":
        return read_glue(sources.folder, task)
    if task.glue:
        return _read_hub_glue(task.glue, sources)
    columns = task.columns
    if task.kind == "span":
        columns = QuestionColumns.model_validate(columns.model_dump())
    if task.hub:
        return read_hub(task.hub, columns, sources.folder, task.kind in LISTS)
    if task.files:
        return _read_files(task.files, columns, sources.folder, task.kind in LISTS)
    return _make_embedded(task, seed)


def _read_files(files: Files, columns: Columns, folder: Path, lists: bool) -> dict[str, Table]:
    named = files.named()
    paths = dict(zip(named, watched_files(folder, named.values()), strict=True))
    _refuse_same_file(paths)
    if files.format == "conll":
        return {
            split: read_conll(path, columns, is_labelled(split)) for split, path in paths.items()
        }
    if files.format == "squad":
        _refuse_columns(columns)
        return {split: read_squad(path, is_labelled(split)) for split, path in paths.items()}
    return {
        split: read_table(path, columns, is_labelled(split), files.separator, files.header, lists)
        for split, path in paths.items()
    }


def _refuse_columns(columns: Columns) -> None:
    """Refuse names of columns for files whose layout gives them."""
    given, usual = columns.model_dump(), USUAL_COLUMNS["span"]
    if given != usual:
        raise InputError(
            f"columns: files of format squad have {', '.join(usual.values())}, got "
            f"{', '.join(str(name) for name in given.values())}; leave `columns` out"
        )


def watched_files(
    folder: Path, names: Iterable[str], key: Literal["files", "unlabelled"] = "files"
) -> list[Path]:
    """Return the files of these names in the folder that DVC watches.

    Args:
        folder: That folder.
        names: Relative to it.
        key: Of the task's file, which named them.

    Raises:
        InputError: One is missing, or leaves the folder by its name.
    """
    paths = [watched(folder, name) for name in names]
    if missing := [_no_file(folder, path, key) for path in paths if not path.is_file()]:
        raise InputError(*missing)
    return paths


def _no_file(folder: Path, path: Path, key: str) -> str:
    """Say what is at a path instead of a file."""
    correct = f"correct `{key}` of the task's file"
    named, joined = "name one file a split", "join the files to one"
    if key == "unlabelled":
        named = joined = "name each file"
    if path.is_dir():
        return f"{path}: is a folder, got {listing(path)} in it; {named}, {correct}"
    if path.is_symlink():
        return f"{path}: leads nowhere, got a link to {path.readlink()}; link it anew"
    there = path.parent.iterdir() if path.parent.is_dir() else ()
    cure = "put the file there, or " + correct
    for other in sorted(there):
        if other.name.casefold() == path.name.casefold():
            cure = f"did you mean {other.name!r}? {correct}"
    if (folder / path.name).is_file() and path.parent != folder:
        cure = f"names are relative to {folder}: write {path.name}"
    if re.search("[*?[]", path.name):
        cure = f"a pattern is not read: {joined}, and {correct}"
    if "://" in str(path) or re.search("^[a-z]+:/", str(path.relative_to(folder))):
        cure = "an address is not read: download it to there, and name the file"
    return f"{path}: missing, got {listing(path.parent)}; {cure}"


def _refuse_same_file(paths: Mapping[str, Path]) -> None:
    """Refuse one file under two names: scores on rows that were trained on say nothing."""
    for (one, first), (other, second) in itertools.combinations(paths.items(), 2):
        if first.samefile(second):
            raise InputError(
                f"{second}: each split must have a file of its own, got {one}'s {first} as "
                f"{other} too; without `dev` a tenth of train is set aside"
            )


def watched(folder: Path, name: str) -> Path:
    """Return a path inside the folder that DVC watches; a link in it may lead anywhere.

    Raises:
        InputError: The path leaves the folder by its name.
    """
    path = folder / name
    # Not resolve(): a link inside the folder is welcome, wherever it leads.
    if not Path(os.path.normpath(path.absolute())).is_relative_to(
        os.path.normpath(folder.absolute())
    ):
        raise InputError(
            f"{path}: outside sources.tasks, got a path that a change of the file would not be "
            f"noticed at; put or link it in {folder}, or set sources.tasks"
        )
    return path


def _read_hub_glue(glue: str, sources: Sources) -> dict[str, Table]:
    tables = read_hub(*hub_glue(glue, sources.glue_hub), sources.folder)
    local = sources.folder / sources.glue_hub
    if spelling(glue) == MNLI and ((local / AX).is_dir() or not local.is_dir()):
        diagnostic = Hub.model_construct(path=sources.glue_hub, name=AX, splits={AX: "test"})
        tables |= read_hub(diagnostic, hub_glue(AX, sources.glue_hub)[1], sources.folder)
    return tables


def read_hub(hub: Hub, columns: Columns, folder: Path, lists: bool = False) -> dict[str, Table]:
    """Read a data set of the hub, or a folder of Parquet files in its layout.

    A folder holds, for each configuration, `<split>-*.parquet`, `<split>.parquet` or
    `<split>/*.parquet`. Numbers of a label column that has names are turned into names.

    Args:
        hub: The data set and its splits.
        columns: Where the sentences and the label stand.
        folder: In which a folder of the data set's name may lie.
        lists: Columns may hold lists.

    Raises:
        InputError: The data set or a split cannot be had.
    """
    local = next(filter(Path.is_dir, (folder / hub.path, Path(hub.path))), None)
    if local:
        place = watched(folder, str(local.absolute())) / (hub.name or "")
        splits = {split: _local_split(place, name) for split, name in hub.splits.items()}
    else:
        splits = _remote_splits(hub)
    place_name = "/".join(filter(None, (hub.path, hub.name)))
    return {
        split: arrow_table(
            f"{place_name} {hub.splits[split]}", arrow, columns, is_labelled(split), names, lists
        )
        for split, (arrow, names) in splits.items()
    }


def _remote_splits(hub: Hub) -> dict[str, tuple[Any, dict[str, list[str]]]]:
    import datasets

    place = "/".join(filter(None, (hub.path, hub.name)))
    try:
        found = datasets.load_dataset(hub.path, hub.name)
    except (OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError) as error:
        reason = in_one_line(error) or type(error).__name__
        raise InputError(
            f"hub data set {place}: cannot be loaded, got {reason}; check its name and the "
            f"network, or put its Parquet files in <sources.tasks>/{hub.path}"
        ) from error
    missing = [name for name in hub.splits.values() if name not in found]
    if missing:
        raise InputError(
            f"hub data set {place}: no split {', '.join(missing)}, got {', '.join(found)}; "
            f"correct `splits` of the task's file"
        )
    return {
        split: (found[name].with_format("arrow")[:], _label_names(found[name].features))
        for split, name in hub.splits.items()
    }


def _local_split(folder: Path, name: str) -> tuple[Any, dict[str, list[str]]]:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    patterns = (f"{name}-*.parquet", f"{name}.parquet", f"{name}/*.parquet")
    files = sorted(file for pattern in patterns for file in folder.glob(pattern))
    if not files:
        raise InputError(
            f"{folder}: no files of split {name}, looked for {', '.join(patterns)}, "
            f"got {listing(folder)}; put the hub's Parquet files there"
        )
    try:
        parts = [pq.ParquetFile(file).read() for file in files]
        arrow = pa.concat_tables(parts)
    except (OSError, pa.ArrowException) as error:
        reason = in_one_line(error)
        raise InputError(f"{files[0]}: cannot be read, got {reason}; fetch it again") from error
    return arrow, _label_names(datasets.Features.from_arrow_schema(arrow.schema))


def _label_names(features: Any) -> dict[str, list[str]]:
    import datasets

    inner = {column: getattr(each, "feature", each) for column, each in features.items()}
    return {
        column: list(feature.names)
        for column, feature in inner.items()
        if isinstance(feature, datasets.ClassLabel)
    }


def _make_embedded(task: TaskFile, seed: int) -> dict[str, Table]:
    from tinybert.tasks.embedded.tasks import make_task

    assert task.embedded is not None and task.rows is not None  # TaskFile makes sure
    rows = task.rows
    frames = make_task(task.embedded, rows.train, rows.dev, rows.test, seed, rows.unlabelled)
    tables = {}
    for split, frame in frames.items():
        place, header = f"embedded {task.embedded} {split}", list(frame.columns)
        numbered = enumerate(frame.itertuples(index=False, name=None), start=1)
        tables[split] = collect(place, "row", header, numbered, task.columns, split != UNLABELLED)
    return tables
