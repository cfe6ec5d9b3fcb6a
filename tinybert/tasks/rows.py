"""Turn a task's tables into checked rows: sentences, label numbers, splits of the asked size."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.tasks.glue import is_labelled
from tinybert.tasks.labels import (
    SURROGATE,
    WITHHELD,
    Encoder,
    encoder,
    label_names,
    refuse_alike,
    refuse_no_labels,
    refuse_other_labels,
    refuse_values,
)
from tinybert.tasks.metrics import default_metrics
from tinybert.tasks.tables import Table, listed
from tinybert.tasks.task import DEV, TRAIN, TaskInfo
from tinybert.tasks.task_file import TaskFile, label_text
from tinybert.tasks.text import row_key, spoilt_text

DEV_SHARE = 10  # one row in ten is set aside where there is no dev split
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")  # control and formatting characters, spaces
MEND = "mend them, or write `bad_rows: drop` in the task's file"
TWO_LABEL_METRIC = "f1"  # of the second label; f1_macro serves any number of them


@dataclass(frozen=True)
class Prepared:
    """A task ready to be written."""

    info: TaskInfo
    splits: dict[str, pd.DataFrame]
    notes: list[str]  # what was decided about rows, to be printed


def prepare(
    name: str, task: TaskFile, tables: dict[str, Table], seed: int, max_train_rows: int | None
) -> Prepared:
    """Check every row of every split, number the labels, and set splits aside.

    Args:
        name: Name of the task.
        task: Its file.
        tables: Its splits as they were read; train among them.
        seed: Of the rows set aside and of the subset.
        max_train_rows: Keep this many rows of train; None keeps all.

    Raises:
        InputError: Bad rows, which are all listed; fewer than two labels; a metric that does not
            fit them.
    """
    tables = {split: _without_withheld(split, table) for split, table in tables.items()}
    for table in tables.values():
        refuse_empty(table)
    refuse_alike(task, tables.values())
    refuse_no_labels(task, tables[TRAIN])
    refuse_values(task, tables[TRAIN])
    labels = _label_names(task, tables[TRAIN])
    metrics = task.metrics or default_metrics(task.kind)
    if TWO_LABEL_METRIC in metrics and len(labels) > 2:
        raise InputError(
            f"params/tasks/{name}.yaml: metrics: f1 is for two labels, got {len(labels)} labels; "
            f"write f1_macro"
        )
    for split, table in tables.items():
        refuse_other_labels(split, task, labels, table)
    encode = encoder(task, labels)
    checked = {
        split: check_split(table, encode, task.bad_rows == "drop")
        for split, table in tables.items()
    }
    splits = {split: found.frame for split, found in checked.items()}
    read = [f"{split}: {note}" for split, table in tables.items() for note in table.notes]
    notes = read + [f"{split}: {found.note}" for split, found in checked.items() if found.note]
    notes += [f"{split}: {note}" for split, table in tables.items() for note in spoilt_text(table)]
    splits, aside = with_dev(splits, tables[TRAIN].place, seed)
    notes += aside + _few_rows(labels, splits[TRAIN]) + in_train(tables, splits)
    splits, cut = with_limit(splits, max_train_rows, seed)
    if task.kind == "regression":
        notes += _one_value(splits, tables[TRAIN].place)
    if task.kind == "multilabel":
        notes += nothing_to_find(splits, "label", lambda numbers: len(numbers) > 0)
    info = TaskInfo(
        name=name,
        kind=task.kind,
        labels=labels,
        metrics=metrics,
        pair=task.columns.sentence2 is not None,
        num_rows={split: len(frame) for split, frame in splits.items()},
        dropped_rows=sum(found.dropped for found in checked.values()),
        shares=_shares(splits[TRAIN], labels) if task.kind == "multilabel" else [],
        glue=task.glue,
    )
    return Prepared(info, splits, notes + cut)


def _label_names(task: TaskFile, train: Table) -> list[str]:
    """Return train's labels; where they are wrong, malformed rows may be why, and are named."""
    try:
        return label_names(task, train)
    except InputError:
        if train.malformed and task.bad_rows == "refuse":
            raise bad_rows(train, train.malformed) from None
        raise


def _without_withheld(split: str, table: Table) -> Table:
    """Take away the label column of a test split in which no row has a label."""
    if is_labelled(split) or table.label is None:
        return table
    cells = [value.values() if isinstance(value, dict) else [value] for value in table.label]
    texts = {label_text(cell) for of in cells for cell in of if cell != []}
    return replace(table, label=None) if texts <= {None, *WITHHELD} else table


@dataclass(frozen=True)
class CheckedSplit:
    """The good rows of a split."""

    frame: pd.DataFrame  # sentence1, sentence2 where there are pairs, label where there are labels
    dropped: int
    note: str  # about bad rows; empty if there were none


def refuse_empty(table: Table) -> None:
    """Refuse a table without rows."""
    if table.numbers:
        return
    if table.malformed:
        raise bad_rows(table, table.malformed)
    raise InputError(f"{table.place}: is empty, got no rows; write some")


def bad_rows(table: Table, problems: dict[int, str]) -> InputError:
    """Return the error for a table's bad rows, by their numbers."""
    lines = [f"{table.where(number)}: {problems[number]}" for number in sorted(problems)]
    return listed(table.place, lines, MEND)


def sentence_text(value: object) -> str:
    """Return a sentence in one line, without space around it; empty if nothing of it is seen."""
    text = " ".join(line for line in str(value).splitlines() if line.strip()).strip()
    return text if any(unicodedata.category(c) not in UNSEEN for c in text) else ""


def check_split(table: Table, encode: Encoder | None, drop: bool) -> CheckedSplit:
    """Check every row of a split, in order.

    Args:
        table: The split as read.
        encode: Turns a label into its number; None for unlabelled rows that are trained on.
        drop: Drop bad rows instead of refusing the file. An unlabelled row of a split is never
            dropped, since predictions are counted against the file's rows: there, an empty
            sentence stays as it is, and a row without the right columns is refused all the same.

    Raises:
        InputError: Bad rows, the first ten listed; no row at all; or more to drop than to keep.
    """
    problems = dict(table.malformed)
    pairs = [table.sentence1] if table.sentence2 is None else [table.sentence1, table.sentence2]
    columns: dict[str, object] = {
        f"sentence{position}": checked_sentences(table, values, position, problems)
        for position, values in enumerate(pairs, start=1)
    }
    if table.label is not None and encode is not None:
        columns["label"] = _check_labels(table, encode, problems)
    if drop and table.label is None and encode is not None:
        if table.malformed:
            raise bad_rows(table, table.malformed)
        note = f"kept {len(problems)} rows with an empty sentence in {table.place}"
        return CheckedSplit(pd.DataFrame(columns), 0, note if problems else "")
    good = [number not in problems for number in table.numbers]
    if (problems and not drop) or not any(good):
        raise bad_rows(table, problems)
    return CheckedSplit(
        pd.DataFrame(columns)[good].reset_index(drop=True),
        len(problems),
        dropped(table.place, len(problems), sum(good), first_problem(table, problems)),
    )


def first_problem(table: Table, problems: dict[int, str]) -> str:
    """Say where and what the first of a table's problems is; nothing if there is none."""
    return f"{table.where(min(problems))}: {problems[min(problems)]}" if problems else ""


def dropped(place: str, num_bad: int, num_good: int, first: str) -> str:
    """Say how many rows are dropped, and where and why the first one; nothing if none is.

    Raises:
        InputError: They are more than those that stay: the columns or labels are wrong, not rows.
    """
    if not num_bad:
        return ""
    total = num_bad + num_good
    if num_good < num_bad:
        raise InputError(
            f"{place}: too many bad rows to drop, got {num_bad} of {total}, the first at {first}; "
            "name the right `columns` and `labels` in the task's file, or take out rows that are "
            "not meant"
        )
    return f"dropped {num_bad} bad rows of {total} ({num_bad / total:.0%}), the first at {first}"


def checked_sentences(
    table: Table, values: list[object], position: int, problems: dict[int, str]
) -> list[str]:
    """Return a column of sentences in their right form, and note in `problems` what is none."""
    texts = []
    for number, value in zip(table.numbers, values, strict=True):
        text = sentence_text(value) if isinstance(value, str) else ""
        if not text:
            got = "an empty field" if label_text(value) is None else repr(value)[:40]
            cure = "write one"
            if isinstance(value, int | float) and got != "an empty field":
                cure = "write it in quotes, or name the column of the text under `columns`"
            problems.setdefault(number, f"sentence {position} is no text, got {got}; {cure}")
        elif SURROGATE.search(text):
            problems.setdefault(
                number, f"sentence {position} has half a character, got {text[:40]!a}; mend it"
            )
            text = ""
        texts.append(text)
    return texts


def _check_labels(
    table: Table, encode: Encoder, problems: dict[int, str]
) -> NDArray[Any] | list[list[int]]:
    found = []
    for number, value in zip(table.numbers, table.label or [], strict=True):
        label, problem = encode(value)
        found.append(label)
        if problem:
            problems.setdefault(number, problem)
    return found if found and isinstance(found[0], list) else np.asarray(found)


def _few_rows(labels: list[str], train: pd.DataFrame) -> list[str]:
    """Name the labels that train cannot teach."""
    counts = train["label"].explode().value_counts()
    few = {0: "no row", 1: "a single row"}
    return [
        f"{TRAIN}: label {name!r} has {few[found]}"
        for number, name in enumerate(labels)
        if (found := int(counts.get(number, 0))) in few
    ]


def _shares(train: pd.DataFrame, labels: list[str]) -> list[float]:
    """Return the share of rows that have each label."""
    counts = train["label"].explode().value_counts()
    return [float(counts.get(number, 0)) / len(train) for number in range(len(labels))]


def in_train(tables: dict[str, Table], splits: dict[str, pd.DataFrame]) -> list[str]:
    """Count the rows of other splits that stand in train too, which makes scores too high."""
    sentences = [name for name in splits[TRAIN] if str(name).startswith("sentence")]
    known = set(map(row_key, splits[TRAIN][sentences].itertuples(index=False, name=None)))
    notes = []
    for split, frame in splits.items():
        rows = frame[sentences].itertuples(index=False, name=None)
        found = sum(row_key(row) in known for row in rows) if split != TRAIN else 0
        if found:
            place = tables.get(split, tables[TRAIN]).place  # train's: dev was set aside
            notes.append(
                f"{split}: {found} of {len(frame)} rows of {place} stand in train too, so scores "
                "on them are too high"
            )
    return notes


def nothing_to_find(
    splits: Mapping[str, pd.DataFrame], what: str, found: Callable[[Any], bool]
) -> list[str]:
    """Name the splits of which no row has what F1 is measured by."""
    return [
        f"{split}: no {what} in {len(frame)} rows, so F1 on them is 0 whatever is predicted"
        for split, frame in splits.items()
        if split != TRAIN and "label" in frame and not any(map(found, frame["label"]))
    ]


def _one_value(splits: Mapping[str, pd.DataFrame], place: str) -> list[str]:
    """Name the splits whose rows have one value alone, by which nothing is measured.

    Raises:
        InputError: Train is one: there is nothing to learn.
    """
    alike = [
        split
        for split, frame in splits.items()
        if "label" in frame and frame["label"].nunique() < 2
    ]
    if TRAIN in alike:
        raise InputError(
            f"{place}: a regression must have different values, got "
            f"{splits[TRAIN]['label'].iloc[0]} in every row; name the column of the values under "
            "`columns` of the task's file"
        )
    return [
        f"{split}: one value in {len(splits[split])} rows, so a correlation on them is not defined"
        for split in alike
    ]


def with_dev(
    splits: dict[str, pd.DataFrame], place: str, seed: int
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Set a tenth of train aside where there is no dev."""
    if DEV in splits:
        return splits, []
    train = splits[TRAIN]
    if len(train) < 2:
        raise InputError(f"{place}: too few rows to set some aside for dev, got 1; add rows")
    size = max(1, round(len(train) / DEV_SHARE))
    chosen = _stratified(train, len(train) - size, seed)
    dev = train.drop(index=train.index[chosen])
    others = {split: frame for split, frame in splits.items() if split != TRAIN}
    note = f"{DEV}: {size} of train's {len(train)} rows were set aside, with seed {seed}"
    return {TRAIN: rows_at(train, chosen), DEV: dev.reset_index(drop=True), **others}, [note]


def with_limit(
    splits: dict[str, pd.DataFrame],
    size: int | None,
    seed: int,
    strata: NDArray[np.int64] | None = None,
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Cut train to its size, each stratum of its rows by its share; None: that of its label."""
    train = splits[TRAIN]
    if size is None or size >= len(train):
        return splits, []
    if strata is None:
        chosen = _stratified(train, size, seed)
    else:
        chosen = stratified_sample(strata, size, seed)
    note = f"{TRAIN}: {size} of {len(train)} rows were kept, with seed {seed}"
    return {**splits, TRAIN: rows_at(train, chosen)}, [note]


def rows_at(frame: pd.DataFrame, chosen: NDArray[np.int64]) -> pd.DataFrame:
    """Return the rows at these positions, numbered anew."""
    return frame.iloc[chosen].reset_index(drop=True)


def _stratified(frame: pd.DataFrame, size: int, seed: int) -> NDArray[np.int64]:
    """Draw rows by their label, or from one stratum of all where they have another kind of it."""
    labels = frame["label"].to_numpy()
    numbers = labels if labels.dtype.kind == "i" else np.zeros(len(labels))
    return stratified_sample(np.asarray(numbers, dtype=np.int64), size, seed)


def stratified_sample(strata: NDArray[np.int64], size: int, seed: int) -> NDArray[np.int64]:
    """Draw rows so that every stratum keeps its share, and none is lost while there is room.

    Args:
        strata: The stratum of each row; shape (rows,).
        size: How many rows to draw, at most all.
        seed: Of the draw.

    Returns:
        Positions of the rows in ascending order; shape (size,).
    """
    generator = np.random.default_rng(seed)
    names, counts = np.unique(strata, return_counts=True)
    chosen = [
        generator.permutation(np.flatnonzero(strata == name))[:quota]
        for name, quota in zip(names, _quotas(counts, size), strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def _quotas(counts: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Share `size` by largest remainders, at least one for each stratum if they fit."""
    share = counts * (size / counts.sum())
    quotas = np.maximum(np.floor(share), 1).astype(np.int64)
    while quotas.sum() < size:
        quotas[np.argmax(np.where(quotas < counts, share - quotas, -np.inf))] += 1
    while quotas.sum() > size:
        quotas[np.argmax(quotas - share)] -= 1
    return np.asarray(quotas, dtype=np.int64)
