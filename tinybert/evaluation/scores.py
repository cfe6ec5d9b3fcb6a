"""Score a model on every split of a prepared task, and write its predictions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedModel

from tinybert.evaluation.decision import Decision, saved_decision
from tinybert.evaluation.prediction import TaskSplit, predict_logits, read_task_split
from tinybert.evaluation.prediction_files import write_predictions
from tinybert.runtime.errors import InputError
from tinybert.runtime.precision import computing_device
from tinybert.tasks.entities import entity_confusion, scores_by_type
from tinybert.tasks.metrics import multi_hot, score_task
from tinybert.tasks.squad_metrics import gold_texts, squad_parts
from tinybert.tasks.task import Encoding, TaskInfo


def evaluate_task(
    model: PreTrainedModel,
    tokenizer: Any,
    system: str,
    task_folder: Path,
    info: TaskInfo,
    encoding: Encoding,
    predictions_folder: Path,
) -> dict[str, Any]:
    """Predict every split but the training one, in float32, and score the labelled ones.

    Args:
        model: With the task's head, and its thresholds in its configuration; moved to the device
            to compute on.
        tokenizer: Its tokenizer.
        system: Name of the row in the table.
        task_folder: The prepared task.
        info: Its description.
        encoding: How rows become tokens.
        predictions_folder: Where a split's predictions are written; must exist.

    Returns:
        The content of reports/metrics/<system>/<task>.json; fractions.

    Raises:
        InputError: The model has another number of outputs than the task.
    """
    result: dict[str, Any] = {
        "system": system,
        "task": info.name,
        "main_metric": info.metrics[0],
        "metrics": {},
        "undefined": {},
        "num_rows": {},
        "confusion": {},
        "confusion_labels": info.labels,  # of tokens the types of entities
        "parts": {},
        "labels": info.labels,
    }
    if model.config.num_labels != info.num_outputs:
        raise InputError(
            f"{model.config.name_or_path or system}: must have {info.num_outputs} outputs, as many "
            f"as {task_folder / 'task.json'} says, got {model.config.num_labels}; run `dvc repro`"
        )
    model.to(computing_device())
    decision = saved_decision(model.config, info, model.config.name_or_path or system)
    for name in info.eval_splits:
        split = read_task_split(task_folder, name, tokenizer, encoding, info)
        logits = predict_logits(model, split.rows, None, title=f"{system} {info.name} {name}")
        predictions = split.predictions(logits, decision)
        beside = split.beside(logits)
        write_predictions(predictions_folder, name, split.frame, info, predictions, beside)
        result["num_rows"][name] = len(split.frame)
        if "label" in split.frame:
            _score(result, name, split, predictions)
    if decision != Decision():
        result["decision"] = {
            "thresholds": dict(zip(info.labels, decision.thresholds or (), strict=False)),
            "null_threshold": decision.null_threshold,
        }
    return result


def _score(result: dict[str, Any], name: str, split: TaskSplit, predictions: NDArray[Any]) -> None:
    info, gold = split.info, split.gold
    lacking = undefined_metrics(gold, info)
    found = score_task(info, predictions, gold)
    result["metrics"][name] = {k: v for k, v in found.items() if k not in lacking}
    if lacking:
        result["undefined"][name] = lacking
    if info.kind == "classification":
        from sklearn.metrics import confusion_matrix

        numbers = range(len(info.labels))
        table = confusion_matrix(gold, predictions, labels=list(numbers))
        result["confusion"][name] = table.tolist()
    if info.kind == "tokens":
        names, table = entity_confusion(list(gold), list(predictions), info.labels)
        result["confusion_labels"] = names
        result["confusion"][name] = table.tolist()
    if info.kind in PARTS:
        result["parts"][name] = PARTS[info.kind](predictions, gold, info)


def _by_label(
    predictions: NDArray[Any], gold: NDArray[Any], info: TaskInfo
) -> dict[str, dict[str, float]]:
    """Return precision, recall, F1 and rows of each label of a multilabel task."""
    from sklearn.metrics import precision_recall_fscore_support

    found = precision_recall_fscore_support(
        multi_hot(gold, info.num_outputs), multi_hot(predictions, info.num_outputs), zero_division=0
    )
    names = ("precision", "recall", "f1", "support")
    return {
        label: {name: float(values[number]) for name, values in zip(names, found, strict=True)}
        for number, label in enumerate(info.labels)
    }


def _by_type(
    predictions: NDArray[Any], gold: NDArray[Any], info: TaskInfo
) -> dict[str, dict[str, float]]:
    return scores_by_type(list(gold), list(predictions), info.labels)


def _by_answerable(
    predictions: NDArray[Any], gold: NDArray[Any], info: TaskInfo
) -> dict[str, dict[str, float]]:
    golds = gold_texts(gold)
    parts = squad_parts(list(predictions), golds)
    counts = {"HasAns": sum(map(bool, golds)), "NoAns": sum(not of for of in golds)}
    return {
        part: {metric: parts[f"{part}_{metric}"] for metric in ("squad_f1", "exact_match")}
        | {"support": count}
        for part, count in counts.items()
        if count
    }


# Of what a score is made, by kind: by label, by entity type, by whether there is an answer.
PARTS = {"multilabel": _by_label, "tokens": _by_type, "span": _by_answerable}


def undefined_metrics(gold: NDArray[Any], info: TaskInfo) -> list[str]:
    """Return the metrics for which these gold values give no score, whatever is predicted.

    Gold values that are all alike correlate with nothing, and F1 needs rows of its class.
    """
    if info.kind not in ("classification", "regression"):
        return []
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
