"""The ways to run a classifier: PyTorch or ONNX, and in which numbers."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from tinybert.deployment.onnx_file import open_session, session_inputs
from tinybert.deployment.sections import FLOAT, INT8, EngineName
from tinybert.text.batching import Batch

TYPES = {"pytorch_fp32": torch.float32, "pytorch_bf16": torch.bfloat16}
FILES = {"onnx_fp32": FLOAT, "onnx_int8": INT8}  # in an exported folder
TAKEN = ("input_ids", "attention_mask")


class Engine(NamedTuple):
    """A classifier that is ready to run.

    Attributes:
        prepare: Turns a batch of `collate` into what `run` takes; this is not timed.
        run: Answers it, and waits for the answer.
    """

    prepare: Callable[[Batch], Any]
    run: Callable[[Any], object]


def torch_engine(model: PreTrainedModel, name: EngineName, device: torch.device) -> Engine:
    """Return a classifier as PyTorch runs it, of a copy in the engine's numbers.

    Args:
        model: The classifier.
        name: `pytorch_fp32` or `pytorch_bf16`.
        device: Where it runs.
    """
    copied = copy.deepcopy(model).to(device, TYPES[name]).eval()

    def run(inputs: Batch) -> None:
        with torch.inference_mode():
            copied(**inputs)
        if device.type == "cuda":
            torch.cuda.synchronize()  # the GPU works on after the call has returned

    return Engine(lambda batch: {key: batch[key].to(device) for key in TAKEN}, run)


def onnx_engine(file: Path, num_threads: int) -> Engine:
    """Return an exported classifier as onnxruntime runs it on the CPU.

    Args:
        file: The model.
        num_threads: Of one pass.
    """
    session = open_session(file, num_threads)
    return Engine(
        lambda batch: session_inputs(session, batch), lambda inputs: session.run(None, inputs)
    )
