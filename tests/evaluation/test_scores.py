"""A score that the gold values leave undefined is said, and is no number."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.fixtures.models import tiny_classifier, tiny_tokenizer
from tinybert.evaluation import scores
from tinybert.evaluation.scores import evaluate_task, shown_scores, undefined_metrics
from tinybert.reports.results import TaskScores, build_table, read_results
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import write_json
from tinybert.tasks.task import Encoding, TaskInfo, write_task


def info(kind: str, metrics: list[str], num_rows: int = 4) -> TaskInfo:
    labels = [] if kind == "regression" else ["no", "yes"]
    rows = {"train": num_rows, "dev": num_rows}
    return TaskInfo(name="t", kind=kind, labels=labels, metrics=metrics, pair=False, num_rows=rows)


@pytest.mark.parametrize(
    ("kind", "metrics", "gold", "lacking"),
    [
        ("regression", ["spearman", "pearson"], [3.0, 3.0], ["spearman", "pearson"]),
        ("regression", ["spearman"], [3.0], ["spearman"]),
        ("regression", ["spearman"], [3.0, 2.0], []),
        ("classification", ["matthews", "accuracy"], [1, 1], ["matthews"]),
        ("classification", ["f1", "accuracy"], [0, 0], ["f1"]),
        ("classification", ["f1", "f1_macro"], [1, 1], []),
    ],
)
def test_a_metric_is_undefined_where_no_prediction_could_change_it(kind, metrics, gold, lacking):
    assert undefined_metrics(np.array(gold), info(kind, metrics)) == lacking


def encoding_of(task: TaskInfo) -> Encoding:
    return Encoding(task.kind, task.num_outputs, 16)


def task_in(folder: Path, task: TaskInfo, gold: list) -> Path:
    frame = pd.DataFrame({"sentence1": ["good film"] * len(gold), "label": gold})
    place = folder / "t"
    place.mkdir()
    write_task(place, task, {"train": frame, "dev": frame})
    return place


def test_constant_gold_values_give_no_score_in_the_file_the_line_and_the_table(tmp_path):
    task = info("regression", ["spearman", "pearson"])
    place = task_in(tmp_path, task, [3.0] * 4)
    model, tokenizer = tiny_classifier(num_labels=1), tiny_tokenizer(tmp_path)
    result = evaluate_task(model, tokenizer, "small", place, task, encoding_of(task), tmp_path)
    assert result["metrics"] == {"dev": {}}
    assert "spearman undefined" in shown_scores(result, "dev")
    file = tmp_path / "metrics/small/t.json"
    file.parent.mkdir(parents=True)
    write_json(result, file)
    assert TaskScores.model_validate(json.loads(file.read_text())).undefined == {
        "dev": ["spearman", "pearson"]
    }
    table = build_table(read_results(["small"], ["t"], tmp_path))
    assert table.loc["small"][["t/dev/spearman", "average"]].isna().all()


def test_a_classifier_of_another_task_is_refused(tmp_path):
    task = info("classification", ["accuracy"])
    place = task_in(tmp_path, task, [0, 1, 0, 1])
    model, tokenizer = tiny_classifier(num_labels=3), tiny_tokenizer(tmp_path)
    with pytest.raises(InputError, match=r"must have 2 outputs.*task\.json says, got 3; run"):
        evaluate_task(
            model,
            tokenizer,
            "small",
            place,
            task,
            encoding_of(task),
            tmp_path,
        )


def test_a_model_is_scored_on_the_device_to_compute_on(tmp_path, monkeypatch):
    task = info("classification", ["accuracy"])
    place = task_in(tmp_path, task, [0, 1, 0, 1])
    seen = []

    def answered(model, rows, dtype, title):
        seen.append((model.device.type, dtype))
        return np.zeros((len(rows), 2), dtype=np.float32)

    monkeypatch.setattr(scores, "computing_device", lambda: torch.device("meta"))
    monkeypatch.setattr(scores, "predict_logits", answered)
    model, tokenizer = tiny_classifier(), tiny_tokenizer(tmp_path)
    evaluate_task(model, tokenizer, "small", place, task, encoding_of(task), tmp_path)
    assert seen == [("meta", None)]
