"""Number a task's labels by their names, whatever a file writes for them.

Labels that look like two classes and are one are found before a classifier is trained on both.
"""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from tinybert.runtime.errors import InputError
from tinybert.tasks.glue import is_labelled
from tinybert.tasks.tables import Table
from tinybert.tasks.task import BETWEEN, TRAIN
from tinybert.tasks.task_file import TaskFile, label_text

# Half of a pair that JSON escapes may leave alone; it cannot be written as UTF-8.
SURROGATE = re.compile("[\ud800-\udfff]")
MAX_SHOWN, MAX_SHOWN_CHARACTERS = 10, 40  # labels, and of each
WITHHELD = {"-1", "?"}  # what is written for a label that is not told; the hub writes -1
NO_LABEL = {"-", "?", "nan", "null", "n/a", "#n/a"}  # in lower case; "none" may be a class
OUTER = " .,;:!'\"`"
TRUTH = {"true": "1.0", "yes": "1.0", "false": "0.0", "no": "0.0"}  # as numbers
SEPARATORS = ";| "  # what people write between labels beside a comma
MAX_VALUES = 20  # different labels that need no look
Encoder = Callable[[object], tuple[Any, str | None]]
HAS, HAS_NOT = {"1", "true"}, {"0", "false"}  # a column of one label, in lower case


def named_labels(task: TaskFile, value: object) -> list[object]:
    """Return the labels that a row names: of several, each of a list, a text or columns of 0 and 1.

    A value of a column of one label that is neither 0 nor 1 is returned with its column, as a dict.
    """
    if task.kind != "multilabel":
        return [value]
    if isinstance(value, dict):
        texts = {name: (label_text(of) or "").lower() for name, of in value.items()}
        wrong: list[object] = [
            {name: value[name]} for name, of in texts.items() if of not in HAS | HAS_NOT
        ]
        return wrong or [name for name, of in texts.items() if of in HAS]
    if isinstance(value, list):
        return list(value)
    if isinstance(value, str):
        return [part for part in map(str.strip, value.split(task.label_separator)) if part]
    return [value]


def spelling_key(text: str) -> str:
    """Return what two spellings of one label have in common.

    Case, space, dashes, underscores, outer punctuation, invisible characters and the ways that
    Unicode writes one character do not count; a number is its value, and so is true or yes.
    """
    shown = "".join(
        c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) != "Cf"
    )
    if (number := _number(shown)) is not None:
        return repr(number)
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
    listed |= {name.strip() for name in listed}  # space does not make classes, once they are named
    counts = Counter[str]()
    places: dict[str, str] = {}
    for table in tables:
        pairs = zip(table.numbers, table.label or [], strict=False)
        for number, value in ((n, one) for n, of in pairs for one in named_labels(task, of)):
            if isinstance(value, str | bool | int) and label_text(value) is not None:
                name = _as_read(str(value), bool(task.labels))
                counts[name] += 1
                places.setdefault(name, table.where(number))
    groups = defaultdict(list)
    for name, _ in counts.most_common():
        groups[spelling_key(name)].append(name)
    problems = [
        _spelling_problem(names, counts, places)
        for names in groups.values()
        if len(names) > 1 and not {name.strip() for name in names} <= listed
    ]
    if problems:
        raise InputError(*problems)


def _as_read(value: str, strip: bool) -> str:
    """Return a label with the space that tells careless spellings apart; 1.0 is 1, True is true."""
    text = label_text(value) or ""
    return text if strip or text != value.strip() else value


def _spelling_problem(names: list[str], counts: Counter[str], places: dict[str, str]) -> str:
    common, *others = names
    visible = {unicodedata.normalize("NFC", name).casefold().strip() for name in names}
    escaped = len(visible) == 1 or not all(name.isprintable() for name in names)
    shown = {name: json.dumps(name, ensure_ascii=escaped) for name in names}
    got = " and ".join(f"{shown[name]} in {counts[name]} rows" for name in names)
    right = json.dumps(common.strip(), ensure_ascii=escaped)
    words = ", ".join(f"{shown[name]}: {right}" for name in others)
    both = ", ".join(shown.values())
    two = f", or list {both} among `labels` if they are different"
    if len({label_text(name) for name in names}) < len(names):
        two = ""  # space alone cannot make two classes
    return (
        f"{places[others[0]]}: labels that look like one, got {got}; write `label_words: "
        f"{{{words}}}` in the task's file to make them one{two}"
    )


def refuse_no_labels(task: TaskFile, train: Table) -> None:
    """Refuse marks in train that people write where a row has no label, unless they are listed.

    Raises:
        InputError: There are some, which would become a class.
    """
    if task.labels or task.kind != "classification":
        return
    known = _words(task.label_words)
    marks = [
        (number, text)
        for number, value in zip(train.numbers, train.label or [], strict=True)
        if (text := label_text(value)) and text.casefold() in NO_LABEL and text not in known
    ]
    if marks:
        number, text = marks[0]
        raise InputError(
            f"{train.where(number)}: a mark of rows without a label, got {text!r} in "
            f"{len(marks)} rows; take them out, or list the classes under `labels` in the task's "
            "file and write `bad_rows: drop`, or list the mark too if it is a class"
        )


def refuse_values(task: TaskFile, train: Table) -> None:
    """Refuse a column of numbers or texts that is no column of classes, unless they are listed.

    Raises:
        InputError: Many different fractions, or many labels of which most have a row of their own.
    """
    if task.labels or task.kind != "classification":
        return
    counts = Counter(text for value in train.label or [] if (text := label_text(value)))
    if len(counts) <= MAX_VALUES:
        return
    some = ", ".join(repr(name[:20]) for name in sorted(counts)[:3])
    name = task.columns.label
    if all(_number(text) is not None for text in counts) and any("." in text for text in counts):
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


def label_names(task: TaskFile, train: Table) -> list[str]:
    """Return the labels' names in the order of their numbers; none for regression.

    Raises:
        InputError: All rows of train have the same label, or none has one; labels hold what seems
            to part several, or a line end; `label_words` leads to one that is none.
    """
    if task.kind == "regression":
        return []
    words = _words(task.label_words)
    texts = {t for t in _texts(task, train) if t is not None and not SURROGATE.search(t)}
    if isinstance(task.columns.label, list) and texts:
        texts = {label_text(name) or "" for name in task.columns.label}
    found = {words.get(text, text) for text in texts}
    if not found and any(isinstance(value, list) for value in train.label or []):
        raise InputError(
            f"{train.place}: {task.columns.label!r} holds lists, got kind {task.kind}; write "
            "`kind: multilabel` in the task's file, or one label a row"
        )
    if len(found) < 2:
        raise InputError(
            f"{train.place}: {task.columns.label!r} must hold at least two labels, got "
            f"{', '.join(found) or 'none'} in every row; give rows of each label"
        )
    cells = [value for value in train.label or [] if isinstance(value, str)]
    parted = any(task.label_separator in cell for cell in cells)
    if task.kind == "multilabel" and not task.labels and cells and not parted:
        _refuse_joined(train.place, found)
    names = task.labels or sorted(found, key=_label_order)
    if strange := sorted(set(words.values()) - set(names)):
        raise InputError(
            f"{train.place}: `label_words` must lead to labels of train, got {strange[0]!r}, which "
            "no row has; list all labels under `labels` in the task's file, or take it out"
        )
    refuse_line_ends(train.place, names)
    between = [name for name in names if BETWEEN in name]
    if task.kind == "multilabel" and between:
        raise InputError(
            f"{train.place}: labels of which a row has several must hold no comma, got "
            f"{between[0]!r}: predictions are parted by it; lead it to another name by "
            "`label_words` in the task's file, or name what parts several by `label_separator`"
        )
    return names


def refuse_line_ends(place: str, names: Iterable[str]) -> None:
    """Refuse labels of several lines, which no table of predictions could be read with."""
    if broken := [name for name in names if "\n" in name or "\r" in name]:
        raise InputError(
            f"{place}: labels must be of one line, got {broken[0]!r}; lead it to another name by "
            "`label_words` in the task's file"
        )


def _refuse_joined(place: str, found: set[str]) -> None:
    """Refuse a label of which each part is one too: `label_separator` is another."""
    for name, separator in ((name, each) for name in sorted(found) for each in SEPARATORS):
        parts = [part.strip() for part in name.split(separator)]
        if len(parts) > 1 and set(parts) <= found:
            raise InputError(
                f"{place}: several labels were read as one, got {name!r} beside "
                f"{', '.join(map(repr, parts))}; write `label_separator: {json.dumps(separator)}` "
                "in the task's file, or list all labels under `labels`"
            )


def _texts(task: TaskFile, table: Table) -> set[str | None]:
    """Return the labels of a table; the rows of what is no text or number are bad rows."""
    values = [one for value in table.label or [] for one in named_labels(task, value)]
    return {label_text(v) for v in values if not isinstance(v, list | dict | bytes)}


def _label_order(name: str) -> tuple[float, str]:
    """Sort numbers by their value, before words."""
    number = _number(name)
    return number if number is not None and math.isfinite(number) else math.inf, name


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _words(names: dict[str, str]) -> dict[str, str]:
    return {label_text(word) or "": name for word, name in names.items()}


def encoder(task: TaskFile, labels: list[str]) -> Encoder:
    """Return the function from a label as read to its number and what is wrong with it."""
    if task.kind == "regression":
        return _encode_number
    if task.kind == "multilabel":
        return _encoder_of_several(task, labels)
    return _encoder_of_one(task, labels)


def _encoder_of_several(task: TaskFile, labels: list[str]) -> Encoder:
    one = _encoder_of_one(task, labels)

    def encode(value: object) -> tuple[list[int], str | None]:
        if value is None:
            return [], "labels are missing, got null; write [] for a row without any"
        found, problems = [], []
        for named in named_labels(task, value):
            if isinstance(named, dict):
                (column, of), *_ = named.items()
                problems.append(f"column {column!r} must be 0 or 1, got {of!r}; correct it")
                continue
            number, problem = one(named)
            found.append(number)
            problems += [problem] if problem else []
        return sorted(set(found)), "; ".join(problems) or None

    return encode


def _encoder_of_one(task: TaskFile, labels: list[str]) -> Encoder:
    numbers = {label_text(name) or "": number for number, name in enumerate(labels)}
    for word, name in _words(task.label_words).items():
        numbers[word] = labels.index(name)
    known = ", ".join(dict.fromkeys([*labels, *task.label_words]))

    def encode(value: object) -> tuple[int, str | None]:
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
    texts = _texts(task, table)
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
    number = None if "_" in text else _number(text)  # Python would read 1_000
    if number is not None and math.isfinite(number):
        return number, None
    got = "an empty field" if label_text(value) is None else repr(value)
    right = "3.2"
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        right = f"{text.replace(',', '.')}, with a decimal point"
    return 0.0, f"label of a regression is no number, got {got}; write one such as {right}"
