"""A classifier as an ONNX file, and the answers of one.

torch's own exporter writes it. transformers' (`transformers.exporters`, 5.23) holds as well, but
puts the weights into a second file, which transformers.js and a copied file would miss.
"""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.encoders.signals import takes_token_types
from tinybert.evaluation.prediction import gather_logits
from tinybert.text.batching import Batch, collate
from tinybert.text.encoded import Rows

OPSET = 18  # of ONNX; onnxruntime 1.14 and transformers.js 3 read it
LOGITS = "logits"
ANSWER_LOGITS = ["start_logits", "end_logits"]  # of a model that answers questions


def export_onnx(model: PreTrainedModel, file: Path) -> None:
    """Write a model with a task's head as one ONNX file, for any number of rows and of tokens.

    Args:
        model: In float32, on the CPU; put into eval mode.
        file: To write. Its inputs are input_ids, attention_mask and, where the model tells
            segments apart, token_type_ids, int64 of shape (batch, length); its output `logits`, of
            a model for questions `start_logits` and `end_logits`.
    """
    # torch's fused attention becomes products with checks for rows without any token, which no row
    # is: in int8, 32 rows of 64 tokens took half as long again (measured).
    implementation = model.config._attn_implementation
    model.set_attn_implementation("eager")
    ids = torch.ones(2, 8, dtype=torch.int64)  # more than one of each, lest either be a constant
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if takes_token_types(model):
        inputs["token_type_ids"] = torch.zeros_like(ids)
    with quiet():
        program = torch.onnx.export(
            model.eval(),
            kwargs=inputs,
            dynamo=True,
            output_names=[LOGITS] if hasattr(model, "classifier") else ANSWER_LOGITS,
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in inputs},
            opset_version=OPSET,
            external_data=False,
            verbose=False,
        )
        assert program is not None
        program.save(str(file))
    model.set_attn_implementation(implementation)


def open_session(file: Path, num_threads: int = 0) -> onnxruntime.InferenceSession:
    """Open an ONNX file for the CPU.

    Args:
        file: The model.
        num_threads: Of one pass; 0: as many as there are cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(str(file), options, ["CPUExecutionProvider"])


def session_inputs(session: onnxruntime.InferenceSession, batch: Batch) -> dict[str, Any]:
    """Return what a session takes of a batch, as int64 arrays of shape (batch, length)."""
    return {each.name: batch[each.name].long().numpy() for each in session.get_inputs()}


def session_logits(
    session: onnxruntime.InferenceSession,
    rows: Rows,
    pad_token_id: int,
    batch_tokens: int = 8192,
) -> NDArray[np.float32]:
    """Return the logits of every row, as `predict_logits` does.

    Args:
        session: Of `open_session`.
        rows: Encoded rows.
        pad_token_id: For padding batches.
        batch_tokens: Padded tokens per batch.
    """
    names = [each.name for each in session.get_outputs()]

    def run(batch: Batch) -> NDArray[np.float32]:
        found = session.run(names, session_inputs(session, batch))
        return np.stack(found, axis=-1) if len(found) > 1 else np.asarray(found[0])

    return gather_logits(run, rows, pad_token_id, batch_tokens)


def padded_inputs(
    session: onnxruntime.InferenceSession, rows: Rows, pad_token_id: int
) -> list[dict[str, Any]]:
    """Return each row as a session's inputs, all padded to the longest, for a calibration."""
    batch = session_inputs(session, collate([rows[n] for n in range(len(rows))], pad_token_id))
    return [
        {name: values[number : number + 1] for name, values in batch.items()}
        for number in range(len(rows))
    ]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep exporter and quantizer from telling their own progress, advice and missing packages."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
