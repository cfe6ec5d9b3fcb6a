"""The stage on a two-layer teacher and a one-layer student."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from stages.benchmark_latency import benchmark_latency
from tinybert.deployment.onnx_file import export_onnx
from tinybert.deployment.sections import FLOAT, BenchmarkLatencySettings
from tinybert.encoders.checkpoints import load_classifier
from tinybert.encoders.cost import encoder_flops
from tinybert.runtime.errors import InputError

SETTINGS = BenchmarkLatencySettings(
    engines=["pytorch_fp32", "onnx_fp32", "onnx_int8"],
    batch_sizes=[1],
    sequence_lengths=[16],
    num_threads=[1],
    precision="fp32",
    device="cpu",
    num_repeats=5,
    num_warmup=1,
)


def save_classifier(folder: Path, layers: int) -> Path:
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=32,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{n}" for n in range(35))]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(pieces), encoding="utf-8")
    BertTokenizerFast(str(vocabulary)).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_size_flops_parameters_and_speed_stand_beside_their_protocol(tmp_path: Path):
    student = save_classifier(tmp_path / "student", 1)
    teacher = save_classifier(tmp_path / "teacher", 8)
    output = tmp_path / "reports/latency/small.json"
    exported = tmp_path / "onnx"
    (exported / FLOAT).parent.mkdir(parents=True)
    export_onnx(load_classifier(student), exported / FLOAT)  # and none in int8
    speedup = benchmark_latency(student, teacher, exported, output, "small", SETTINGS, seed=0)
    found = json.loads(output.read_text(encoding="utf-8"))

    # Embeddings (40 + 32 + 2) * 16 and their LayerNorm 32; a layer: attention 4 * (16 * 16 + 16),
    # feed-forward 16 * 32 + 32 + 32 * 16 + 16, two LayerNorms 2 * 32; pooler 16 * 16 + 16.
    layer = 1088 + 1072 + 64
    assert found["student"]["parameters"] == 1184 + 32 + layer + 272
    assert found["teacher"]["parameters"] == 1184 + 32 + 8 * layer + 272
    assert found["student"]["gflops"] * 1e9 == pytest.approx(encoder_flops(1, 16, 32))
    pooled = 2 * 128 * 16 * 16  # a pooler that reads each of 128 tokens
    printed = found["student"]["gflops_printed"] - found["student"]["gflops"]
    assert printed * 1e9 == pytest.approx(pooled)
    size = (student / "model.safetensors").stat().st_size / 1e6
    assert found["student"]["size_mb"] == size < found["teacher"]["size_mb"]
    assert found["cells"][0]["speedup"] == speedup > 1  # eight layers against one
    assert found["cells"][0]["num_threads"] == 1
    engines = ["pytorch_fp32", "onnx_fp32"]
    assert [cell["engine"] for cell in found["cells"]] == engines
    assert found["engines"].keys() == {*engines, "teacher"}
    assert found["engines"]["onnx_fp32"]["size_mb"] == (exported / FLOAT).stat().st_size / 1e6
    peaks = {name: engine["peak_mb"] for name, engine in found["engines"].items()}
    assert peaks["onnx_fp32"] < 0.6 * peaks["pytorch_fp32"]  # no torch, whatever this process has
    assert {"device", "processor", "precision", "torch"} <= found["protocol"].keys()


def test_a_missing_student_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="no checkpoint folder"):
        benchmark_latency(*[tmp_path / "absent"] * 3, tmp_path / "out.json", "s", SETTINGS, seed=0)
    assert not (tmp_path / "out.json").exists()
