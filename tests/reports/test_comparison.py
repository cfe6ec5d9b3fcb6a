"""Our rows beside the published ones: columns by GLUE task, the paper's average, missing cells."""

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.fixtures.measured import task_info, write_latency, write_scores
from tests.fixtures.refused import refused
from tinybert.reports.comparison import (
    GLUE_COLUMNS,
    OURS,
    PUBLISHED_DEV,
    TEST,
    Shown,
    as_text,
    captions,
    compare,
    labels,
    merge_runs,
    published_row,
    read_published,
    read_shown,
    require_alike,
    to_csv,
)
from tinybert.reports.results import MISSING, read_results
from tinybert.tasks.task import TaskInfo

PUBLISHED = read_published()
# GLUE's name -> dev splits and the metric that stands in the paper's table.
GLUE = {
    "MNLI": (["dev", "dev_mm"], "accuracy"),
    "QQP": (["dev"], "f1"),
    "QNLI": (["dev"], "accuracy"),
    "SST-2": (["dev"], "accuracy"),
    "CoLA": (["dev"], "matthews"),
    "STS-B": (["dev"], "spearman"),
    "MRPC": (["dev"], "f1"),
    "RTE": (["dev"], "accuracy"),
}
ALONE = {system: Shown() for system in ("small", "tinybert4", "tinybert6")}


def info_of(name: str, glue: str | None, splits: list[str], metric: str) -> TaskInfo:
    labels = [] if metric == "spearman" else ["no", "yes"]
    rows = dict.fromkeys(["train", *splits, "test"], 2)
    return task_info(name, labels, [metric], num_rows=rows, glue=glue)


INFOS = [info_of(f"my_{glue}", glue, *place) for glue, place in GLUE.items()]
OWN = info_of("topic", None, ["dev"], "accuracy")


def write_all(reports: Path, system: str, value: float) -> None:
    for info in INFOS:
        splits = {split: value for split in info.eval_splits if split != "test"}
        write_scores(reports, system, info.name, info.metrics[0], **splits)


def table_of(reports: Path, systems: list[str], infos: list[TaskInfo], **shown: Shown):
    results = read_results(systems, [info.name for info in infos], reports)
    return compare(results, infos, ALONE | shown)


def row_of(table: pd.DataFrame, system: str, source: str) -> pd.Series:
    return table[table["source"] == source].loc[system]


@pytest.mark.parametrize("system", PUBLISHED["glue_test"]["rows"])
def test_the_rule_of_the_average_gives_the_published_averages(system):
    row = published_row(PUBLISHED["glue_test"], system)
    printed = PUBLISHED["glue_test"]["rows"][system][-1]
    scores = [row.get(column, math.nan) for column in GLUE_COLUMNS]
    if printed is None:  # the paper has no CoLA and no STS-B of it
        assert math.isnan(sum(scores))
    else:
        assert sum(scores) / 9 == pytest.approx(printed, abs=0.05)


def test_published_rows_stand_right_below_the_system_they_belong_to(tmp_path: Path):
    write_all(tmp_path, "teacher", 0.9)
    table = table_of(tmp_path, ["tinybert6", "small"], INFOS, small=Shown(published="tinybert4"))
    assert labels(table) == [
        "teacher (ours, dev)",
        "bert_base (published, test)",
        "tinybert6 (ours, dev)",
        "tinybert6 (published, test)",
        "tinybert6 (published, dev)",
        "small (ours, dev)",
        "tinybert4 (published, test)",
        "tinybert4 (published, dev)",
    ]
    assert row_of(table, "tinybert4", TEST)["average"] == pytest.approx(77.0, abs=0.05)
    assert row_of(table, "tinybert4", PUBLISHED_DEV)["mnli_mm"] == 82.9


def test_a_system_that_the_paper_lacks_stands_alone(tmp_path: Path):
    write_all(tmp_path, "teacher", 0.9)
    assert labels(table_of(tmp_path, ["small"], INFOS))[-1] == "small (ours, dev)"


def test_our_average_is_of_exactly_the_nine_and_missing_if_one_is(tmp_path: Path):
    write_all(tmp_path, "teacher", 0.8)
    write_all(tmp_path, "small", 0.4)
    write_scores(tmp_path, "small", "my_CoLA", "matthews", dev=0.13)
    write_scores(tmp_path, "teacher", "topic", "accuracy", dev=0.1)
    table = table_of(tmp_path, ["small"], [*INFOS, OWN])
    # Eight columns of 40 and CoLA's 13: 333 / 9; the own task's 10 counts for no average.
    assert row_of(table, "small", OURS)["average"] == pytest.approx(37)
    assert row_of(table, "teacher", OURS)["average"] == pytest.approx(80)
    (tmp_path / "metrics/small/my_RTE.json").unlink()
    row = row_of(table_of(tmp_path, ["small"], INFOS), "small", OURS)
    assert math.isnan(row["rte"]) and math.isnan(row["average"])
    # Seven columns of 40 and CoLA's 13 against eight of 80: 293 / 640.
    assert row["share_of_teacher"] == pytest.approx(293 / 640)
    assert "rte" not in row["share_over"] and "cola" in row["share_over"]


def test_the_share_of_published_rows_is_of_the_published_teacher(tmp_path: Path):
    write_all(tmp_path, "teacher", 0.5)
    table = table_of(tmp_path, ["tinybert4"], INFOS)
    # 693.4 / 715.2, the sums of the two printed rows; the teacher has no published dev row.
    shares = table["share_of_teacher"]
    assert row_of(table, "tinybert4", TEST)["share_of_teacher"] == pytest.approx(693.4 / 715.2)
    assert math.isnan(row_of(table, "tinybert4", PUBLISHED_DEV)["share_of_teacher"])
    assert math.isnan(row_of(table, "tinybert4", OURS)["share_of_teacher"])
    assert shares.iloc[0] == 1.0


def test_a_task_in_another_metric_than_the_papers_leaves_its_column_empty(tmp_path: Path):
    write_scores(tmp_path, "teacher", "my_MRPC", "accuracy", dev=0.9)
    accuracy = info_of("my_MRPC", "MRPC", ["dev"], "accuracy")
    row = row_of(table_of(tmp_path, [], [accuracy]), "teacher", OURS)
    assert math.isnan(row["mrpc"])


def test_a_task_of_ones_own_has_a_column_of_its_own(tmp_path: Path):
    write_scores(tmp_path, "teacher", "topic", "accuracy", dev=0.5, test=0.3)
    write_scores(tmp_path, "small", "topic", "accuracy", dev=0.25, test=0.2)
    table = table_of(tmp_path, ["small"], [OWN])
    assert row_of(table, "small", OURS)["topic/dev/accuracy"] == 25
    assert row_of(table, "small", OURS)["share_of_teacher"] == 0.5
    assert "topic/test/accuracy" not in table
    lines = captions(table, ALONE)
    assert any("small (ours, dev): the mean of topic accuracy dev" in line for line in lines)


def test_costs_stand_in_both_conventions_and_old_files_leave_one_empty(tmp_path: Path):
    write_latency(tmp_path, "tinybert4", 9.4)
    table = table_of(tmp_path, ["tinybert4"], INFOS)
    text = as_text(table).set_index(pd.Index(labels(table)))
    ours, printed = text.loc["tinybert4 (ours, dev)"], text.loc["tinybert4 (published, test)"]
    assert (ours["GFLOPs"], ours["GFLOPs as printed"]) == ("1.25", MISSING)
    assert (printed["GFLOPs"], printed["GFLOPs as printed"]) == (MISSING, "1.2")
    assert (ours["parameters"], printed["parameters"]) == ("14.35M", "14.5M")
    assert (ours["speed-up"], printed["speed-up"]) == ("9.4x (8.9-9.9)", "9.4x")
    lines = captions(table, ALONE)
    assert lines[0].startswith("Speed-up of tinybert4 over the teacher: batch size 8, 128 tokens")
    assert lines[1].startswith("Published speed-ups: batch size 128, 128 tokens, one K80 GPU")


def test_every_average_is_named_by_its_rule_and_notes_stand_below(tmp_path: Path):
    note = Shown(note="architecture only")
    table = table_of(tmp_path, ["tinybert6", "small"], INFOS, small=note)
    assert "average of GLUE's nine" in as_text(table)
    lines = captions(table, ALONE | {"small": note})
    assert any(line.startswith("Average of GLUE's nine: the paper's rule") for line in lines)
    assert "small: architecture only" in lines
    # The published dev figures of QQP and MRPC accuracy have no column.
    assert any("qqp accuracy 91.1, mrpc accuracy 86.3" in line for line in lines)


def test_missing_cells_are_empty_in_the_file(tmp_path: Path):
    to_csv(table_of(tmp_path, ["small"], INFOS), None, tmp_path / "c.csv")
    text = (tmp_path / "c.csv").read_text(encoding="utf-8")
    assert text.splitlines()[-1] == 'small,"ours, dev"' + "," * 19
    assert MISSING not in text


def test_several_runs_give_means_and_sample_deviations(tmp_path: Path):
    tables = []
    for number, value in enumerate((0.1, 0.2, 0.6)):
        write_all(tmp_path / str(number), "teacher", 0.5)
        write_all(tmp_path / str(number), "small", value)
        tables.append(table_of(tmp_path / str(number), ["small"], INFOS))
    (tmp_path / "2/metrics/small/my_RTE.json").unlink()
    tables[2] = table_of(tmp_path / "2", ["small"], INFOS)
    mean, spread = merge_runs(tables)
    # 10, 20, 60: mean 30, squares of the differences 400 + 100 + 900, over 2: sqrt(700) = 26.46.
    assert row_of(mean, "small", OURS)["cola"] == pytest.approx(30)
    assert math.isnan(row_of(mean, "small", OURS)["rte"])
    text = as_text(mean, spread)
    assert text.loc["small (ours, dev)", "CoLA"] == "30.0 \N{PLUS-MINUS SIGN} 26.5"
    assert text.loc["teacher (ours, dev)", "CoLA"] == "50.0"
    assert text.loc["bert_base (published, test)", "CoLA"] == "52.8"
    to_csv(mean, spread, tmp_path / "c.csv")
    assert "cola_sd" in pd.read_csv(tmp_path / "c.csv")


def test_runs_by_other_metrics_have_no_mean(tmp_path: Path):
    one, other = pd.DataFrame({"rte": [1.0]}), pd.DataFrame({"rte": [1.0], "rte f1": [1.0]})
    require_alike(one, one.copy(), tmp_path)
    line = refused(require_alike, one, other, tmp_path)
    assert line == (
        f"{tmp_path}: runs must have the same metrics, got rte f1 in one alone; name runs of the "
        "same task files"
    )


def test_a_systems_file_may_say_what_it_stands_for(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("shape: {}\npublished: pd\nnote: 'architecture only'\n")
    found = read_shown(["a", "b"], tmp_path)
    assert found == {"a": Shown(published="pd", note="architecture only"), "b": Shown()}
