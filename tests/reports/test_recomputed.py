"""Stored scores are what the prediction files and the gold labels give."""

from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures.measured import edit_json, put_json, put_predictions, task_info
from tinybert.reports.recomputed import require_same_scores
from tinybert.reports.results import read_results
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import write_task

TASKS = {
    # Three of four right.
    "topic": (["NA", 'a "b"'], ["accuracy"], [0, 1, 1, 0], ["NA", 'a "b"', 'a "b"', 'a "b"'], 0.75),
    # Ranks 1, 2, 4, 3 against 1, 2, 3, 4: 1 - 6 * 2 / (4 * 15) = 0.8.
    "grade": ([], ["spearman"], [0.0, 1.0, 2.0, 3.0], [0.1, 0.2, 0.9, 0.5], 0.8),
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Tasks, predictions and metrics of one system."""
    for name, (labels, metrics, gold, predictions, value) in TASKS.items():
        rows = {"train": 4, "dev": 4, "test": 4}
        info = task_info(name, labels, metrics, pair=False, num_rows=rows)
        frame = pd.DataFrame({"sentence1": list("abcd"), "label": gold})
        folder = tmp_path / "data/tasks" / name
        folder.mkdir(parents=True)
        write_task(folder, info, {"dev": frame, "test": frame.drop(columns="label")})
        put_predictions(tmp_path / f"reports/predictions/small/{name}/dev.tsv", predictions)
        scores = {"main_metric": metrics[0], "metrics": {"dev": {metrics[0]: value}}}
        put_json(tmp_path / f"reports/metrics/small/{name}.json", scores)
    return tmp_path


def check(project: Path) -> int:
    results = read_results(["small"], list(TASKS), project / "reports")
    return require_same_scores(results, project / "data/tasks", project / "reports")


def test_right_scores_are_counted(project):
    assert check(project) == 2
    (project / "reports/predictions/small/topic/dev.tsv").unlink()
    assert check(project) == 1  # what has no predictions cannot be computed again


def test_a_score_that_differs_by_more_than_a_millionth_is_refused_in_one_line(project):
    metrics = project / "reports/metrics/small"
    edit_json(metrics / "topic.json", metrics={"dev": {"accuracy": 0.750002}})
    edit_json(metrics / "grade.json", metrics={"dev": {"spearman": 0.799998}})
    with pytest.raises(InputError) as refused:
        check(project)
    first, second = refused.value.problems
    assert "topic/dev.tsv: gives accuracy 0.750000, got 0.750002" in first
    assert "gives spearman 0.800000, got 0.799998" in second


@pytest.mark.parametrize(
    ("task", "values", "line"),
    [
        ("topic", ["NA"] * 3, "must have the 4 rows of dev in their order, got 3"),
        ("topic", ["NA", "NA", "NA", "c"], "unknown prediction, got 'c'; expected NA"),
        ("grade", [0.1, 0.2, 0.3, "x"], "unknown prediction, got could not convert"),
    ],
)
def test_predictions_of_other_rows_or_labels_are_refused(project, task, values, line):
    put_predictions(project / f"reports/predictions/small/{task}/dev.tsv", values)
    with pytest.raises(InputError, match=r"dev\.tsv") as refused:
        check(project)
    assert line in refused.value.problems[0]


@pytest.mark.parametrize("content", [b"", b"a\tb\n1\t2\n", b"\xff\xfe", b"index\n0\n1\n2\n3\n"])
def test_a_prediction_file_that_is_none_is_refused(content, project):
    (project / "reports/predictions/small/topic/dev.tsv").write_bytes(content)
    with pytest.raises(InputError, match=r"dev\.tsv: no predictions, got .*`dvc repro evaluate`"):
        check(project)
