"""Number a task's labels by their names, whatever a file writes for them."""

import json
import math
import re
from collections.abc import Callable, Iterable

from tinybert.core.errors import InputError
from tinybert.tasks.glue import is_labelled
from tinybert.tasks.label_spellings import spelling_key
from tinybert.tasks.tables import Table
from tinybert.tasks.task import TRAIN, TaskFile, label_text

# Half of a pair that JSON escapes may leave alone; it cannot be written as UTF-8.
SURROGATE = re.compile("[\ud800-\udfff]")
MAX_SHOWN, MAX_SHOWN_CHARACTERS = 10, 40  # labels, and of each
WITHHELD = {"-1", "?"}  # what is written for a label that is not told
Encoder = Callable[[object], tuple[float | int, str | None]]


def label_names(task: TaskFile, train: Table) -> list[str]:
    """Return the labels' names in the order of their numbers; none for regression.

    Raises:
        InputError: All rows of train have the same label, or none has one.
    """
    if task.kind == "regression":
        return []
    words = _words(task.label_words)
    # What is no text or number stays out of the names, so that its rows are bad rows.
    values = [v for v in train.label or [] if not isinstance(v, list | dict | bytes)]
    texts = {label_text(value) for value in values}
    texts = {text for text in texts if text is None or not SURROGATE.search(text)}
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
        if isinstance(value, list | dict | bytes):
            return -1, f"label is no text or number, got {repr(value)[:40]}; write one label"
        shown = ascii if text and SURROGATE.search(text) else repr
        if text is None:
            return -1, f"label is missing, got an empty field; write one of {known}"
        return -1, f"unknown label, got {shown(text)}; known: {known}{_cure(text, numbers)}"

    return encode


def refuse_other_labels(split: str, task: TaskFile, labels: list[str], table: Table) -> None:
    """Refuse a split of which no row has a known label, in one line instead of one a row.

    Raises:
        InputError: Both sets of labels are named, with the setting that leads one to the other.
    """
    known = {label_text(name) for name in labels} | set(_words(task.label_words))
    texts = {label_text(v) for v in table.label or [] if not isinstance(v, list | dict | bytes)}
    if task.kind == "regression" or not texts or texts & known:
        return
    found = sorted(text for text in texts if text is not None)
    got = _some([ascii(name) if SURROGATE.search(name) else repr(name) for name in found])
    if split == TRAIN:
        cure = "correct `labels` of the task's file, or lead words to them: "
        cure += f"`label_words: {_word_map(found, labels)}`"
    elif is_labelled(split) and set(found) <= WITHHELD:
        cure = f"write them, or leave `{split}` out: then a tenth of train is set aside"
    else:
        cure = f"lead them to train's: `label_words: {_word_map(found, labels)}` in the task's file"
    if not is_labelled(split):
        cure += f", or leave the column {task.columns.label!r} out where labels are withheld"
    raise InputError(
        f"{table.place}: no row has a known label, got {got or 'empty fields'} in "
        f"{len(table.numbers)} rows; known: {_some(labels)}; {cure}"
    )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(name[:MAX_SHOWN_CHARACTERS] for name in names[:MAX_SHOWN]) + more


def _word_map(found: list[str], labels: list[str]) -> str:
    """Write the setting that leads a file's words to labels, `?` where a person must say which."""
    words = []
    for text in found[:MAX_SHOWN]:
        near = [name for name in labels if spelling_key(name) == spelling_key(text)]
        shown = json.dumps(text, ensure_ascii=bool(SURROGATE.search(text)))
        words.append(f"{shown}: {json.dumps(near[0], ensure_ascii=False) if near else '?'}")
    return "{" + ", ".join(words) + (", ..." if len(found) > MAX_SHOWN else "") + "}"


def _cure(text: str, known: Iterable[str]) -> str:
    """Return the setting that takes another spelling of a known label, if it is one."""
    near = [name for name in known if spelling_key(name) == spelling_key(text)]
    if not near:
        return "; correct it, or lead it to one by `label_words` in the task's file"
    word, name = (json.dumps(each, ensure_ascii=False) for each in (text, near[0]))
    return f"; `label_words: {{{word}: {name}}}` in the task's file makes it that one"


def _encode_number(value: object) -> tuple[float | int, str | None]:
    text = str(value).strip()
    try:
        number = float(text) if "_" not in text else math.nan  # Python would read 1_000
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number, None
    got = "an empty field" if label_text(value) is None else repr(value)
    right = "3.2"
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        right = f"{text.replace(',', '.')}, with a decimal point"
    return 0.0, f"label of a regression is no number, got {got}; write one such as {right}"
