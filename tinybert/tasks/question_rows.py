"""Turn a task's questions about passages into checked rows, and set splits aside by passage.

Answers are named by their characters' places, so a passage keeps every character that it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.tasks.glue import is_labelled
from tinybert.tasks.labels import SURROGATE
from tinybert.tasks.metrics import default_metrics
from tinybert.tasks.rows import (
    DEV_SHARE,
    CheckedSplit,
    Prepared,
    bad_rows,
    checked_sentences,
    dropped,
    first_problem,
    in_train,
    refuse_empty,
    rows_at,
    sentence_text,
    with_limit,
)
from tinybert.tasks.tables import Table
from tinybert.tasks.task import DEV, TRAIN, TaskInfo
from tinybert.tasks.task_file import TaskFile, label_text
from tinybert.tasks.text import spoilt_text

SHOWN = 40  # characters of a text in a message
LAYOUT = '{"text": ["..."], "answer_start": [0]}'
Answer = dict[str, int | str]  # `start`, a character place in the passage, and `text`


def prepare_questions(
    name: str, task: TaskFile, tables: dict[str, Table], seed: int, max_train_rows: int | None
) -> Prepared:
    """Check every question of every split, and set splits aside.

    Args:
        name: Name of the task.
        task: Its file.
        tables: Its splits as they were read; train among them.
        seed: Of the passages set aside and of the subset.
        max_train_rows: Keep this many questions of train; None keeps all.

    Raises:
        InputError: Bad rows, which are all listed; no question of train has an answer.
    """
    tables = {split: _without_withheld(split, table) for split, table in tables.items()}
    for table in tables.values():
        refuse_empty(table)
    checked = {
        split: check_questions(table, task.bad_rows == "drop") for split, table in tables.items()
    }
    splits = {split: found.frame for split, found in checked.items()}
    if unanswerable(splits[TRAIN]).all():
        raise InputError(
            f"{tables[TRAIN].place}: some question must have an answer, got none in "
            f"{len(splits[TRAIN])} rows; name the column of the answers under `columns`"
        )
    notes = [f"{split}: {note}" for split, table in tables.items() for note in table.notes]
    notes += [f"{split}: {found.note}" for split, found in checked.items() if found.note]
    notes += [f"{split}: {note}" for split, table in tables.items() for note in spoilt_text(table)]
    splits, aside = _with_dev(splits, tables[TRAIN].place, seed)
    notes += aside + _other_shares(splits) + in_train(tables, splits)
    strata = unanswerable(splits[TRAIN]).astype(np.int64)
    splits, cut = with_limit(splits, max_train_rows, seed, strata)
    info = TaskInfo(
        name=name,
        kind=task.kind,
        labels=[],
        metrics=task.metrics or default_metrics(task.kind),
        pair=True,
        num_rows={split: len(frame) for split, frame in splits.items()},
        dropped_rows=sum(found.dropped for found in checked.values()),
    )
    return Prepared(info, splits, notes + cut)


def unanswerable(frame: pd.DataFrame) -> NDArray[np.bool_]:
    """Return whether each row of a labelled split has no answer, shape (rows,)."""
    return np.array([len(answers) == 0 for answers in frame["label"]], dtype=np.bool_)


def describe_questions(frame: pd.DataFrame) -> str:
    """Return the number of rows and passages, how many are unanswerable, and answers' length."""
    rows = f"{len(frame)} rows about {frame['sentence2'].nunique()} passages"
    if "label" not in frame:
        return f"{rows}, without answers"
    lengths = [len(answers[0]["text"]) for answers in frame["label"] if len(answers)]
    without = len(frame) - len(lengths)
    mean = f", answers of {np.mean(lengths):.0f} characters on average" if lengths else ""
    return f"{rows}, {without} unanswerable ({without / len(frame):.0%}){mean}"


def _without_withheld(split: str, table: Table) -> Table:
    """Take away the answers of a test split of which no row has one or is marked impossible."""
    if is_labelled(split) or table.label is None:
        return table
    marked = any(mark is True or mark == 1 for mark in table.further.get("is_impossible", []))
    told = any(_listed(value) not in ([], None) for value in table.label)
    return table if told or marked else replace(table, label=None)


def check_questions(table: Table, drop: bool, scored: bool = True) -> CheckedSplit:
    """Check every row of a split, in order.

    Args:
        table: The split as read.
        drop: Drop bad rows instead of refusing the file; but a row of a split without answers is
            never dropped, since predictions are counted against the file's rows: there, an empty
            text stays empty, and a row without columns or id is refused all the same.
        scored: Whether the rows are a split's. Others have neither answers nor ids.

    Raises:
        InputError: Bad rows, the first ten listed; no row at all; or more to drop than to keep.
    """
    problems = dict(table.malformed)
    columns: dict[str, object] = {}
    if scored:
        columns["id"] = _checked_ids(table, problems)
    to_refuse = dict(problems)
    columns["sentence1"] = checked_sentences(table, table.sentence1, 1, problems)
    passages = _checked_passages(table, problems)
    columns["sentence2"] = passages
    if scored and table.label is not None:
        columns["label"] = _checked_answers(table, passages, problems)
    if drop and scored and table.label is None:
        if to_refuse:
            raise bad_rows(table, to_refuse)
        note = f"kept {len(problems)} rows with an empty question or passage in {table.place}"
        return CheckedSplit(pd.DataFrame(columns), 0, note if problems else "")
    good = [number not in problems for number in table.numbers]
    if (problems and not drop) or not any(good):
        raise bad_rows(table, problems)
    return CheckedSplit(
        pd.DataFrame(columns)[good].reset_index(drop=True),
        len(problems),
        dropped(table.place, len(problems), sum(good), first_problem(table, problems)),
    )


def _checked_ids(table: Table, problems: dict[int, str]) -> list[str]:
    """Return the rows' ids as texts; each must be there, and no other row's."""
    ids, seen = [], dict[str, int]()
    given = table.further.get("id", [None] * len(table.numbers))
    for number, value in zip(table.numbers, given, strict=True):
        known = isinstance(value, str | int) and not isinstance(value, bool)
        name = str(value).strip() if known else ""
        ids.append(name)
        if not name or SURROGATE.search(name):
            got = "none" if label_text(value) is None else repr(value)[:SHOWN]
            problems.setdefault(
                number, f"id is missing, got {got}; give each question one of its own, in `id`"
            )
        elif name in seen:
            problems.setdefault(
                number,
                f"id stands there twice, got {name[:SHOWN]!r} at {table.where(seen[name])} too; "
                "give each question its own",
            )
        seen.setdefault(name, number)
    return ids


def _checked_passages(table: Table, problems: dict[int, str]) -> list[str]:
    """Return the passages with all their characters; empty where there is no text."""
    texts = []
    checked: dict[str, str] = {}  # a passage has many questions
    for number, value in zip(table.numbers, table.sentence2 or [], strict=True):
        text = value if isinstance(value, str) else ""
        if text not in checked:
            checked[text] = _passage_problem(text)
        problem = checked[text]
        if problem:
            got = "an empty field" if label_text(value) is None else repr(value)[:SHOWN]
            problems.setdefault(number, f"{problem}, got {got}; write its text")
        texts.append("" if problem else text)
    return texts


def _passage_problem(text: str) -> str:
    if not sentence_text(text):
        return "passage is no text"
    return "passage has half a character" if SURROGATE.search(text) else ""


def _checked_answers(
    table: Table, passages: Sequence[str], problems: dict[int, str]
) -> list[list[Answer]]:
    """Return each question's answers, and note those that do not stand where they say."""
    marks = table.further.get("is_impossible", [None] * len(table.numbers))
    rows = zip(table.numbers, passages, table.label or [], marks, strict=True)
    found = []
    for number, passage, value, mark in rows:
        answers, problem = _answers(value, passage)
        problem = problem or _mark_problem(mark, answers)
        if problem:
            problems.setdefault(number, problem)
        found.append(answers)
    return found


def _mark_problem(mark: object, answers: list[Answer]) -> str:
    """Say where `is_impossible` and the answers say two things; nothing if they do not."""
    if label_text(mark) is None:
        return ""
    if mark not in (True, False):  # also 1 and 0
        return f"is_impossible must be true or false, got {repr(mark)[:SHOWN]}; write one"
    if mark and answers:
        return (
            f"is_impossible, but has answers, got {str(answers[0]['text'])[:SHOWN]!r}; take them "
            "out (`plausible_answers` may hold them), or write false"
        )
    if not mark and not answers:
        return (
            "answerable without an answer, got is_impossible false and no answers; give one, or "
            "write true"
        )
    return ""


def _answers(value: object, passage: str) -> tuple[list[Answer], str]:
    """Return a question's answers as read, and what is wrong with the first bad one."""
    given = _listed(value)
    if given is None:
        got = "an empty field" if label_text(value) is None else repr(value)[:SHOWN]
        return [], (
            f"answers are no lists of texts and their places, got {got}; write {LAYOUT}, empty "
            "where the passage has none"
        )
    answers: list[Answer] = []
    for text, start in given:
        if problem := _answer_problem(text, start, passage):
            return [], problem
        answers.append({"start": int(str(start)), "text": str(text)})
    return answers, ""


def _listed(value: object) -> list[tuple[object, object]] | None:
    """Return texts with their places, in the hub's layout or SQuAD's; None if it is neither."""
    if isinstance(value, Mapping):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            return list(zip(texts, starts, strict=True))
    if isinstance(value, list) and all(isinstance(each, Mapping) for each in value):
        return [(each.get("text"), each.get("answer_start")) for each in value]
    return None


def _answer_problem(text: object, start: object, passage: str) -> str:
    """Say why an answer cannot be trained on; nothing if its text stands at its place."""
    if not isinstance(text, str) or not sentence_text(text):
        return (
            f"answer is no text, got {repr(text)[:SHOWN]}; take it out, or copy it from its passage"
        )
    if isinstance(start, bool) or not isinstance(start, int):
        return f"answer_start is no whole number, got {repr(start)[:SHOWN]}; write the place"
    there = passage[start : start + len(text)] if start >= 0 else ""
    if there == text or not passage:
        return ""
    got = repr(there)[:SHOWN] if there else f"a passage of {len(passage)} characters"
    return (
        f"answer {repr(text)[:SHOWN]} does not stand at {start}, got {got}; "
        f"{_nearest(text, start, passage)}"
    )


def _nearest(text: str, start: int, passage: str) -> str:
    """Say where an answer's text stands instead."""
    near = max(start, 0)
    found = passage.rfind(text, 0, near + len(text)), passage.find(text, near)
    places = [place for place in found if place >= 0]
    if places:
        nearest = min(places, key=lambda place: abs(place - start))
        return f"it stands at {nearest}: write `answer_start: {nearest}`, places count characters"
    return "it stands nowhere in the passage: copy it from there, character by character"


def _other_shares(splits: dict[str, pd.DataFrame]) -> list[str]:
    """Name splits that have unanswerable questions where train has none, or the other way round."""
    shares = {
        split: float(unanswerable(frame).mean())
        for split, frame in splits.items()
        if "label" in frame
    }
    return [
        f"{split}: {share:.0%} of the questions are unanswerable, in train {shares[TRAIN]:.0%}: "
        "when to give no answer is not trained or not measured"
        for split, share in shares.items()
        if bool(share) != bool(shares[TRAIN])
    ]


def _with_dev(
    splits: dict[str, pd.DataFrame], place: str, seed: int
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Set passages with a tenth of train's questions aside where there is no dev."""
    if DEV in splits:
        return splits, []
    train = splits[TRAIN]
    passages, names = pd.factorize(train["sentence2"])
    if len(names) < 2:
        raise InputError(
            f"{place}: too few passages to set some aside for dev, got 1; add passages, or name a "
            "file as `dev`"
        )
    order = np.random.default_rng(seed).permutation(len(names))
    rows = np.cumsum(np.bincount(passages)[order])
    wanted = max(1, round(len(train) / DEV_SHARE))
    number = min(int(np.searchsorted(rows, wanted)) + 1, len(names) - 1)
    chosen = np.isin(passages, order[:number])
    others = {split: frame for split, frame in splits.items() if split != TRAIN}
    parts = {
        TRAIN: rows_at(train, np.flatnonzero(~chosen)),
        DEV: rows_at(train, np.flatnonzero(chosen)),
    }
    if unanswerable(parts[TRAIN]).all():
        raise InputError(
            f"{place}: too few answers, got none in train once passages were set aside for dev; "
            "add answers, or name a file as `dev`"
        )
    note = (
        f"{DEV}: {len(parts[DEV])} of train's {len(train)} rows, those of {number} of its "
        f"{len(names)} passages, were set aside, with seed {seed}"
    )
    return {**parts, **others}, [note]
