"""Which engine of which student nobody beats, and what each costs and keeps."""

import pandas as pd
import pytest

from tests.fixtures.measured import CELL, EXPORT, INT8, put_json, put_latency, write_scores
from tinybert.reports.front import measured_points, pareto_front
from tinybert.reports.results import read_results
from tinybert.runtime.errors import InputError


def test_a_point_is_on_the_front_unless_another_is_as_good_and_faster():
    points = pd.DataFrame(
        {"ms": [9.0, 5.0, 5.0, 2.0, 1.0, 7.0], "score": [0.9, 0.8, 0.7, 0.5, 0.6, 0.8]}
    )
    assert pareto_front(points).tolist() == [True, True, False, False, True, False]


def test_milliseconds_are_the_first_teachers_over_each_systems_own_speed_up(tmp_path):
    for row, score in (("teacher", 0.9), ("small", 0.8), ("other", 0.7)):
        for task in ("a", "b"):
            write_scores(tmp_path, row, task, "f1", dev=score, test=0.1)
    int8 = CELL | {"engine": "onnx_int8", "speedup": 8.0}
    later = int8 | {"sequence_length": "task", "tokens": 21.5}
    bf16 = CELL | {"engine": "pytorch_bf16"}
    put_latency(tmp_path, "small", CELL, int8, bf16, later)
    put_latency(tmp_path, "other", CELL | {"teacher_ms": 30.0, "speedup": 5.0})  # a busy machine
    for task, score in (("a", 0.7), ("b", 0.8)):
        export = EXPORT | {"chosen": INT8 | {"score": score}}
        put_json(tmp_path / f"export/small-{task}.json", export)
    put_json(tmp_path / "export/other-a.json", {"system": "other", "task": "a"})
    found = measured_points(read_results(["small", "other"], ["a", "b"], tmp_path))
    assert found[["system", "engine"]].values.tolist() == [
        ["teacher", "pytorch_fp32"],
        ["small", "pytorch_fp32"],
        ["small", "onnx_int8"],  # bfloat16 is not scored
        ["other", "pytorch_fp32"],
    ]
    assert found["ms"].tolist() == pytest.approx([10, 10 / 4.04, 10 / 8, 10 / 5])
    assert found["score"].tolist() == pytest.approx([0.9, 0.8, 0.75, 0.7])
    assert found["front"].tolist() == [True, True, True, False]


def test_an_engine_that_is_not_scored_on_every_task_has_no_point(tmp_path):
    for task in ("a", "b"):
        write_scores(tmp_path, "small", task, "f1", dev=0.8)
    put_latency(tmp_path, "small", CELL | {"engine": "onnx_int8"})
    put_json(tmp_path / "export/small-a.json", EXPORT)
    assert measured_points(read_results(["small"], ["a", "b"], tmp_path)).empty
    assert measured_points(read_results([], [], tmp_path)).empty


def test_a_damaged_export_is_refused_with_the_command_that_makes_it_anew(tmp_path):
    put_json(tmp_path / "export/small-a.json", {**EXPORT, "chosen": {}})
    with pytest.raises(InputError, match=r"export/small-a.json: .*dvc repro export"):
        read_results(["small"], ["a"], tmp_path)
