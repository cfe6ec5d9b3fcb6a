"""Run a classifier over rows, and turn logits into predictions and scores."""

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from transformers import PreTrainedModel

from tinybert.encoders.signals import read_signals
from tinybert.tasks.metrics import score
from tinybert.tasks.task import TaskInfo
from tinybert.text.batching import collate, sorted_batches
from tinybert.text.encoded import Rows


def predict_logits(
    model: PreTrainedModel,
    rows: Rows,
    dtype: torch.dtype | None,
    batch_tokens: int = 8192,
    title: str = "",
) -> NDArray[np.float32]:
    """Return the logits of every row, shape (rows, outputs), in the rows' order.

    Args:
        model: A classifier; put into eval mode for the pass and back.
        rows: Encoded rows.
        dtype: What the pass is autocast to; None for float32.
        batch_tokens: Padded tokens per batch.
        title: Of the progress bar; none without it.
    """
    device, was_training = model.device, model.training
    logits = np.empty((len(rows), int(model.config.num_labels or 1)), dtype=np.float32)
    batches = sorted_batches(rows, batch_tokens)
    model.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
        for batch in track(batches, title, disable=not title, transient=True):
            inputs = collate([rows[int(row)] for row in batch], model.config.pad_token_id or 0)
            inputs = {key: value.to(device) for key, value in inputs.items()}
            signals = read_signals(model, inputs)
            assert signals.logits is not None
            logits[batch] = signals.logits.float().cpu().numpy()
    model.train(was_training)
    return logits


def from_logits(logits: NDArray[np.float32], info: TaskInfo) -> NDArray[np.generic]:
    """Return label numbers, or values for regression; shape (rows,)."""
    return logits[:, 0] if info.kind == "regression" else logits.argmax(axis=1)


def certainty(logits: NDArray[np.float32]) -> NDArray[np.floating]:
    """Return the probability of the label that is predicted, shape (rows,)."""
    from scipy.special import softmax  # late: not every stage that predicts asks for it

    return np.asarray(softmax(logits, axis=1).max(axis=1))


def scores(
    logits: NDArray[np.float32], labels: NDArray[np.generic], info: TaskInfo
) -> dict[str, float]:
    """Return the task's metrics, the selecting one first."""
    return score(info.metrics, from_logits(logits, info), labels)
