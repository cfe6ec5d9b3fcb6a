"""The table of ablations: which scores, which average, what stands beside them."""

import pandas as pd
import pytest

from tinybert.reports.ablation_table import as_text, build_table, write_files
from tinybert.reports.results import MISSING, TaskScores

NAMES = ["full", "without_general", "mine"]


def scores(main, **dev):
    return TaskScores(main_metric=main, metrics={"test": {main: 0.0}, **dev})


def glue(matched, mismatched, f1, accuracy):
    return {
        "mnli": scores("accuracy", dev={"accuracy": matched}, dev_mm={"accuracy": mismatched}),
        "mrpc": scores("f1", dev={"f1": f1, "accuracy": accuracy}),
        "sst2": scores("accuracy", dev={"accuracy": 0.5}),
    }


def test_the_papers_tasks_have_its_metrics_and_others_their_own():
    table = build_table(["full"], {"full": glue(0.8, 0.7, 0.9, 0.6)})
    ours = [column for column in table if "/dev" in column]
    mnli = ["mnli/dev/accuracy", "mnli/dev_mm/accuracy"]
    mnli = ["mnli/dev/accuracy", "mnli/dev_mm/accuracy"]
    assert ours == [*mnli, "mrpc/dev/accuracy", "sst2/dev/accuracy"]
    # (80 + 70 + 60 + 50) / 4 = 65; the F1 of 90 does not count.
    assert table["average"]["full"] == pytest.approx(65)


def test_a_difference_is_that_to_full_and_published_figures_stand_beside():
    found = {"full": glue(0.8, 0.7, 0.9, 0.6), "without_general": glue(0.7, 0.7, 0.9, 0.4)}
    table = build_table(NAMES, found)
    # (70 + 70 + 40 + 50) / 4 = 57.5, and 57.5 - 65 = -7.5.
    assert table["difference"]["without_general"] == pytest.approx(-7.5)
    assert table["difference"]["full"] == 0
    assert table["published/avg"].tolist()[:2] == [75.6, 72.5]
    assert pd.isna(table["published/avg"]["mine"])  # no ablation of the paper's
    assert pd.isna(table["average"]["mine"])  # and it has not run
    text = as_text(table)
    assert text["difference"].tolist() == ["", "-7.5", MISSING]
    assert text["paper CoLA"].tolist() == ["50.8", "40.8", MISSING]


def test_a_row_that_lacks_a_score_has_no_average():
    lacking = {"mrpc": glue(0, 0, 0, 0)["mrpc"]}
    table = build_table(["full", "mine"], {"full": glue(0.8, 0.7, 0.9, 0.6), "mine": lacking})
    assert pd.isna(table["average"]["mine"])


def test_without_full_there_is_no_difference():
    table = build_table(["mine"], {"mine": glue(0.8, 0.7, 0.9, 0.6)})
    assert table["difference"].isna().all()


def test_markdown_csv_and_two_pictures_are_written(tmp_path):
    found = {"full": glue(0.8, 0.7, 0.9, 0.6), "without_general": glue(0.7, 0.7, 0.9, 0.4)}
    stem = tmp_path / "ablation" / "small-v1.5"
    files = write_files(build_table(NAMES, found), "A title", stem)
    assert [file.name for file in files] == [f"small-v1.5.{e}" for e in ("md", "csv", "png", "svg")]
    assert all(file.is_file() for file in files)
    lines = files[0].read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# A title"
    assert "| without_general | 70.0 | 70.0 | 40.0 | 50.0 | 57.5 | -7.5 | 82.5 |" in lines[5]
    read = pd.read_csv(files[1], index_col="experiment")
    assert read["difference"]["without_general"] == -7.5
    assert "without_general" in files[3].read_text(encoding="utf-8")


def test_without_a_difference_no_picture_is_drawn(tmp_path):
    table = build_table(["full"], {"full": glue(0.8, 0.7, 0.9, 0.6)})
    files = write_files(table, "A title", tmp_path / "one")
    assert [file.suffix for file in files] == [".md", ".csv"]
