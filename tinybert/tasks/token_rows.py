"""Turn a tokens task's tables into checked rows: a text, its words' places, a tag number a word."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tinybert.runtime.errors import InputError
from tinybert.tasks.labels import refuse_alike, refuse_line_ends
from tinybert.tasks.metrics import default_metrics
from tinybert.tasks.rows import (
    MEND,
    CheckedSplit,
    Prepared,
    dropped,
    in_train,
    nothing_to_find,
    refuse_empty,
    with_dev,
    with_limit,
)
from tinybert.tasks.tables import Table, listed
from tinybert.tasks.tagged import Row, TaggedSplit, read_rows
from tinybert.tasks.tagging import OUTSIDE
from tinybert.tasks.task import TRAIN, TaskInfo
from tinybert.tasks.task_file import TaskFile
from tinybert.tasks.text import spoilt_text

FEW_ROWS = 5  # a type that stands in fewer is named
Labels = list[str]  # in the order of their numbers


def prepare_tokens(
    name: str, task: TaskFile, tables: Mapping[str, Table], seed: int, max_train_rows: int | None
) -> Prepared:
    """Check every row of every split, number the tags, and set splits aside.

    Args:
        name: Name of the task.
        task: Its file.
        tables: Its splits as they were read; train among them.
        seed: Of the rows set aside and of the subset.
        max_train_rows: Keep this many rows of train; None keeps all.

    Raises:
        InputError: Bad rows, which are all listed; types that differ in their spelling alone; or
            no entity in train.
    """
    for table in tables.values():
        refuse_empty(table)
    readers = {split: TaggedSplit(task, split, table) for split, table in tables.items()}
    _refuse_mixed(readers)
    for reader in readers.values():
        reader.convert()
    _refuse_alike(task, readers)
    labels = _labels(name, task, readers[TRAIN])
    checked = {split: _checked(reader, labels) for split, reader in readers.items()}
    splits = {split: found.frame for split, found in checked.items()}
    notes = [f"{split}: {note}" for split, table in tables.items() for note in table.notes]
    notes += [f"{split}: {note}" for split, reader in readers.items() for note in reader.notes]
    notes += [f"{split}: {found.note}" for split, found in checked.items() if found.note]
    for split, table in tables.items():
        notes += [f"{split}: {note}" for note in spoilt_text(text_table(table))]
    splits, aside = with_dev(splits, tables[TRAIN].place, seed)
    notes += aside + _few_rows(labels, splits[TRAIN]) + in_train(dict(tables), splits)
    splits, cut = with_limit(splits, max_train_rows, seed)
    if labels[0] == OUTSIDE:
        notes += nothing_to_find(splits, "entity", lambda numbers: any(numbers))
    info = TaskInfo(
        name=name,
        kind=task.kind,
        labels=labels,
        metrics=task.metrics or default_metrics(task.kind),
        pair=False,
        num_rows={split: len(frame) for split, frame in splits.items()},
        dropped_rows=sum(found.dropped for found in checked.values()),
    )
    return Prepared(info, splits, notes + cut)


def check_texts(table: Table, drop: bool) -> CheckedSplit:
    """Check unlabelled rows: texts or lists of words.

    Args:
        table: As read.
        drop: Drop bad rows instead of refusing the file.

    Returns:
        `sentence1`, `word_starts` and `word_ends`.

    Raises:
        InputError: Bad rows, the first ten listed; no row at all; or more to drop than to keep.
    """
    return _kept(table, read_rows(table), {}, drop)


def _checked(reader: TaggedSplit, labels: Labels) -> CheckedSplit:
    """Number the tags, and return the good rows.

    Raises:
        InputError: As for `prepare_tokens`.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    known = ", ".join(dict.fromkeys(_type_of(label) for label in labels if label != OUTSIDE))
    for row in reader.rows:
        unknown = [(word, tag) for word, tag in enumerate(row.tags or ()) if tag not in numbers]
        for word, tag in unknown if not row.problems else ():
            if tag.startswith("I-") and not reader.plain:
                continue  # named where the entity begins
            row.refuse(
                f"unknown type, got {_type_of(tag)!a}; known: {known}; correct it, or lead it to "
                "one by `label_words` in the task's file",
                word,
            )
    return _kept(reader.table, reader.rows, numbers, reader.task.bad_rows == "drop")


def _type_of(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label


def _kept(
    table: Table, rows: Sequence[Row], numbers: Mapping[str, int], drop: bool
) -> CheckedSplit:
    """Return the good rows, or refuse the file.

    A row without tags of a split that has none is kept if it has no words, since predictions are
    counted against the file's rows; anything else that is wrong with it is refused.
    """
    predicted = bool(numbers) and all(row.tags is None for row in rows)
    empty = [row for row in rows if row.empty]
    whole = not table.malformed and len(empty) == sum(bool(row.problems) for row in rows)
    if drop and predicted and whole:
        note = f"kept {len(empty)} rows without words in {table.place}" if empty else ""
        return CheckedSplit(_frame(rows, numbers), 0, note)
    lines = {row.number: row.problems for row in rows if row.problems}
    lines |= {
        number: [f"{table.where(number)}: {what}"] for number, what in table.malformed.items()
    }
    good = [row for row in rows if not row.problems]
    problems = [line for number in sorted(lines) for line in lines[number]]
    if problems and (not drop or predicted or not good):
        raise listed(table.place, problems, MEND)
    note = dropped(table.place, len(lines), len(good), problems[0] if problems else "")
    return CheckedSplit(_frame(good, numbers), len(lines), note)


def _frame(rows: Sequence[Row], numbers: Mapping[str, int]) -> pd.DataFrame:
    def arrays(lists: Iterable[Sequence[int]]) -> Any:
        return pd.Series([np.asarray(each, dtype=np.int64) for each in lists], dtype=object)

    columns: dict[str, object] = {
        "sentence1": [row.words.text for row in rows],
        "word_starts": arrays(row.words.starts for row in rows),
        "word_ends": arrays(row.words.ends for row in rows),
    }
    if numbers and any(row.tags is not None for row in rows):
        columns["label"] = arrays([numbers[tag] for tag in row.tags or ()] for row in rows)
    return pd.DataFrame(columns)


def _refuse_mixed(readers: Mapping[str, TaggedSplit]) -> None:
    """Refuse a task whose splits are tagged with prefixes and without."""
    plain = {split: reader.plain for split, reader in readers.items() if reader.tagging}
    odd = [split for split, found in plain.items() if found != plain.get(TRAIN, found)]
    if odd:
        table = readers[odd[0]].table
        has, lacks = ("no prefixes", "has") if plain[odd[0]] else ("prefixes", "has none")
        raise InputError(
            f"{table.place}: tags must be like train's, got tags with {has} where train {lacks}; "
            "write both files in one scheme, such as B-PER, I-PER and O"
        )


def _refuse_alike(task: TaskFile, readers: Mapping[str, TaggedSplit]) -> None:
    """Refuse types that differ in their spelling alone, unless the task's file lists them."""
    tables = []
    for reader in readers.values():
        found = [(row.number, name) for row, names in reader.types() for name in sorted(names)]
        numbers, names = [number for number, _ in found], [name for _, name in found]
        texts: list[object] = [""] * len(found)
        tables.append(
            Table(reader.table.place, reader.table.unit, numbers, texts, None, list(names))
        )
    refuse_alike(task, tables)


def _labels(name: str, task: TaskFile, train: TaggedSplit) -> Labels:
    """Return the tags in the order of their numbers: O first, then by type.

    Raises:
        InputError: Train has no entity, or one tag alone; `labels` has tags for types; a name has
            a line end.
    """
    found = set[str]().union(*(names for _, names in train.types()))
    if not found - {OUTSIDE}:
        bad = [line for row in train.rows for line in row.problems]
        if bad and task.bad_rows == "refuse":
            raise listed(train.table.place, bad, MEND)
        raise InputError(
            f"{train.table.place}: must hold an entity, got none in {len(train.rows)} rows; name "
            "the column of the tags under `columns` of the task's file"
        )
    names = task.labels or sorted(found - {OUTSIDE})
    refuse_line_ends(train.table.place, names)
    if train.plain:
        whole = [*([OUTSIDE] if OUTSIDE in found and OUTSIDE not in names else []), *names]
        if len(whole) < 2:
            raise InputError(
                f"{train.table.place}: words must have at least two tags, got {whole[0]!r} alone; "
                "name the column of the tags under `columns` of the task's file"
            )
        return whole
    tags = {OUTSIDE, *(f"{prefix}-{of}" for prefix in "BI" for of in found)}
    if wrong := [of for of in names if of in tags - found]:
        types = ", ".join(sorted(found))
        raise InputError(
            f"params/tasks/{name}.yaml: labels: must be types of entities, got {wrong[0]!r}, a "
            f"tag; write their names alone: [{types}]"
        )
    return [OUTSIDE, *(f"{prefix}-{name}" for name in names for prefix in "BI")]


def _few_rows(labels: Labels, train: pd.DataFrame) -> list[str]:
    """Name the types that few rows of train teach."""
    rows = Counter[str]()
    for tags in train["label"]:
        rows.update({_type_of(labels[tag]) for tag in tags})
    names = dict.fromkeys(_type_of(label) for label in labels if label != OUTSIDE)
    return [
        f"{TRAIN}: type {name!r} stands in {rows[name] or 'no'} row{'s' * (rows[name] > 1)}"
        for name in names
        if rows[name] < FEW_ROWS
    ]


def text_table(table: Table) -> Table:
    """Return a table with texts for lists of words, for checks of texts."""
    texts: list[object] = [
        " ".join(map(str, value)) if isinstance(value, list) else value for value in table.sentence1
    ]
    return replace(table, sentence1=texts)
