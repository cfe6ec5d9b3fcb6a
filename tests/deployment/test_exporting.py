"""The gate of an export: int8 of each kind is scored on dev by the task's own metric."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fixtures.kinds import LABELS, TEXTS, encoding_of, frame_of, info_of, model_of
from tests.fixtures.models import tiny_tokenizer
from tests.fixtures.slow import slow_but
from tinybert.deployment.bundle import make_bundle
from tinybert.deployment.exporting import export_student
from tinybert.deployment.sections import FLOAT, INT8, ExportSettings
from tinybert.deployment.service import Classifier
from tinybert.evaluation.decision import Decision
from tinybert.evaluation.prediction import predict_logits, task_split
from tinybert.runtime.errors import InputError
from tinybert.tasks.task import write_task

SETTINGS = ExportSettings(calibrations=["dynamic"], calibration_rows=4, max_score_drop=0.2)
KINDS = slow_but(["tokens"], ["multilabel", "tokens"])
DECISION = Decision(thresholds=(0.05, 0.3, 0.8))


def make_task(folder: Path, kind, model) -> tuple[Path, Path]:
    """Write a task whose labels are what a model answers, and the model; return both folders."""
    task, student = folder / "mine", folder / "student"
    texts = TEXTS * 3
    info, encoding = info_of(kind, len(texts)), encoding_of(kind, long="windows", stride=4)
    frame = frame_of(kind, texts)
    tokenizer = tiny_tokenizer(student)
    split = task_split(frame, tokenizer, encoding, info)
    predicted = split.predictions(predict_logits(model, split.rows, None), DECISION)
    frame["label"] = [np.asarray(each) for each in predicted]
    task.mkdir()
    write_task(task, info, {"train": frame, "dev": frame})
    if kind == "multilabel":
        DECISION.put_into(model.config, info)
    model.save_pretrained(student)
    tokenizer.save_pretrained(student)
    return task, student


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_is_exported_scored_and_bundled(tmp_path, kind):
    task, student = make_task(tmp_path, kind, model_of(kind, seed=1))
    encoding = encoding_of(kind, long="windows", stride=4)
    found = export_student(student, task, tmp_path / "onnx", encoding, SETTINGS, seed=0)
    assert found["metric"] == ("f1_micro" if kind == "multilabel" else "entity_f1")
    assert found["float32"]["score"] == pytest.approx(1)  # by the thresholds saved
    assert found["float32"]["largest_difference"] < 1e-3
    assert found["chosen"]["agreement"] > 0.5
    assert (tmp_path / "onnx" / FLOAT).is_file() and (tmp_path / "onnx" / INT8).is_file()
    (tmp_path / "card.md").write_text("# A student\n")
    info = info_of(kind)
    make_bundle(
        tmp_path / "onnx", tmp_path / "card.md", info, "mine", encoding, tmp_path / "bundle"
    )
    service = Classifier(tmp_path / "bundle")
    assert (service.kind, service.labels) == (kind, LABELS[kind])
    assert service.reader.long == "windows" and service.reader.stride == 4
    if kind == "multilabel":
        assert service.thresholds.tolist() == list(DECISION.thresholds or ())


@pytest.mark.parametrize("kind", KINDS)
def test_int8_that_loses_too_much_is_refused(tmp_path, kind):
    model = model_of(kind, seed=1)
    with torch.no_grad():  # one word's huge vector leaves no steps for the others
        model.bert.embeddings.word_embeddings.weight[30] = 1e5
    task, student = make_task(tmp_path, kind, model)
    strict = SETTINGS.model_copy(update={"max_score_drop": 0.01})
    with pytest.raises(InputError, match="every int8 model loses too much of the score, got"):
        export_student(student, task, tmp_path / "onnx", encoding_of(kind), strict, seed=0)
    assert not (tmp_path / "onnx").exists()
