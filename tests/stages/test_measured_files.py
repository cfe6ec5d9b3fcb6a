"""A file of measurements that is damaged, old or of something else gets one line with its cure."""

import math

import pytest

from tests.fixtures.measured import CELL, edit_json, report_of, write_run
from tinybert.reports.results import read_table
from tinybert.runtime.errors import InputError

METRICS = "reports/metrics/tinybert4/rte.json"
LATENCY = "reports/latency/tinybert4.json"
TASK = "data/tasks/rte/task.json"
SAMPLES = "data/augmented/rte/augmentation.json"
COMMANDS = {
    METRICS: "dvc repro evaluate",
    LATENCY: "dvc repro benchmark_latency",
    TASK: "dvc repro prepare_task",
    SAMPLES: "dvc repro augment",
}


def refused(root) -> str:
    """Return the one line that a report of tinybert4 on rte is refused with."""
    with pytest.raises(InputError) as caught:
        report_of(root)
    (line,) = caught.value.problems
    assert "\n" not in line and len(line.replace(str(root), "")) < 400
    return line


@pytest.mark.parametrize("file", COMMANDS)
@pytest.mark.parametrize(
    "content", [b"", b'{"a": ', b"\xff\xfe\x00", b"[]", b"null", b"[" * 100_000, b'{"x": NaN}']
)
def test_a_damaged_file_is_named_with_the_command_that_makes_it_anew(file, content, tmp_path):
    write_run(tmp_path)
    (tmp_path / file).write_bytes(content)
    line = refused(tmp_path)
    assert line.startswith(str(tmp_path / file)) and f"`{COMMANDS[file]}`" in line


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        (METRICS, {"main_metric": "f1"}, "metrics.dev must hold the main metric f1"),
        (METRICS, {"metrics": {"dev": {"accuracy": 85.3}}}, "metrics.dev.accuracy"),
        (METRICS, {"metrics": {"a/b": {"accuracy": 0.5}}}, "metrics.a/b"),
        (METRICS, {"metrics": {"dev": {"accuracy": None}}}, "metrics.dev.accuracy"),
        (METRICS, {"metrics": {"dev": {"f1": 0.5}}, "main_metric": "f1"}, "main_metric must be"),
        (METRICS, {"labels": []}, "confusion.dev must have a row"),
        (METRICS, {"confusion": {"dev": [[1], [2, 3]]}}, "confusion.dev must have a row"),
        (METRICS, {"labels": ["a", "b"]}, "labels must be ['<yes>', 'no'] as in task.json"),
        (METRICS, {"num_rows": {"dev": 5}}, "num_rows must be {'dev': 4} as in task.json"),
        (METRICS, {"system": "tinybert6"}, "must be of system tinybert4, got tinybert6"),
        (METRICS, {"task": "mrpc"}, "must be of task rte, got mrpc"),
        (LATENCY, {"system": "tinybert6"}, "must be of system tinybert4, got tinybert6"),
        (LATENCY, {"cells": []}, "cells"),
        (SAMPLES, {"samples": [{"original": "a", "copies": None}]}, "samples.0.copies"),
        (SAMPLES, {"samples": [{"copies": []}]}, "samples.0.original"),
        (TASK, {"metrics": []}, "metrics"),
    ],
)
def test_a_file_that_does_not_fit_itself_or_the_others_is_refused(file, change, said, tmp_path):
    write_run(tmp_path)
    edit_json(tmp_path / file, **change)
    line = refused(tmp_path)
    assert said in line and "`dvc repro" in line


@pytest.mark.parametrize("speedup", [0.0, -1.0, math.inf])
def test_a_speedup_that_none_can_be_is_refused(speedup, tmp_path):
    write_run(tmp_path)
    edit_json(tmp_path / LATENCY, cells=[CELL | {"speedup": speedup}])
    assert "`dvc repro benchmark_latency`" in refused(tmp_path)


def test_an_older_latency_file_without_its_protocol_is_shown_as_unknown(tmp_path):
    write_run(tmp_path)
    edit_json(tmp_path / LATENCY, protocol={})
    assert "unknown processor" in report_of(tmp_path).loc["tinybert4", "speedup_protocol"]


@pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "system,average\nteacher,x\n", "\x00"])
def test_a_result_table_that_is_none_is_refused(content, tmp_path):
    file = tmp_path / "results.csv"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"no result table, got .*run `dvc repro report`"):
        read_table(file)
