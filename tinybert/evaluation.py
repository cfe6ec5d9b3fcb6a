"""Score a classifier on every split of a prepared task, and write its predictions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.encoded import EncodedRows, encode
from tinybert.prediction import from_logits, predict_logits, scores
from tinybert.tasks import TaskInfo, read_split


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
    """
    result: dict[str, Any] = {
        "system": system,
        "task": info.name,
        "main_metric": info.metrics[0],
        "metrics": {},
        "num_rows": {},
        "confusion": {},
        "labels": info.labels,
    }
    for split in info.eval_splits:
        frame = read_split(task_folder, split)
        rows = encode_split(frame, tokenizer, max_length)
        logits = predict_logits(model, rows, None, title=f"{system} {info.name} {split}")
        _write_predictions(from_logits(logits, info), info, predictions_folder / f"{split}.tsv")
        result["num_rows"][split] = len(frame)
        if "label" in frame:
            gold = frame["label"].to_numpy()
            result["metrics"][split] = scores(logits, gold, info)
            if info.kind == "classification":
                from sklearn.metrics import confusion_matrix

                numbers = range(len(info.labels))
                table = confusion_matrix(gold, from_logits(logits, info), labels=list(numbers))
                result["confusion"][split] = table.tolist()
    return result


def write_json(values: dict[str, Any], file: Path) -> None:
    """Write values as indented JSON."""
    text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    file.write_text(text + "\n", encoding="utf-8")


def _write_predictions(predictions: NDArray[Any], info: TaskInfo, file: Path) -> None:
    named = predictions if info.kind == "regression" else [info.labels[int(p)] for p in predictions]
    frame = pd.DataFrame({"index": np.arange(len(predictions)), "prediction": named})
    frame.to_csv(file, sep="\t", index=False)
