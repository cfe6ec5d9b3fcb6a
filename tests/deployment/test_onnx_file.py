"""ONNX files answer as the models they were made of, in float32 and, roughly, in int8."""

import sys
from functools import cache, partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from transformers import (
    DistilBertForQuestionAnswering,
    DistilBertForSequenceClassification,
    DistilBertForTokenClassification,
    RobertaForQuestionAnswering,
    RobertaForSequenceClassification,
    RobertaForTokenClassification,
)

from tests.fixtures.kinds import KINDS, model_of
from tests.fixtures.models import (
    VOCABULARY,
    tiny_classifier,
    tiny_distilbert,
    tiny_roberta,
    tiny_tokenizer,
)
from tests.fixtures.slow import slow_but
from tinybert.deployment import memory
from tinybert.deployment.engines import onnx_engine, torch_engine
from tinybert.deployment.int8 import quantize, sums_overflow
from tinybert.deployment.latency import Draw
from tinybert.deployment.memory import peak_megabytes
from tinybert.deployment.onnx_file import (
    open_session,
    padded_inputs,
    session_logits,
)
from tinybert.evaluation.prediction import predict_logits
from tinybert.runtime.errors import InputError
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


OTHER_CLASSES = [
    DistilBertForQuestionAnswering,
    DistilBertForTokenClassification,
    RobertaForQuestionAnswering,
    RobertaForTokenClassification,
]


def other_model(made):
    torch.manual_seed(0)
    tiny = tiny_roberta if made.__name__.startswith("Roberta") else tiny_distilbert
    return made(tiny(num_labels=2, max_position_embeddings=66)).eval()


OTHER_NAMES = [made.__name__ for made in OTHER_CLASSES]
MAKERS = {
    "classifier": lambda: tiny_classifier(num_labels=3).eval(),
    "distilbert": lambda: distilbert().eval(),
    "roberta": lambda: roberta().eval(),
    **{kind: partial(model_of, kind) for kind in KINDS},
    **{made.__name__: partial(other_model, made) for made in OTHER_CLASSES},
}


@pytest.fixture(scope="module")
def exported(tmp_path_factory, export_once):
    """Export a model by its name, once for all tests; return it with its file."""

    @cache
    def export(name):
        model, file = MAKERS[name](), tmp_path_factory.mktemp(name) / "model.onnx"
        export_once(model, file)
        return model, file

    return export


@pytest.mark.parametrize("name", slow_but(["classifier"], ["classifier", "distilbert", "roberta"]))
def test_an_onnx_file_gives_the_models_logits_for_any_batch_and_length(exported, name):
    model, file = exported(name)
    require_same_logits(model, file)
    assert list(file.parent.iterdir()) == [file]  # weights inside


def require_same_logits(model, file: Path) -> None:
    session = open_session(file, 1)
    for batch_tokens in (8, 8192):
        found = session_logits(session, ROWS, model.config.pad_token_id, batch_tokens)
        np.testing.assert_allclose(found, predict_logits(model, ROWS, None), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_an_onnx_file_of_each_kind_gives_its_logits(exported, kind):
    model, file = exported(kind)
    require_same_logits(model, file)
    names = [each.name for each in open_session(file, 1).get_outputs()]
    assert names == (["start_logits", "end_logits"] if kind == "span" else ["logits"])


@pytest.mark.parametrize("made", slow_but(OTHER_CLASSES[:1], OTHER_CLASSES))
def test_logits_of_tokens_are_the_same_for_other_architectures(exported, made):
    require_same_logits(*exported(made.__name__))


def last_product(file: Path) -> onnx.NodeProto:
    """Return the product that the first output is made of."""
    graph = onnx.load(file).graph
    makers = {name: node for node in graph.node for name in node.output}
    node = makers[graph.output[0].name]
    while node.op_type not in ("MatMul", "Gemm", "MatMulInteger"):
        node = makers[next(name for name in node.input if name in makers)]
    return node


@pytest.mark.parametrize("calibration", ["dynamic", "static_minmax"])
@pytest.mark.parametrize("name", slow_but([*KINDS, OTHER_NAMES[0]], [*KINDS, *OTHER_NAMES]))
def test_int8_leaves_the_last_product_of_each_kind_in_float32(
    exported, tmp_path, name, calibration
):
    (_, source), target = exported(name), tmp_path / "int8.onnx"
    batches = padded_inputs(open_session(source, 1), ROWS, 0)
    quantize(source, target, calibration, batches, reduce_range=False)
    product = last_product(target)
    weights = {each.name: each.data_type for each in onnx.load(target).graph.initializer}
    assert product.op_type in ("MatMul", "Gemm")
    assert weights[product.input[1]] == onnx.TensorProto.FLOAT


@pytest.mark.parametrize("kind", slow_but([*KINDS][:1], KINDS))
def test_engines_and_memory_run_models_of_each_kind(exported, tmp_path, kind):
    model, file = exported(kind)
    (batch,) = Draw(40, 0)(3, 8, 1)
    for name in ("pytorch_fp32", "pytorch_bf16"):
        engine = torch_engine(model, name, torch.device("cpu"))
        engine.run(engine.prepare(batch))
    engine = onnx_engine(file, 1)
    found = engine.run(engine.prepare(batch))
    assert {len(each) for each in found} == {3}
    if kind in ("tokens", "span"):
        assert {each.shape[1] for each in found} == {8}
        model.save_pretrained(tmp_path / "model")
        tiny_tokenizer(tmp_path / "model").save_pretrained(tmp_path / "model")
        places = {"onnx": ("onnx_fp32", file), "torch": ("pytorch_fp32", tmp_path / "model")}
        assert min(peak_megabytes(places, 2, 8, "cpu").values()) > 1


def test_a_process_that_fails_leaves_no_other_running(monkeypatch, tmp_path):
    started = []

    def start(*_args, **options):
        line = (
            "import sys, time; sys.exit('gone')" if not started else "import time; time.sleep(99)"
        )
        started.append(real([sys.executable, "-c", line], **options))
        return started[-1]

    real = memory.subprocess.Popen
    monkeypatch.setattr(memory.subprocess, "Popen", start)
    with pytest.raises(InputError, match="memory of a: its process failed, got gone"):
        peak_megabytes(dict.fromkeys("ab", ("onnx_fp32", tmp_path)), 1, 8, "cpu")
    assert [each.returncode is None for each in started] == [False, False]


@pytest.mark.parametrize("calibration", ["dynamic", "static_minmax", "static_percentile"])
def test_int8_holds_embeddings_in_a_byte_and_the_classifier_in_four(
    exported, tmp_path, calibration, capsys
):
    (model, source), target = exported("classifier"), tmp_path / "int8.onnx"
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


def test_rows_for_a_calibration_have_one_length(exported):
    _, file = exported("classifier")
    inputs = padded_inputs(open_session(file, 1), ROWS, 0)
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


def test_the_file_is_a_file_of_the_named_opset(exported):
    _, file = exported("classifier")
    assert [each.version for each in onnx.load(file).opset_import] == [18]
