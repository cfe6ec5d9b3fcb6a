"""Find labels that look like two classes and are one, before a classifier is trained on both."""

import json
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable

from tinybert.core.errors import InputError
from tinybert.tasks.tables import Table
from tinybert.tasks.task import TaskFile, label_text

OUTER = " .,;:!'\"`"
TRUTH = {"true": "1.0", "yes": "1.0", "false": "0.0", "no": "0.0"}  # as numbers
MAX_VALUES = 20  # different labels that need no look


def spelling_key(text: str) -> str:
    """Return what two spellings of one label have in common.

    Case, space, dashes, underscores, outer punctuation, invisible characters and the ways that
    Unicode writes one character do not count; a number is its value, and so is true or yes.
    """
    shown = "".join(
        c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf"
    )
    try:
        return repr(float(shown))
    except ValueError:
        pass
    words = " ".join(shown.casefold().replace("_", " ").replace("-", " ").split())
    key = unicodedata.normalize("NFKC", words.strip(OUTER)) or text
    return TRUTH.get(key, key)


def refuse_alike(task: TaskFile, tables: Iterable[Table]) -> None:
    """Refuse labels that differ in their spelling alone, unless the task's file lists them.

    Raises:
        InputError: One line for each such group of labels.
    """
    if task.kind == "regression":
        return
    listed = {*(task.labels or []), *task.label_words, *task.label_words.values()}
    if task.labels:  # their space does not make classes, once the classes are named
        listed |= {name.strip() for name in listed}
    counts = Counter[str]()
    places: dict[str, str] = {}
    for table in tables:
        for number, value in _labelled(table):
            if isinstance(value, str | bool | int) and label_text(value) is not None:
                name = _as_read(str(value), bool(task.labels))
                counts[name] += 1
                places.setdefault(name, table.where(number))
    groups = defaultdict(list)
    for name, _ in counts.most_common():
        groups[spelling_key(name)].append(name)
    problems = [
        _problem(names, counts, places)
        for names in groups.values()
        if len(names) > 1 and not set(names) <= listed
    ]
    if problems:
        raise InputError(*problems)


def _labelled(table: Table) -> Iterable[tuple[int, object]]:
    return () if table.label is None else zip(table.numbers, table.label, strict=True)


def _as_read(value: str, strip: bool) -> str:
    """Return a label with the space that tells careless spellings apart; 1.0 is 1, True is true."""
    text = label_text(value) or ""
    return text if strip or text != value.strip() else value


def _problem(names: list[str], counts: Counter[str], places: dict[str, str]) -> str:
    common, *others = names
    visible = {unicodedata.normalize("NFC", name).casefold().strip() for name in names}
    escaped = len(visible) == 1 or not all(name.isprintable() for name in names)
    shown = {name: json.dumps(name, ensure_ascii=escaped) for name in names}
    got = " and ".join(f"{shown[name]} in {counts[name]} rows" for name in names)
    words = ", ".join(f"{shown[name]}: {shown[common]}" for name in others)
    both = ", ".join(shown.values())
    two = f", or list {both} among `labels` if they are different"
    if len({label_text(name) for name in names}) < len(names):
        two = ""  # space alone cannot make two classes
    return (
        f"{places[others[0]]}: labels that look like one, got {got}; write `label_words: "
        f"{{{words}}}` in the task's file to make them one{two}"
    )


def refuse_values(task: TaskFile, train: Table) -> None:
    """Refuse a column of numbers or texts that is no column of classes, unless they are listed.

    Raises:
        InputError: Many different fractions, or many labels of which most have a row of their own.
    """
    if task.labels or task.kind == "regression":
        return
    counts = Counter(text for value in train.label or [] if (text := label_text(value)))
    if len(counts) <= MAX_VALUES:
        return
    some = ", ".join(repr(name[:20]) for name in sorted(counts)[:3])
    name = task.columns.label
    if all(_is_number(text) for text in counts) and any("." in text for text in counts):
        raise InputError(
            f"{train.place}: column {name!r} holds values, got {len(counts)} different numbers, "
            f"such as {some}; write `kind: regression` in the task's file, or list them "
            f"under `labels`"
        )
    if 2 * len(counts) > sum(counts.values()):
        raise InputError(
            f"{train.place}: column {name!r} holds no classes, got {len(counts)} different labels "
            f"in {sum(counts.values())} rows, such as {some}; name the column of the labels under "
            f"`columns` of the task's file, or list them under `labels`"
        )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
