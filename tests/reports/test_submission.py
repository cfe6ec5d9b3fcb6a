"""The leaderboard's rules: file names, row counts, label words, all or nothing."""

import os
import shutil
import zipfile
from pathlib import Path

import pytest

from stages.report import pack_submission
from tests.fixtures.measured import put_predictions, task_info
from tests.fixtures.workspace import ROOT, read_yaml
from tinybert.reports.submission import Upload, read_upload, wnli_source, write_submission
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import write_task

NUMBERS = ["0", "1"]
PAIR = ["entailment", "not_entailment"]
NLI = ["entailment", "neutral", "contradiction"]
# The leaderboard's layout, written down apart from the code: the file, its number of rows, its
# words in the order of our labels' numbers (none: a number from 0 to 5), and the task and split
# that its rows come from.
OFFICIAL = {
    "CoLA.tsv": (1063, NUMBERS, "cola", "test"),
    "SST-2.tsv": (1821, NUMBERS, "sst2", "test"),
    "MRPC.tsv": (1725, NUMBERS, "mrpc", "test"),
    "QQP.tsv": (390965, NUMBERS, "qqp", "test"),
    "STS-B.tsv": (1379, [], "stsb", "test"),
    "MNLI-m.tsv": (9796, NLI, "mnli", "test"),
    "MNLI-mm.tsv": (9847, NLI, "mnli", "test_mm"),
    "QNLI.tsv": (5463, PAIR, "qnli", "test"),
    "RTE.tsv": (3000, PAIR, "rte", "test"),
    "WNLI.tsv": (146, NUMBERS, None, None),
    "AX.tsv": (1104, NLI, "mnli", "ax"),
}
# params/tasks/<task>.yaml, so that the label names are those of our own task files.
FILES = {
    task: read_yaml(ROOT / f"params/tasks/{task}.yaml")
    for _, _, task, _ in OFFICIAL.values()
    if task
}
TASKS = {file["glue"]: task for task, file in FILES.items()}


@pytest.fixture(scope="module")
def complete(tmp_path_factory) -> Path:
    """Predictions of every task, each label in turn."""
    folder = tmp_path_factory.mktemp("complete")
    for num_rows, words, task, split in OFFICIAL.values():
        if task:
            values = FILES[task]["labels"] if words else ["-0.5", "2.5", "5.25"]
            rows = [values[number % len(values)] for number in range(num_rows)]
            put_predictions(folder / task / f"{split}.tsv", rows)
    return folder


@pytest.fixture
def predictions(complete: Path, tmp_path: Path) -> Path:
    """A copy of them that a test may change."""
    return shutil.copytree(complete, tmp_path / "predictions", copy_function=os.link)


def test_a_complete_run_gives_the_eleven_official_files(complete: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/missing.txt").touch()  # of an earlier run that lacked something
    assert write_submission(TASKS, complete, tmp_path / "out") == []
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["glue.zip"]
    with zipfile.ZipFile(tmp_path / "out/glue.zip") as archive:
        assert sorted(archive.namelist()) == sorted(OFFICIAL)
        for name, (num_rows, words, task, _) in OFFICIAL.items():
            header, *lines = archive.read(name).decode().split("\n")
            assert header == "index\tprediction"
            assert lines.pop() == ""  # the last line ends
            expected = words or ["0.000", "2.500", "5.000"]
            if task is None:
                expected = ["0"]
            assert lines == [f"{n}\t{expected[n % len(expected)]}" for n in range(num_rows)], name


def test_wnli_is_predicted_where_it_is_a_task_and_the_majority_class_elsewhere(
    predictions, tmp_path
):
    assert wnli_source(TASKS) == "WNLI is the majority class (0) for all rows, as is the custom"
    tasks = TASKS | {"WNLI": "my_wnli"}
    assert wnli_source(tasks) == "WNLI is predicted by the task my_wnli"
    (problem,) = write_submission(tasks, predictions, tmp_path / "out")
    assert problem.startswith("WNLI.tsv: ") and "my_wnli/test.tsv is missing" in problem
    rows = ["entailment", "not_entailment"] * 73
    put_predictions(predictions / "my_wnli/test.tsv", rows)
    assert write_submission(tasks, predictions, tmp_path / "out") == []
    with zipfile.ZipFile(tmp_path / "out/glue.zip") as archive:
        assert archive.read("WNLI.tsv").decode().splitlines()[1:3] == ["0\t1", "1\t0"]


def test_the_command_packs_or_says_what_is_missing_and_leaves_no_old_zip(complete, tmp_path):
    for glue, task in TASKS.items():
        info = task_info(task, [], ["spearman"], glue=glue)
        (tmp_path / "data/tasks" / task).mkdir(parents=True)
        write_task(tmp_path / "data/tasks" / task, info, {})
    reports, output = tmp_path / "reports", tmp_path / "upload"
    shutil.copytree(complete, reports / "predictions/small", copy_function=os.link)
    asked = ("small", ["small"], list(FILES), tmp_path / "data", reports, output)
    assert "majority class" in pack_submission(*asked)
    assert (output / "glue.zip").is_file()
    for name in ("mnli/ax.tsv", "rte/test.tsv"):
        (reports / "predictions/small" / name).unlink()
    with pytest.raises(InputError) as refused:
        pack_submission(*asked)
    assert [line.split(":")[0] for line in refused.value.problems] == ["RTE.tsv", "AX.tsv"]
    assert not (output / "glue.zip").exists()
    with pytest.raises(InputError, match=r"no system of params\.yaml, got 'tall'; known: small"):
        pack_submission("tall", *asked[1:])


def test_the_same_predictions_give_the_same_bytes_in_the_hubs_spelling_too(complete, tmp_path):
    spelt = {glue.lower().replace("-", ""): task for glue, task in TASKS.items()}
    for name, tasks in (("one", TASKS), ("two", spelt)):
        assert write_submission(tasks, complete, tmp_path / name) == []
    first, second = (tmp_path / name / "glue.zip" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_one_missing_task_refuses_the_zip_and_is_listed(predictions: Path, tmp_path: Path):
    without = {glue: task for glue, task in TASKS.items() if glue != "RTE"}
    problems = write_submission(without, predictions, tmp_path / "out")
    assert problems == ["RTE.tsv: task RTE is not among params.yaml's tasks; add it"]
    assert not (tmp_path / "out/glue.zip").exists()
    assert problems[0] in (tmp_path / "out/missing.txt").read_text(encoding="utf-8")


def test_every_missing_or_short_file_is_listed_at_once(predictions: Path, tmp_path: Path):
    (predictions / "mnli/ax.tsv").unlink()
    (predictions / "cola/test.tsv").unlink()
    put_predictions(predictions / "cola/test.tsv", ["acceptable"] * 1062)
    problems = write_submission(TASKS, predictions, tmp_path / "out")
    assert [problem.split(":")[0] for problem in problems] == ["CoLA.tsv", "AX.tsv"]
    assert "1063 rows, got 1062" in problems[0]


LABELS = Upload("MRPC.tsv", "MRPC", "test", 2, {"not_equivalent": "0", "equivalent": "1"})
VALUES = Upload("STS-B.tsv", "STS-B", "test", 2, {})


@pytest.mark.parametrize(
    ("upload", "values", "words"),
    [
        (LABELS, ["equivalent", "not_equivalent"], ["1", "0"]),  # by name
        (VALUES, ["-0.25", "5.75"], ["0.000", "5.000"]),  # the range of the gold scores
        (VALUES, ["3.14159", "0"], ["3.142", "0.000"]),
    ],
)
def test_predictions_become_the_leaderboards_words(upload, values, words, tmp_path):
    file = put_predictions(tmp_path / "test.tsv", values)
    assert read_upload(upload, file) == (words, [])


@pytest.mark.parametrize(
    ("upload", "content", "said"),
    [
        (
            LABELS,
            b"index\tprediction\n0\tequivalent\n1\tentailment\n",
            "got entailment; expected not_equivalent equivalent",
        ),
        (LABELS, b"index\tprediction\n1\tequivalent\n0\tequivalent\n", "must count its rows"),
        (LABELS, b"\xff\xfe", "cannot be read, got"),
        (LABELS, b"\xff\xfe", "`dvc repro evaluate`"),
        (VALUES, b"index\tprediction\n0\tnan\n1\t1\n", "has unknown predictions"),
        (VALUES, b"index\tprediction\n0\t\n1\t1\n", "has unknown predictions"),
        (VALUES, b"index\tprediction\n0\thigh\n1\t1\n", "has unknown predictions"),
    ],
)
def test_predictions_that_are_none_are_refused(upload, content, said, tmp_path):
    file = tmp_path / "test.tsv"
    file.write_bytes(content)
    words, (line,) = read_upload(upload, file)
    assert words == [] and said in line
