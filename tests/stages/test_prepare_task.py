from pathlib import Path

import pandas as pd
import pytest

from stages.prepare_task import describe, main, prepare_task
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError
from tinybert.settings.reader import parse, read_yaml
from tinybert.tasks.sections import PrepareTaskSettings
from tinybert.tasks.task import read_info, read_split
from tinybert.tasks.task_file import TaskFile

GLUE = ROOT.parent / "shared" / "data" / "glue"
SETTINGS = PrepareTaskSettings(
    glue="folder", glue_hub="nyu-mll/glue", max_train_rows=None, sampled_pairs=0
)
TASK = """# A task of one's own.
description: Topic of a message
files: {train: mine/train.csv, test: mine/test.csv}
columns: {sentence1: text, sentence2: more, label: topic}
"""
PROFILE = (
    "prepare_task: {glue: folder, glue_hub: nyu-mll/glue, max_train_rows: 12, sampled_pairs: 0}\n"
)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a single task: twenty pairs, no dev file, an unlabelled test file."""
    rows = [f'"Pair ""{number}""",two,{number % 2}.0' for number in range(20)]
    texts = {
        "params.yaml": "profile: small\nseed: 7\nsources: {tasks: raw}\n",
        "params/profiles/small.yaml": PROFILE,
        "params/tasks/mine.yaml": TASK,
        "raw/mine/train.csv": "\n".join(["text,more,topic", *rows]),
        "raw/mine/test.csv": 'text,more\n"A\nb",c\n',
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_task_of_ones_own_becomes_a_prepared_folder(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 20 rows: 2 are set aside for dev, then 12 of the remaining 18 are kept; 12 + 2 + 1 = 15.
    assert main("mine") == "made task mine, 15 rows, in data/tasks/mine"
    folder = project / "data" / "tasks" / "mine"
    info = read_info(folder)
    assert (info.labels, info.pair, info.metrics) == (["0", "1"], True, ["accuracy", "f1_macro"])
    assert info.num_rows == {"train": 12, "dev": 2, "test": 1}
    train, test = read_split(folder, "train"), read_split(folder, "test")
    assert train["sentence1"].str.fullmatch(r'Pair "\d+"').all()
    assert train["label"].value_counts().to_dict() == {0: 6, 1: 6}
    assert test.to_dict("list") == {"sentence1": ["A b"], "sentence2": ["c"]}
    printed = capsys.readouterr().out
    assert "mine dev: 2 of train's 20 rows were set aside" in printed
    assert "mine train: 12 rows, 6 0, 6 1" in printed
    assert "mine test: 1 rows, without labels" in printed


def test_the_same_seed_writes_the_same_bytes(project: Path) -> None:
    folder = project / "data" / "tasks" / "mine"
    main("mine")
    first = {file.name: file.read_bytes() for file in folder.iterdir()}
    main("mine")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == first
    assert set(first) == {"task.json", "train.parquet", "dev.parquet", "test.parquet"}


def test_a_bad_row_leaves_the_prepared_folder_as_it_was(project: Path) -> None:
    main("mine")
    with (project / "raw" / "mine" / "train.csv").open("a") as file:
        file.write("\nlast,,1\n")
    with pytest.raises(InputError, match=r"raw/mine/train\.csv:22: sentence 2 is no text"):
        main("mine")
    assert read_info(project / "data" / "tasks" / "mine").num_rows["train"] == 12


def test_a_split_of_values_is_described_by_its_range() -> None:
    # The mean of 1, 2 and 4.5 is 2.5.
    frame = pd.DataFrame({"sentence1": ["a", "b", "c"], "label": [1.0, 2.0, 4.5]})
    assert describe(frame, []) == "3 rows, 1 to 4.5, mean 2.50"


def test_a_row_of_qqp_broken_in_two_is_dropped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate"
    rows = ["1\t1\t2\tWhy?\tHow?\t0", "2\t3\t4\tWho", "is it?\tWho?\t1", "3\t5\t6\tA\tA\t1"]
    (tmp_path / "QQP").mkdir()
    for split in ("train", "dev"):
        kept = rows if split == "train" else [rows[0]]
        (tmp_path / "QQP" / f"{split}.tsv").write_text("\n".join([header, *kept]) + "\n")
    file = ROOT / "params" / "tasks" / "qqp.yaml"
    task = parse(TaskFile, read_yaml(file), str(file))
    prepare_task("qqp", task, tmp_path, SETTINGS, 1, tmp_path / "out")
    info = read_info(tmp_path / "out")
    # The broken row is two lines, 3 and 4.
    assert (info.num_rows, info.dropped_rows) == ({"train": 2, "dev": 1}, 2)
    assert "dropped 2 bad rows of 4 (50%), the first at" in capsys.readouterr().out


@pytest.mark.skipif(not GLUE.is_dir(), reason="needs GLUE's files")
@pytest.mark.parametrize("name", ["cola", "mrpc", "qnli", "rte", "sst2"])
def test_the_official_files_are_prepared_without_a_bad_row(tmp_path: Path, name: str) -> None:
    # Rows as the data set's authors count them; QNLI's train is a part of it.
    rows = {
        "cola": {"train": 8551, "dev": 1043, "test": 1063},
        "mrpc": {"train": 3668, "dev": 408, "test": 1725},
        "qnli": {"train": 9999, "dev": 5463, "test": 5463},
        "rte": {"train": 2490, "dev": 277, "test": 3000},
        "sst2": {"train": 67349, "dev": 872, "test": 1821},
    }
    file = ROOT / "params" / "tasks" / f"{name}.yaml"
    task = parse(TaskFile, read_yaml(file), str(file))
    info = prepare_task(name, task, GLUE, SETTINGS, 1, tmp_path / name)
    assert info.num_rows == rows[name]
    assert info.dropped_rows == 0
    assert "label" not in read_split(tmp_path / name, "test")
    assert not read_split(tmp_path / name, "train")["sentence1"].str.endswith(" ").any()


def test_the_settings_of_the_stage_are_closed() -> None:
    values = {"glue": "folder", "glue_hub": "nyu-mll/glue", "max_train_row": 5}
    with pytest.raises(InputError, match="did you mean 'max_train_rows'"):
        parse(PrepareTaskSettings, values, "profile: prepare_task")
