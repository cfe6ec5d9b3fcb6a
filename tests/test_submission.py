"""The leaderboard's rules: file names, row counts, label words, all or nothing."""

import zipfile
from pathlib import Path

import pytest

from tinybert.submission import UPLOADS, Upload, read_upload, write_submission

# Our label name for number 1 and what the leaderboard calls it.
ONES = {
    "CoLA": ("acceptable", "1"),
    "SST-2": ("positive", "1"),
    "MRPC": ("equivalent", "1"),
    "QQP": ("duplicate", "1"),
    "QNLI": ("not_entailment", "not_entailment"),
    "RTE": ("not_entailment", "not_entailment"),
    "MNLI": ("neutral", "neutral"),
    "STS-B": ("2.5", "2.500"),
}
TASKS = {glue: f"my_{glue}" for glue in ONES}
OFFICIAL_ROWS = {
    "CoLA.tsv": 1063,
    "SST-2.tsv": 1821,
    "MRPC.tsv": 1725,
    "QQP.tsv": 390965,
    "STS-B.tsv": 1379,
    "MNLI-m.tsv": 9796,
    "MNLI-mm.tsv": 9847,
    "QNLI.tsv": 5463,
    "RTE.tsv": 3000,
    "WNLI.tsv": 146,
    "AX.tsv": 1104,
}


def write_predictions(file: Path, values: list[str]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{index}\t{value}\n" for index, value in enumerate(values))
    file.write_text("index\tprediction\n" + rows, encoding="utf-8")
    return file


@pytest.fixture
def predictions(tmp_path: Path) -> Path:
    folder = tmp_path / "predictions"
    for upload in UPLOADS:
        file = folder / TASKS[upload.glue] / f"{upload.split}.tsv"
        write_predictions(file, [ONES[upload.glue][0]] * upload.num_rows)
    return folder


def test_a_complete_run_gives_the_eleven_official_files(predictions: Path, tmp_path: Path):
    assert write_submission(TASKS, predictions, tmp_path / "out") == []
    assert not (tmp_path / "out/missing.txt").exists()
    with zipfile.ZipFile(tmp_path / "out/glue.zip") as archive:
        assert set(archive.namelist()) == set(OFFICIAL_ROWS)
        for name, num_rows in OFFICIAL_ROWS.items():
            lines = archive.read(name).decode().splitlines()
            assert lines[0] == "index\tprediction"
            assert len(lines) == 1 + num_rows
            assert lines[-1].split("\t")[0] == str(num_rows - 1)
        for upload in UPLOADS:
            assert archive.read(upload.file).decode().splitlines()[1] == (
                f"0\t{ONES[upload.glue][1]}"
            )
        assert archive.read("WNLI.tsv").decode().splitlines()[1] == "0\t0"


def test_the_same_predictions_give_the_same_bytes(predictions: Path, tmp_path: Path):
    for name in ("one", "two"):
        write_submission(TASKS, predictions, tmp_path / name)
    first, second = (tmp_path / name / "glue.zip" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()


def test_a_task_may_be_spelt_as_the_hub_spells_it(predictions: Path, tmp_path: Path):
    spelt = {glue.lower().replace("-", ""): task for glue, task in TASKS.items()}
    assert write_submission(spelt, predictions, tmp_path / "out") == []


def test_one_missing_task_refuses_the_zip_and_is_listed(predictions: Path, tmp_path: Path):
    without = {glue: task for glue, task in TASKS.items() if glue != "RTE"}
    problems = write_submission(without, predictions, tmp_path / "out")
    assert problems == ["RTE.tsv: task RTE is not among params.yaml's tasks"]
    assert not (tmp_path / "out/glue.zip").exists()
    assert problems[0] in (tmp_path / "out/missing.txt").read_text(encoding="utf-8")


def test_every_missing_or_short_file_is_listed_at_once(predictions: Path, tmp_path: Path):
    (predictions / "my_MNLI/ax.tsv").unlink()
    write_predictions(predictions / "my_CoLA/test.tsv", ["acceptable"] * 1062)
    problems = write_submission(TASKS, predictions, tmp_path / "out")
    assert [problem.split(":")[0] for problem in problems] == ["CoLA.tsv", "AX.tsv"]
    assert "1063 rows, got 1062" in problems[0]


@pytest.fixture
def labels() -> Upload:
    return Upload("MRPC.tsv", "MRPC", "test", 2, {"not_equivalent": "0", "equivalent": "1"})


def test_label_names_become_numbers_by_name(labels: Upload, tmp_path: Path):
    file = write_predictions(tmp_path / "test.tsv", ["equivalent", "not_equivalent"])
    assert read_upload(labels, file) == (["1", "0"], [])


def test_an_unknown_label_is_refused_by_name(labels: Upload, tmp_path: Path):
    file = write_predictions(tmp_path / "test.tsv", ["equivalent", "entailment"])
    words, problems = read_upload(labels, file)
    assert words == [] and "got entailment; expected not_equivalent equivalent" in problems[0]


def test_rows_out_of_order_are_refused(labels: Upload, tmp_path: Path):
    file = tmp_path / "test.tsv"
    file.write_text("index\tprediction\n1\tequivalent\n0\tequivalent\n", encoding="utf-8")
    assert "must count its rows" in read_upload(labels, file)[1][0]


def test_similarities_are_clipped_to_the_range_of_the_gold_scores(tmp_path: Path):
    upload = Upload("STS-B.tsv", "STS-B", "test", 3, {})
    file = write_predictions(tmp_path / "test.tsv", ["-0.25", "5.75", "3.14159"])
    assert read_upload(upload, file) == (["0.000", "5.000", "3.142"], [])


@pytest.mark.parametrize("value", ["nan", "", "high"])
def test_a_similarity_that_is_no_number_is_refused(value: str, tmp_path: Path):
    upload = Upload("STS-B.tsv", "STS-B", "test", 1, {})
    file = write_predictions(tmp_path / "test.tsv", [value])
    assert "has unknown predictions" in read_upload(upload, file)[1][0]
