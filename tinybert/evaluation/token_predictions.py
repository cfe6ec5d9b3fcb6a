"""Write predicted tags of words, for people and for the tools that score them.

Rows are a prepared split's: `sentence1`, `word_starts`, `word_ends`, and `label` where the gold
tags are known; beside them the predicted tag numbers of each row.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.tasks.entities import entity_tags, to_spans


class _Row(NamedTuple):
    """A row with its tags."""

    text: str
    starts: list[int]
    ends: list[int]
    gold: list[int] | None
    predicted: list[int]


def write_conll(
    file: Path, frame: pd.DataFrame, predicted: Sequence[Sequence[int]], labels: Sequence[str]
) -> None:
    """Write a word a line: the word, its gold tag where it is known, the predicted tag.

    Columns are parted by a space, as conlleval wants them, or by a tab in all lines where a word
    or a tag holds a space. A blank line ends each sentence.

    Args:
        file: Replaced once it is whole.
        frame: Prepared rows.
        predicted: Tag numbers, one a word, by row.
        labels: The tags, in the order of their numbers.

    Raises:
        ValueError: A row has not as many predicted tags as words.
    """
    rows = list(_rows(frame, predicted))
    words = [[row.text[a:b] for a, b in zip(row.starts, row.ends, strict=True)] for row in rows]
    texts = chain(labels, *words)
    separator = "\t" if any(" " in text for text in texts) else " "
    with replace_file(file) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for row, of_row in zip(rows, words, strict=True):
            _write_sentence(stream, row, of_row, labels, separator)


def _write_sentence(
    stream: TextIO, row: _Row, words: list[str], labels: Sequence[str], separator: str
) -> None:
    columns = [words, *(numbers for numbers in (row.gold, row.predicted) if numbers is not None)]
    for word, *tags in zip(*columns, strict=True):
        fields = [str(word), *(labels[int(tag)] for tag in tags)]
        stream.write(separator.join(fields) + "\n")
    stream.write("\n")


def read_conll_predictions(
    file: Path, frame: pd.DataFrame, labels: Sequence[str]
) -> list[NDArray[np.int64]]:
    """Read the predicted tags of a file of `write_conll`, by row.

    Args:
        file: The file.
        frame: The rows that it is of.
        labels: The tags, in the order of their numbers.

    Raises:
        InputError: It has other words, or unknown tags.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    found: list[NDArray[np.int64]] = []
    lines = enumerate(file.read_text(encoding="utf-8").split("\n"), start=1)
    places = zip(frame["sentence1"], frame["word_starts"], frame["word_ends"], strict=True)
    for text, starts, ends in places:
        tags: list[int] = []
        for start, end in zip(starts, ends, strict=True):
            at, line = next(lines, (0, ""))
            word = text[start:end]
            columns = line[len(word) :]  # a word may hold what parts columns
            tag = columns.split(columns[0])[-1] if columns else ""
            if not line.startswith(word) or tag not in numbers:
                raise InputError(
                    f"{file}:{at}: must be the word {word!r} and a tag, got {line[:60]!r}; run "
                    "`dvc repro evaluate`"
                )
            tags.append(numbers[tag])
        next(lines, None)  # the blank line
        found.append(np.array(tags, dtype=np.int64))
    if (rest := next(lines, (0, "")))[1]:
        raise InputError(
            f"{file}:{rest[0]}: must end after {len(found)} sentences, got {rest[1][:60]!r}; run "
            "`dvc repro evaluate`"
        )
    return found


def write_jsonl(
    file: Path, frame: pd.DataFrame, predicted: Sequence[Sequence[int]], labels: Sequence[str]
) -> None:
    """Write a row a line: its text, the predicted entities, and the gold ones where known.

    An entity has `start` and `end`, character places with the end exclusive, `label` and `text`.

    Args:
        file: Replaced once it is whole.
        frame: Prepared rows.
        predicted: Tag numbers, one a word, by row.
        labels: The tags, in the order of their numbers.

    Raises:
        ValueError: A row has not as many predicted tags as words.
    """
    tags = entity_tags(labels)
    with replace_file(file) as partial, partial.open("w", encoding="utf-8", newline="\n") as stream:
        for row in _rows(frame, predicted):
            found: dict[str, object] = {"text": row.text}
            for key, numbers in (("entities", row.predicted), ("gold", row.gold)):
                if numbers is not None:
                    names = [tags[number] for number in numbers]
                    found[key] = to_spans(row.text, row.starts, row.ends, names)
            stream.write(json.dumps(found, ensure_ascii=False) + "\n")


def _rows(frame: pd.DataFrame, predicted: Sequence[Sequence[int]]) -> Iterator[_Row]:
    """Yield the rows with their predicted tags."""
    gold = frame["label"] if "label" in frame else [None] * len(frame)
    columns = (frame["sentence1"], frame["word_starts"], frame["word_ends"], gold, predicted)
    for number, (text, starts, ends, tags, found) in enumerate(zip(*columns, strict=True)):
        if len(found) != len(starts):
            raise ValueError(f"row {number} has {len(starts)} words, got {len(found)} tags")
        yield _Row(
            text,
            [int(place) for place in starts],
            [int(place) for place in ends],
            None if tags is None else [int(tag) for tag in tags],
            [int(tag) for tag in found],
        )
