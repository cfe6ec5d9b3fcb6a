"""Number a task's labels by their names, whatever a file writes for them."""

import math
from collections.abc import Callable

from tinybert.errors import InputError
from tinybert.task_tables import Table
from tinybert.tasks import TaskFile, label_text

Encoder = Callable[[object], tuple[float | int, str | None]]


def label_names(task: TaskFile, train: Table) -> list[str]:
    """Return the labels' names in the order of their numbers; none for regression.

    Raises:
        InputError: All rows of train have the same label, or none has one.
    """
    if task.kind == "regression":
        return []
    words = _words(task.label_words)
    texts = {label_text(value) for value in train.label or []}
    found = {words.get(text, text) for text in texts if text is not None}
    if len(found) < 2:
        raise InputError(
            f"{train.place}: {task.columns.label!r} must hold at least two labels, got "
            f"{', '.join(found) or 'none'} in every row; give rows of each label"
        )
    return task.labels or sorted(found, key=_label_order)


def _label_order(name: str) -> tuple[float, str]:
    """Sort numbers by their value, before words."""
    try:
        return float(name), name
    except ValueError:
        return math.inf, name


def _words(names: dict[str, str]) -> dict[str, str]:
    return {label_text(word) or "": name for word, name in names.items()}


def encoder(task: TaskFile, labels: list[str]) -> Encoder:
    """Return the function from a label as read to its number and what is wrong with it."""
    if task.kind == "regression":
        return _encode_number
    numbers = {label_text(name) or "": number for number, name in enumerate(labels)}
    for word, name in _words(task.label_words).items():
        numbers[word] = labels.index(name)
    known = ", ".join(dict.fromkeys([*labels, *task.label_words]))

    def encode(value: object) -> tuple[float | int, str | None]:
        text = label_text(value)
        if text in numbers:
            return numbers[text], None
        got = "an empty field" if text is None else repr(text)
        return -1, f"unknown label, got {got}; known: {known}"

    return encode


def _encode_number(value: object) -> tuple[float | int, str | None]:
    try:
        number = float(str(value))
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number, None
    got = "an empty field" if label_text(value) is None else repr(value)
    return 0.0, f"label of a regression is no number, got {got}; write one such as 3.2"
