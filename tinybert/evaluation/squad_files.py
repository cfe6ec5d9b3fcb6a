"""Predictions in the files that SQuAD's evaluation script reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

from tinybert.runtime.outputs import write_json
from tinybert.settings.reader import read_json

COMMAND = "dvc repro --force evaluate"
Value = TypeVar("Value", str, float)


def write_squad_predictions(file: Path, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Write the answer to each question, empty for none: the script's prediction file.

    Side effects: writes `file`, in a folder that must exist.

    Raises:
        ValueError: There are not as many answers as ids, or an id stands there twice.
    """
    write_json(_by_id(ids, texts), file)


def write_null_odds(file: Path, ids: Sequence[str], odds: Sequence[float]) -> None:
    """Write by how much no answer is likelier than the best one: the script's --na-prob-file.

    Side effects: writes `file`, in a folder that must exist.

    Raises:
        ValueError: There are not as many odds as ids, or an id stands there twice.
    """
    write_json(_by_id(ids, [float(each) for each in odds]), file)


def read_squad_predictions(file: Path) -> dict[str, str]:
    """Read the answers by question.

    Raises:
        InputError: The file is missing, damaged, or holds something else.
    """
    return cast(dict[str, str], read_json(file, dict[str, str], COMMAND))


def _by_id(ids: Sequence[str], values: Sequence[Value]) -> dict[str, Value]:
    found = dict(zip(ids, values, strict=True))
    if len(found) < len(ids):
        raise ValueError(
            f"{len(ids)} questions must each have an id of its own, got {len(found)} ids"
        )
    return found
