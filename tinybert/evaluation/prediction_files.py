"""A split's predictions as files: written for other tools, and read to compute scores again.

Of classes, values and several labels `<split>.tsv`, with `index` and `prediction`; of tokens
`<split>.conll` and `<split>.jsonl`; of span `<split>.json` in SQuAD's layout, and beside it
`<split>.null_odds.json`.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.evaluation.probabilities import Logits, certainty, objects, probabilities
from tinybert.evaluation.squad_files import (
    read_squad_predictions,
    write_null_odds,
    write_squad_predictions,
)
from tinybert.evaluation.token_predictions import read_conll_predictions, write_conll, write_jsonl
from tinybert.runtime.errors import InputError, in_one_line
from tinybert.settings.choices import Kind
from tinybert.tasks.task import BETWEEN, TaskInfo

SUFFIX: dict[Kind, str] = {"tokens": ".conll", "span": ".json"}


def predictions_file(folder: Path, split: str, info: TaskInfo) -> Path:
    """Return the file with a split's predictions."""
    return folder / f"{split}{SUFFIX.get(info.kind, '.tsv')}"


def write_predictions(
    folder: Path,
    name: str,
    frame: pd.DataFrame,
    info: TaskInfo,
    predictions: NDArray[Any],
    beside: NDArray[Any],
) -> None:
    """Write a split's predictions.

    Args:
        folder: Must exist.
        name: Of the split.
        frame: Its rows.
        info: The task.
        predictions: Of `TaskSplit.predictions`, shape (rows,).
        beside: Of span by how much the null score is above the answer's, shape (rows,); of rows
            with labels their logits, shape (rows, outputs); not looked at for tokens.
    """
    file = predictions_file(folder, name, info)
    if info.kind == "tokens":
        tags = list(predictions)
        write_conll(file, frame, tags, info.labels)
        write_jsonl(file.with_suffix(".jsonl"), frame, tags, info.labels)
    elif info.kind == "span":
        ids = frame["id"].tolist()
        write_squad_predictions(file, ids, list(predictions))
        write_null_odds(file.with_suffix(".null_odds.json"), ids, beside.tolist())
    else:
        _table(info, beside, predictions).to_csv(file, sep="\t", index=False)


def _table(info: TaskInfo, logits: Logits, predictions: NDArray[Any]) -> pd.DataFrame:
    frame = pd.DataFrame({"index": np.arange(len(predictions))})
    if info.kind == "regression":
        return frame.assign(prediction=predictions)
    if info.kind == "classification":
        names = [info.labels[int(number)] for number in predictions]
        return frame.assign(prediction=names, probability=certainty(logits).round(4))
    frame["prediction"] = [BETWEEN.join(info.labels[n] for n in of) for of in predictions]
    given = pd.DataFrame(probabilities(logits).round(4), columns=pd.Index(info.labels))
    return pd.concat([frame, given.add_prefix("probability of ")], axis=1)


def read_predictions(file: Path, frame: pd.DataFrame, info: TaskInfo, split: str) -> NDArray[Any]:
    """Read a split's predictions as `TaskSplit.predictions` gives them.

    Args:
        file: Of `predictions_file`.
        frame: The split's rows.
        info: The task.
        split: Its name.

    Raises:
        InputError: They are damaged, or are not of these rows.
    """
    if info.kind == "tokens":
        return objects(read_conll_predictions(file, frame, info.labels))
    if info.kind == "span":
        texts = read_squad_predictions(file)
        lacking = [name for name in frame["id"] if name not in texts]
        if lacking or len(texts) != len(frame):
            raise InputError(
                f"{file}: must answer the {len(frame)} questions of {split}, got {len(texts)}"
                f"{f', none of {lacking[0]}' if lacking else ''}; run `dvc repro evaluate`"
            )
        return objects([texts[name] for name in frame["id"]])
    return _values(read_table(file, len(frame), split)["prediction"], info, file)


def read_table(file: Path, num_rows: int, split: str) -> pd.DataFrame:
    """Read a split's predictions as texts, in the rows' order.

    Raises:
        InputError: They are damaged, or are not of so many rows.
    """
    try:
        text = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
        if missing := {"index", "prediction"} - set(text.columns):
            raise ValueError(f"no column {', '.join(sorted(missing))}")
    except ValueError as error:
        reason = in_one_line(error)
        raise InputError(
            f"{file}: no predictions, got {reason}; delete it and run `dvc repro evaluate`"
        ) from error
    if text["index"].tolist() != [str(number) for number in range(num_rows)]:
        raise InputError(
            f"{file}: must have the {num_rows} rows of {split} in their order, got {len(text)}; "
            "run `dvc repro evaluate`"
        )
    return text


def _values(text: "pd.Series[str]", info: TaskInfo, file: Path) -> NDArray[Any]:
    try:
        if info.kind == "regression":
            return text.to_numpy().astype(np.float32)  # as they were before they were written
        numbers = {label: number for number, label in enumerate(info.labels)}
        if info.kind == "multilabel":
            split = [value.split(BETWEEN) if value else [] for value in text]
            return objects([np.array([numbers[name] for name in of], int) for of in split])
        return np.array([numbers[value] for value in text])
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{file}: unknown prediction, got {error}; expected "
            f"{', '.join(info.labels) or 'numbers'}: run `dvc repro evaluate`"
        ) from error
