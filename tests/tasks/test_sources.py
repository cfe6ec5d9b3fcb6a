import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.refused import problems_of
from tests.fixtures.tables import hub_parquet
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse, read_yaml
from tinybert.tasks.sources import Sources, _remote_splits, read_splits
from tinybert.tasks.tables import Table
from tinybert.tasks.task_file import Hub, TaskFile

COLUMNS = {"sentence1": "text", "label": "topic"}
CSV = "text,topic\na,x\nb,y\n"


def read(folder: Path, settings: dict[str, Any], **sources: Any) -> dict[str, Table]:
    place = Sources(**{"folder": folder, "glue": "folder", "glue_hub": "nyu-mll/glue", **sources})
    return read_splits(parse(TaskFile, settings, "task"), place, seed=1)


refusal = partial(problems_of, read)


def of_project(name: str) -> dict[str, Any]:
    return read_yaml(ROOT / "params" / "tasks" / f"{name}.yaml")


def test_files_are_read_from_the_watched_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.csv").write_text(CSV)
    tables = read(tmp_path, {"files": {"train": "mine/train.csv"}, "columns": COLUMNS})
    assert (list(tables), tables["train"].label) == (["train"], ["x", "y"])


def test_a_link_in_the_watched_folder_may_lead_anywhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere.csv").write_text(CSV)
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "train.csv").symlink_to(tmp_path / "elsewhere.csv")
    tables = read(folder, {"files": {"train": "train.csv"}, "columns": COLUMNS})
    assert tables["train"].sentence1 == ["a", "b"]


@pytest.mark.parametrize("name", ["../elsewhere.csv", "{absolute}", "a/../../elsewhere.csv"])
def test_a_file_outside_the_watched_folder_is_refused(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "elsewhere.csv"
    outside.write_text(CSV)
    (tmp_path / "tasks").mkdir()
    files = {"train": name.format(absolute=outside)}
    found = refusal(tmp_path / "tasks", {"files": files, "columns": COLUMNS})
    assert "outside sources.tasks" in found[0]
    assert "or set sources.tasks" in found[0]


def test_all_missing_files_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text(CSV)
    files = {"train": "train.csv", "test": "deep/test.csv"}
    found = refusal(tmp_path, {"files": files, "columns": COLUMNS})
    assert "missing, got other.csv;" in found[0]
    assert "missing, got no such folder;" in found[1]


def test_glue_comes_from_parquet_files_in_the_hubs_layout_without_a_network(tmp_path: Path) -> None:
    folder = tmp_path / "nyu-mll" / "glue" / "mrpc"
    names = ["not_equivalent", "equivalent"]
    for split, labels in {"train": [1, 0], "validation": [0, 1], "test": [-1, -1]}.items():
        columns = {"sentence1": ["a", "b"], "sentence2": ["c", "d"], "label": labels}
        hub_parquet(folder / f"{split}-00000-of-00001.parquet", columns, names)
    tables = read(tmp_path, of_project("mrpc"), glue="hub")
    assert list(tables) == ["train", "dev", "test"]
    assert tables["train"].label == ["equivalent", "not_equivalent"]
    assert tables["test"].label == [-1, -1]


def test_label_names_of_the_hub_count_and_not_its_numbers(tmp_path: Path) -> None:
    folder = tmp_path / "copy" / "mnli"
    order = ["contradiction", "entailment", "neutral"]  # not the order of the task's file
    for split in (
        "train",
        *(f"{s}_{k}" for s in ("validation", "test") for k in ("matched", "mismatched")),
    ):
        columns = {"premise": ["p"], "hypothesis": ["h"], "label": [1]}
        hub_parquet(folder / split / "0000.parquet", columns, order)
    hub_parquet(
        tmp_path / "copy" / "ax" / "test.parquet",
        {"premise": ["q"], "hypothesis": ["h"], "label": [-1]},
        order,
    )
    tables = read(tmp_path, of_project("mnli"), glue="hub", glue_hub="copy")
    assert list(tables) == ["train", "dev", "dev_mm", "test", "test_mm", "ax"]
    assert tables["dev_mm"].label == ["entailment"]
    assert tables["ax"].sentence1 == ["q"]


def test_a_data_set_in_several_files_keeps_their_order(tmp_path: Path) -> None:
    for number in range(3):
        columns = {"text": [f"row {number}"], "topic": ["x"]}
        hub_parquet(tmp_path / "mine" / f"train-0000{number}-of-00003.parquet", columns, None)
    settings = {"hub": {"path": "mine", "splits": {"train": "train"}}, "columns": COLUMNS}
    assert read(tmp_path, settings)["train"].sentence1 == ["row 0", "row 1", "row 2"]


def test_a_missing_split_of_a_local_copy_says_what_is_there(tmp_path: Path) -> None:
    hub_parquet(tmp_path / "mine" / "train.parquet", {"text": ["a"], "topic": ["x"]}, None)
    found = refusal(tmp_path, {"hub": {"path": "mine"}, "columns": COLUMNS})
    assert "no files of split validation" in found[0]
    assert "got train.parquet;" in found[0]


def test_a_local_copy_outside_the_watched_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "tasks").mkdir()
    monkeypatch.chdir(tmp_path)
    for path in (str(tmp_path / "copy"), "./copy", "copy"):
        settings = {"hub": {"path": path}, "columns": COLUMNS}
        (found,) = refusal(tmp_path / "tasks", settings)
        assert "outside sources.tasks" in found
    # The same name from the project's root is welcome where it leads into the watched folder.
    hub_parquet(tmp_path / "tasks" / "in" / "train.parquet", {"text": ["a"], "topic": ["x"]}, None)
    hub = {"path": "tasks/in", "splits": {"train": "train"}}
    assert read(tmp_path / "tasks", {"hub": hub, "columns": COLUMNS})["train"].sentence1 == ["a"]


def test_the_librarys_loader_gives_the_same_as_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    # The loader treats a folder as it treats the hub, which a test cannot reach.
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    hub_parquet(tmp_path / "mine" / "train.parquet", {"text": ["a"], "label": [1]}, ["no", "yes"])
    hub = Hub(path=str(tmp_path / "mine"), splits={"train": "train"})
    arrow, names = _remote_splits(hub)["train"]
    assert arrow.column("text").to_pylist() == ["a"]
    assert names == {"label": ["no", "yes"]}
    with pytest.raises(InputError, match="no split validation, got train;"):
        _remote_splits(Hub(path=str(tmp_path / "mine")))


def test_a_data_set_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    settings = {"hub": {"path": "no-such-owner/no-such-set"}, "columns": COLUMNS}
    (found,) = refusal(tmp_path, settings)
    assert "hub data set no-such-owner/no-such-set: cannot be loaded" in found
    assert "\n" not in found


def test_the_hub_needs_a_training_split(tmp_path: Path) -> None:
    settings = {"hub": {"path": "mine", "splits": {"dev": "validation"}}, "columns": COLUMNS}
    assert "splits must name train" in refusal(tmp_path, settings)[0]


@pytest.mark.slow
def test_an_embedded_task_has_the_rows_its_file_asks_for(tmp_path: Path) -> None:
    rows = {"train": 20, "dev": 10, "test": 12}
    tables = read(tmp_path, of_project("doc_summary") | {"rows": rows})
    assert {split: len(table.numbers) for split, table in tables.items()} == rows
    assert set(tables["train"].label or []) == {"match", "mismatch"}
