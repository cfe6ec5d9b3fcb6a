"""transformers.js loads an exported folder as it stands, under node."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures.models import tiny_classifier, tiny_tokenizer
from tinybert.deployment.int8 import quantize
from tinybert.deployment.onnx_file import export_onnx
from tinybert.deployment.sections import FLOAT, INT8
from tinybert.evaluation.prediction import predict_logits
from tinybert.text.encoded import encode

pytestmark = pytest.mark.slow
PACKAGE = "@huggingface/transformers@4.3.1"
TEXTS = ["the cat sat", "a big red dog ran under the tree"]
PROGRAM = """
import { pipeline, env } from "@huggingface/transformers";
env.allowRemoteModels = false;
env.localModelPath = process.argv[2];
const found = {};
for (const dtype of ["fp32", "q8"]) {
  const classify = await pipeline("text-classification", "student", { dtype });
  found[dtype] = await classify(JSON.parse(process.argv[3]), { top_k: 3 });
}
console.log(JSON.stringify(found));
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A node project with the package; skipped where it is not to be had."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here")
    command = ["npm", "install", "--silent", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, check=False)
    if done.returncode:
        pytest.skip("the package cannot be installed here")
    (tmp_path / "classify.mjs").write_text(PROGRAM)
    return tmp_path


def test_both_models_answer_as_pytorch_does(project):
    folder = project / "models/student"
    model = tiny_classifier(num_labels=3)
    model.save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    tiny_tokenizer(folder).save_pretrained(folder)
    (folder / FLOAT).parent.mkdir()
    export_onnx(model, folder / FLOAT)
    quantize(folder / FLOAT, folder / INT8, "dynamic", [], reduce_range=False)
    logits = predict_logits(model, encode(tiny_tokenizer(folder), TEXTS, None, 64), None)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    command = ["node", "classify.mjs", str(project / "models"), json.dumps(TEXTS)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    for dtype, answers in json.loads(done.stdout.splitlines()[-1]).items():
        for answer, expected in zip(answers, shares, strict=True):
            found = {each["label"]: each["score"] for each in answer}
            values = [found[f"LABEL_{number}"] for number in range(3)]
            np.testing.assert_allclose(values, expected, atol=1e-4 if dtype == "fp32" else 0.02)
