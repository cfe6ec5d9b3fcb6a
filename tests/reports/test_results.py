"""One table out of many files: order, averages, and cells nobody measured."""

import math
from pathlib import Path

import pytest

from tests.fixtures.measured import STUDENT, edit_json, put_json, write_latency, write_scores
from tinybert.reports.results import (
    MISSING,
    as_text,
    build_table,
    captions,
    read_results,
    read_table,
    write_table,
)
from tinybert.runtime.errors import InputError


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    write_scores(tmp_path, "teacher", "mnli", "accuracy", dev=0.8, dev_mm=0.9)
    write_scores(tmp_path, "teacher", "mrpc", "f1", dev=1.0, test=0.5)
    write_scores(tmp_path, "small", "mnli", "accuracy", dev=0.6, dev_mm=0.7)
    write_scores(tmp_path, "small", "mrpc", "f1", dev=0.5, test=0.4)
    write_scores(tmp_path, "half", "mnli", "accuracy", dev=0.6, dev_mm=0.7)
    write_latency(tmp_path, "small", 9.4)
    return tmp_path


def test_the_teacher_stands_first_and_the_systems_keep_their_order(reports: Path):
    table = build_table(read_results(["small", "half"], ["mrpc", "mnli"], reports))
    assert list(table.index) == ["teacher", "small", "half"]
    scores = [column for column in table.columns if "/" in column]
    assert scores == ["mrpc/dev/f1", "mrpc/test/f1", "mnli/dev/accuracy", "mnli/dev_mm/accuracy"]


def test_the_average_is_of_dev_columns_and_the_share_is_of_the_teachers(reports: Path):
    table = build_table(read_results(["small"], ["mnli", "mrpc"], reports))
    # Teacher (0.8 + 0.9 + 1.0) / 3 = 0.9, small (0.6 + 0.7 + 0.5) / 3 = 0.6; the test split is out.
    assert table.loc["teacher", "average"] == pytest.approx(0.9)
    assert table.loc["small", "average"] == pytest.approx(0.6)
    assert table.loc["small", "share_of_teacher"] == pytest.approx(0.6 / 0.9)


def test_an_unmeasured_cell_is_shown_missing_and_takes_the_average_with_it(reports: Path):
    table = build_table(read_results(["half"], ["mnli", "mrpc"], reports))
    assert math.isnan(table.loc["half", "average"])
    text = as_text(table).loc["half"]
    assert text["mnli accuracy dev"] == "60.0"
    for column in ("mrpc F1 dev", "average", "share of teacher", "speed-up", "parameters"):
        assert text[column] == MISSING


def test_systems_and_tasks_that_are_not_asked_for_are_not_read(reports: Path):
    results = read_results(["small"], ["mnli"], reports)
    assert set(results.scores) == {("teacher", "mnli"), ("small", "mnli")}


def test_a_task_nobody_measured_keeps_its_column(reports: Path):
    table = build_table(read_results(["small"], ["mnli", "rte"], reports))
    assert table["rte/dev/score"].isna().all() and table["average"].isna().all()


def test_nothing_measured_at_all_gives_an_empty_table(tmp_path: Path):
    text = as_text(build_table(read_results(["small"], ["rte"], tmp_path)))
    assert (text == MISSING).all().all()


def test_a_model_that_cannot_be_counted_has_a_dash_for_its_operations(reports: Path):
    edit_json(reports / "latency/small.json", student=STUDENT | {"gflops": None})
    text = as_text(build_table(read_results(["small"], ["mnli"], reports)))
    assert text["GFLOPs"]["small"] == MISSING and text["GFLOPs"]["teacher"] == "22.35"


def test_figures_are_rounded_for_reading_alone(reports: Path):
    table = build_table(read_results(["small"], ["mnli"], reports))
    text = as_text(table)
    assert text.loc["small", "parameters"] == "14.35M"
    assert text.loc["small", "speed-up"] == "9.4x (8.9-9.9)"
    assert text.loc["teacher", "speed-up"] == "1.0x"
    assert text.loc["teacher", "GFLOPs"] == "22.35"
    assert table.loc["small", "parameters"] == 14_350_248


def test_each_speedup_is_printed_with_its_protocol(reports: Path):
    write_latency(reports, "half", 2.0, threads=1)
    lines = captions(build_table(read_results(["small", "half"], ["mnli"], reports)))
    assert lines[0].startswith("Speed-up of small over the teacher: batch size 8, 128 tokens, 2 ")
    assert "fp32, cpu (Test CPU), torch 2.13.0" in lines[0]
    assert lines[1].startswith("Speed-up of half") and "1 thread," in lines[1]
    assert lines[-1].startswith("Average: plain mean")


def test_the_table_survives_its_file(reports: Path, tmp_path: Path):
    table = build_table(read_results(["small", "half"], ["mnli", "mrpc"], reports))
    write_table(table, tmp_path / "results.csv")
    again = read_table(tmp_path / "results.csv")
    assert as_text(again).equals(as_text(table))
    assert captions(again) == captions(table)


def test_an_absent_table_and_a_broken_file_are_named(reports: Path):
    with pytest.raises(InputError, match=r"results\.csv: no results"):
        read_table(reports / "results.csv")
    (reports / "metrics/small/mnli.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"small/mnli\.json: not valid JSON"):
        read_results(["small"], ["mnli"], reports)
    put_json(reports / "metrics/small/mnli.json", {})
    with pytest.raises(InputError, match=r"main_metric: Field required.*`dvc repro evaluate`"):
        read_results(["small"], ["mnli"], reports)
