"""Score a classifier on every split of a prepared task, and write its predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.core.errors import InputError
from tinybert.evaluation.prediction import certainty, from_logits, predict_logits, scores
from tinybert.tasks.task import TaskInfo, read_split
from tinybert.text.encoded import EncodedRows, encode


def encode_split(frame: pd.DataFrame, tokenizer: Any, max_length: int) -> EncodedRows:
    """Encode a split's sentences; its labels, if any, become the target `labels`."""
    second = frame["sentence2"].tolist() if "sentence2" in frame else None
    rows = encode(tokenizer, frame["sentence1"].tolist(), second, max_length)
    if "label" not in frame:
        return rows
    labels = frame["label"].to_numpy()
    kind = np.float32 if np.issubdtype(labels.dtype, np.floating) else np.int64
    return rows.with_targets(labels=labels.astype(kind))


def evaluate_task(
    model: PreTrainedModel,
    tokenizer: Any,
    system: str,
    task_folder: Path,
    info: TaskInfo,
    max_length: int,
    predictions_folder: Path,
) -> dict[str, Any]:
    """Predict every split but the training one, in float32, and score the labelled ones.

    Args:
        model: The classifier.
        tokenizer: Its tokenizer.
        system: Name of the row in the table.
        task_folder: The prepared task.
        info: Its description.
        max_length: Tokens per row.
        predictions_folder: Where `<split>.tsv` is written, with index and prediction (a label's
            name, or a number); must exist.

    Returns:
        The content of reports/metrics/<system>/<task>.json; fractions.

    Raises:
        InputError: The classifier has another number of outputs than the task.
    """
    result: dict[str, Any] = {
        "system": system,
        "task": info.name,
        "main_metric": info.metrics[0],
        "metrics": {},
        "undefined": {},
        "num_rows": {},
        "confusion": {},
        "labels": info.labels,
    }
    if model.config.num_labels != info.num_outputs:
        raise InputError(
            f"{model.config.name_or_path or system}: must have {info.num_outputs} outputs, as many "
            f"as {task_folder / 'task.json'} says, got {model.config.num_labels}; run `dvc repro`"
        )
    for split in info.eval_splits:
        frame = read_split(task_folder, split)
        rows = encode_split(frame, tokenizer, max_length)
        logits = predict_logits(model, rows, None, title=f"{system} {info.name} {split}")
        _write_predictions(logits, info, predictions_folder / f"{split}.tsv")
        result["num_rows"][split] = len(frame)
        if "label" in frame:
            gold = frame["label"].to_numpy()
            lacking = undefined_metrics(gold, info)
            found = scores(logits, gold, info)
            result["metrics"][split] = {k: v for k, v in found.items() if k not in lacking}
            if lacking:
                result["undefined"][split] = lacking
            if info.kind == "classification":
                from sklearn.metrics import confusion_matrix

                numbers = range(len(info.labels))
                table = confusion_matrix(gold, from_logits(logits, info), labels=list(numbers))
                result["confusion"][split] = table.tolist()
    return result


def undefined_metrics(gold: NDArray[np.generic], info: TaskInfo) -> list[str]:
    """Return the metrics for which these gold values give no score, whatever is predicted.

    Gold values that are all alike correlate with nothing, and F1 needs rows of its class.
    """
    lacking = {"pearson", "spearman", "matthews"} if np.ptp(gold) == 0 else set()
    if not (gold == 1).any():
        lacking.add("f1")
    return [name for name in info.metrics if name in lacking]


def shown_scores(result: Mapping[str, Any], split: str) -> str:
    """Say a split's scores, and which ones its gold values leave undefined."""
    words = [f"{name} {value:.3f}" for name, value in result["metrics"].get(split, {}).items()]
    words += [
        f"{name} undefined: all gold values are alike, or none is of label 1"
        for name in result["undefined"].get(split, [])
    ]
    return ", ".join(words) or "no labels"


def _write_predictions(logits: NDArray[np.float32], info: TaskInfo, file: Path) -> None:
    frame = pd.DataFrame({"index": np.arange(len(logits))})
    predictions = from_logits(logits, info)
    if info.kind == "regression":
        frame["prediction"] = predictions
    else:
        frame["prediction"] = [info.labels[int(number)] for number in predictions]
        frame["probability"] = certainty(logits).round(4)
    frame.to_csv(file, sep="\t", index=False)
