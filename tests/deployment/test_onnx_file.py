"""ONNX files answer as the models they were made of, in float32 and, roughly, in int8."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import DistilBertForSequenceClassification, RobertaForSequenceClassification

from tests.fixtures.models import VOCABULARY, tiny_classifier, tiny_distilbert, tiny_roberta
from tinybert.deployment.int8 import quantize, sums_overflow
from tinybert.deployment.onnx_file import (
    export_onnx,
    open_session,
    padded_inputs,
    session_logits,
)
from tinybert.evaluation.prediction import predict_logits
from tinybert.text.encoded import EncodedRows


def rows_of(lengths, seed=0) -> EncodedRows:
    generator = np.random.default_rng(seed)
    ids = generator.integers(5, len(VOCABULARY), sum(lengths)).astype(np.int32)
    firsts = np.array([max(1, length // 2) for length in lengths], dtype=np.int32)
    return EncodedRows(ids, np.cumsum(lengths), firsts, {})


def distilbert():
    torch.manual_seed(0)
    return DistilBertForSequenceClassification(tiny_distilbert(max_position_embeddings=64))


def roberta():
    torch.manual_seed(0)
    return RobertaForSequenceClassification(tiny_roberta())


ROWS = rows_of([3, 9, 1, 30, 17])


@pytest.mark.parametrize("make", [tiny_classifier, distilbert, roberta])
def test_an_onnx_file_gives_the_models_logits_for_any_batch_and_length(tmp_path, make):
    model = make().eval()
    export_onnx(model, tmp_path / "model.onnx")
    session, pad = open_session(tmp_path / "model.onnx", 1), model.config.pad_token_id
    for batch_tokens in (8, 8192):
        found = session_logits(session, ROWS, pad, batch_tokens)
        np.testing.assert_allclose(found, predict_logits(model, ROWS, None), atol=1e-5)
    assert list(tmp_path.iterdir()) == [tmp_path / "model.onnx"]  # weights inside


@pytest.mark.parametrize("calibration", ["dynamic", "static_minmax", "static_percentile"])
def test_int8_holds_embeddings_in_a_byte_and_the_classifier_in_four(tmp_path, calibration, capsys):
    model = tiny_classifier(num_labels=3).eval()
    source, target = tmp_path / "model.onnx", tmp_path / "int8.onnx"
    export_onnx(model, source)
    batches = padded_inputs(open_session(source, 1), ROWS, 0)
    quantize(source, target, calibration, batches, reduce_range=False)
    assert capsys.readouterr().out == ""
    weights = {each.name: each.data_type for each in onnx.load(target).graph.initializer}
    classifier = {kind for name, kind in weights.items() if name.startswith("classifier.weight")}
    assert classifier == {onnx.TensorProto.FLOAT}
    embeddings = [kind for name, kind in weights.items() if "word_embeddings.weight_q" in name]
    assert embeddings in ([onnx.TensorProto.INT8], [onnx.TensorProto.UINT8])
    before = predict_logits(model, ROWS, None)
    after = session_logits(open_session(target, 1), ROWS, 0)
    assert 0 < np.abs(before - after).max() < 0.1 * np.abs(before).max() + 0.02


def test_rows_for_a_calibration_have_one_length(tmp_path):
    export_onnx(tiny_classifier().eval(), tmp_path / "model.onnx")
    inputs = padded_inputs(open_session(tmp_path / "model.onnx", 1), ROWS, 0)
    assert [each["input_ids"].shape for each in inputs] == [(1, 30)] * 5
    assert inputs[0]["attention_mask"].sum() == 3


@pytest.mark.parametrize(
    ("flags", "overflow"),
    [(["avx2"], True), (["avx2", "avx_vnni"], False), (["avx512_vnni"], False)],
)
def test_sums_overflow_on_x86_without_vnni(monkeypatch, flags, overflow):
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert sums_overflow(flags) is overflow
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not sums_overflow(flags)


def test_the_file_is_a_file_of_the_named_opset(tmp_path: Path):
    export_onnx(tiny_classifier(), tmp_path / "model.onnx")
    assert [each.version for each in onnx.load(tmp_path / "model.onnx").opset_import] == [18]
