"""What a newcomer sees first: what was kept, three rows with answers, seconds, and starts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from tests.fixtures.measured import (
    CELL,
    EXPORT,
    INT8,
    put_json,
    put_latency,
    task_info,
    write_run,
)
from tests.fixtures.splits import split_with
from tinybert.evaluation.prediction_files import read_table, write_predictions
from tinybert.reports.page import kept, stage_bars, summaries
from tinybert.reports.results import as_text, build_table, read_results, without_unknown
from tinybert.reports.shown_rows import chosen_rows, read_examples
from tinybert.reports.starts import read_starts, with_starts
from tinybert.reports.times import read_seconds, write_seconds
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import TaskInfo, read_named_info


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    _, reports = write_run(tmp_path)
    return build_table(read_results(["tinybert4"], ["rte"], reports))


def test_a_student_is_summed_up_by_its_share_its_speed_and_its_size(tmp_path):
    _, reports = write_run(tmp_path)
    results = read_results(["tinybert4", "unmeasured"], ["rte"], reports)
    (found,) = summaries(results, build_table(results))
    assert found.share == "66.7%"  # 0.5 / 0.75
    assert [words for words, _ in found.facts] == ["4.0x as fast", "1.0x smaller"]


def test_what_int8_brings_is_summed_up_too(tmp_path):
    _, reports = write_run(tmp_path)
    cell = CELL | {"sequence_length": 128, "speedup": 4.0}
    int8 = cell | {"engine": "onnx_int8", "speedup": 8.1}
    put_latency(reports, "tinybert4", cell, int8, cell | {"sequence_length": "task"})
    gained = EXPORT | {"chosen": INT8 | {"drop": -0.004}}
    for export, words in ((EXPORT, "1.0 points lost"), (gained, "0.4 points gained")):
        put_json(reports / "export/tinybert4-rte.json", export)
        results = read_results(["tinybert4"], ["rte"], reports)
        (found,) = summaries(results, build_table(results))
        assert list(found.facts) == [
            ("4.0x as fast", "1 row of 128 tokens"),
            ("7.6x smaller", "57.4 MB, not 438.0"),
            ("8.1x as fast", "as ONNX in int8, 1 row of 128 tokens"),
            ("30.2x smaller", f"14.5 MB in int8, {words}"),  # 438 / 14.5
        ]


def test_a_bar_is_as_wide_as_its_part_of_the_best_score(table):
    teacher, student = kept(table)["rte accuracy dev"]
    assert teacher.width == 100 and student.width == pytest.approx(100 * 0.5 / 0.75)
    assert student.text == "50.0 (67% of the teacher's)"


def test_one_row_that_differs_is_chosen_first_and_always_the_same_ones():
    differ = np.zeros(50, dtype=bool)
    differ[17] = True
    rows = chosen_rows(differ)
    assert rows[0] == 17 and len(set(rows)) == 3
    assert rows == chosen_rows(differ)
    assert len(set(chosen_rows(~np.zeros(2, dtype=bool)))) == 2  # no more rows than there are


def write_dev(folder: Path, info: TaskInfo, logits: NDArray[np.float32]) -> None:
    split = split_with(info, [0] * len(logits))
    write_predictions(folder, "dev", split.frame, info, split.predictions(logits), logits)


def test_examples_show_each_models_answer_and_what_is_wrong(tmp_path):
    data, reports = write_run(tmp_path)
    info = read_named_info(data / "tasks/rte", "rte")
    texts = [f"text {number}" for number in range(4)]
    frame = pd.DataFrame({"sentence1": texts, "sentence2": texts, "label": [0, 1, 0, 1]})
    frame.to_parquet(data / "tasks/rte/dev.parquet")
    logits = {"teacher": [[0, 1], [0, 1], [1, 0], [0, 1]], "tinybert4": [[1, 0]] * 4}
    for system, values in logits.items():
        folder = reports / f"predictions/{system}/rte"
        folder.mkdir(parents=True)
        write_dev(folder, info, np.log(np.array(values, np.float32) * 3 + 1))
    systems = ["tinybert4", "none"]
    examples = read_examples(info, data / "tasks/rte", reports / "predictions", systems)
    teacher, student = examples[0].answers
    assert len(examples) == 3 and examples[0].texts[0] == examples[0].texts[1]
    assert teacher.text != student.text and teacher.right is not student.right
    assert teacher.probability == student.probability == "80%"  # 4 / (4 + 1)
    assert read_examples(info, data / "tasks/rte", reports / "predictions", ["none"]) == []
    with pytest.raises(InputError, match="must have the 5 rows of dev in their order, got 4"):
        read_table(reports / "predictions/teacher/rte/dev.tsv", 5, "dev")


def test_predicted_values_have_no_probability(tmp_path):
    info = task_info("sts", [], ["spearman"])
    write_dev(tmp_path, info, np.array([[0.5]], np.float32))
    assert (tmp_path / "dev.tsv").read_text("utf-8").split() == ["index", "prediction", "0", "0.5"]


def test_seconds_are_summed_over_the_runs_own_systems_and_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_seconds(Path("reports/times"), ["rte"]) == {}
    for stage, arguments, seconds in (
        ("prepare_corpus", [], 3.0),
        ("evaluate", ["small", "rte"], 2.0),
        ("evaluate", ["small", "cola"], 4.0),
        ("evaluate", ["other", "cola"], 9.0),
        ("evaluate", ["small", "rte"], 1.0),  # again: its last run counts
    ):
        write_seconds(stage, arguments, seconds)
    found = read_seconds(Path("reports/times"), ["small", "rte", "cola"])
    assert list(found.items()) == [("evaluate", 5.0), ("prepare_corpus", 3.0)]
    assert [bar.width for bar in stage_bars(found)] == [100, 60]
    put_json(Path("reports/times/evaluate@small@rte.json"), {"stage": 1})
    with pytest.raises(InputError, match=r"evaluate@small@rte\.json"):
        read_seconds(Path("reports/times"), ["small", "rte"])


def test_a_closed_form_start_has_a_row_below_its_system_and_a_table(tmp_path, table):
    maps = [{"layer": layer, "map": "query", "unexplained": layer / 10} for layer in (2, 1)]
    start = {"start": "closed_form", "score": {"accuracy": 0.6}, "maps": maps}
    put_json(tmp_path / "tinybert4-rte.json", start)
    put_json(tmp_path / "scratch-rte.json", {"start": "general"})
    starts = read_starts(tmp_path, ["tinybert4", "scratch", "absent"], ["rte"])
    assert list(starts) == [("tinybert4", "rte")]
    assert starts["tinybert4", "rte"].shares == (
        ["map", "layer 1", "layer 2"],
        [["query", "10.0%", "20.0%"]],
    )
    shown = with_starts(table, starts)
    assert list(shown.index) == ["teacher", "tinybert4", "tinybert4, closed form alone"]
    assert shown["share_of_teacher"].iloc[2] == pytest.approx(0.6 / 0.75)
    assert as_text(shown).iloc[2]["rte accuracy dev"] == "60.0"
    pd.testing.assert_frame_equal(with_starts(table, {}), table)


def test_a_damaged_start_is_named(tmp_path):
    put_json(tmp_path / "small-rte.json", {"score": {}})
    with pytest.raises(InputError, match=r"small-rte\.json: start: Field required"):
        read_starts(tmp_path, ["small"], ["rte"])


def test_a_column_without_any_figure_is_left_out(table):
    text = as_text(table.assign(gflops=np.nan))
    assert set(text.columns) - set(without_unknown(text).columns) == {"GFLOPs"}
