"""What a task's labels ask of its rows' copies: words that stay, and places that move.

A label of a whole row stays right, as Algorithm 1 has it, whatever words are replaced. Tags are of
words, and answers of characters: there a copy has its label's places rewritten, and a word gets no
candidate that is empty or holds white space, so that there are as many words as before.
"""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.augmentation.masked_words import Span
from tinybert.augmentation.sections import EntityWords
from tinybert.augmentation.slots import Change, Slot
from tinybert.tasks.tagging import OUTSIDE
from tinybert.tasks.task import TaskInfo


class RowLabels:
    """Labels of whole rows, copied as they are: of classification, regression, several labels.

    Args:
        part: Rows of a training set, columns as in `task`'s docstring.

    Attributes:
        whole: Whether any word may be replaced by any candidate.
    """

    whole = True

    def __init__(self, part: pd.DataFrame) -> None:
        self.labels = part["label"].to_numpy()

    def closed(self, place: int, side: str, spans: Sequence[Span]) -> dict[Span, str]:
        """Return the words of a sentence that must stay for its label, with their slots' kind.

        Args:
            place: Of the row in the part.
            side: The sentence's column.
            spans: Its words.
        """
        return {}

    def restrict(self, place: int, side: str, slots: Sequence[Slot]) -> Sequence[Slot]:
        """Return the slots of a sentence without the candidates that its label forbids.

        Args:
            place: Of the row in the part.
            side: The sentence's column.
            slots: Its words.
        """
        if self.whole:
            return slots
        closed = self.closed(place, side, [slot.span for slot in slots])
        return [_restricted(slot, closed.get(slot.span)) for slot in slots]

    def columns(
        self, sources: Sequence[int], changes: Sequence[Change | None]
    ) -> dict[str, NDArray[Any]]:
        """Return the columns beside the texts.

        Args:
            sources: Of each row of the result, the place of its original in the part.
            changes: What each row has changed; None for an original, which comes first.
        """
        return {"label": self.labels[list(sources)]}


class TagLabels(RowLabels):
    """Labels of words: a replaced word stays within one word of the row.

    Args:
        part: As of `RowLabels`, of a tokens task.
        replaceable: Whether words of each tag may be replaced, shape (labels,).
    """

    whole = False

    def __init__(self, part: pd.DataFrame, replaceable: NDArray[np.bool_]) -> None:
        super().__init__(part)
        self.starts = part["word_starts"].to_numpy()
        self.ends = part["word_ends"].to_numpy()
        self.replaceable = replaceable

    def closed(self, place: int, side: str, spans: Sequence[Span]) -> dict[Span, str]:
        """Return words of entities, and those over a border; arguments as of `RowLabels`."""
        starts = [start for start, _ in spans]
        words = np.searchsorted(self.starts[place], starts, side="right") - 1
        found = {}
        for span, word in zip(spans, words.tolist(), strict=True):
            if word < 0 or span[1] > self.ends[place][word]:
                found[span] = "kept"
            elif not self.replaceable[self.labels[place][word]]:
                found[span] = "entity"
        return found

    def columns(
        self, sources: Sequence[int], changes: Sequence[Change | None]
    ) -> dict[str, NDArray[Any]]:
        """Return the words' places and tags; arguments as of `RowLabels.columns`."""
        rows = list(zip(sources, changes, strict=True))
        moved = {
            name: _objects([_moved(places[source], change) for source, change in rows])
            for name, places in (("word_starts", self.starts), ("word_ends", self.ends))
        }
        return {**moved, **super().columns(sources, changes)}


class AnswerLabels(RowLabels):
    """Answers in passages: their characters stay, and their places move with the words before.

    Args:
        part: As of `RowLabels`, of a span task.
        taken: The names of all rows; no copy gets one of them.
    """

    whole = False

    def __init__(self, part: pd.DataFrame, taken: Collection[str]) -> None:
        super().__init__(part)
        self.ids = part["id"].to_numpy()
        self.taken = taken

    def closed(self, place: int, side: str, spans: Sequence[Span]) -> dict[Span, str]:
        """Return words of the passage that an answer touches; arguments as of `RowLabels`."""
        if side != "sentence2":
            return {}
        answers = [(of["start"], of["start"] + len(of["text"])) for of in self.labels[place]]
        return {
            span: "answer"
            for span in spans
            if any(span[0] < end and start < span[1] for start, end in answers)
        }

    def columns(
        self, sources: Sequence[int], changes: Sequence[Change | None]
    ) -> dict[str, NDArray[Any]]:
        """Return the rows' names and answers; arguments as of `RowLabels.columns`."""
        rows = list(zip(sources, changes, strict=True))
        return {
            "id": self._names(rows),
            "label": _objects([self._answers(source, change) for source, change in rows]),
        }

    def _names(self, rows: Sequence[tuple[int, Change | None]]) -> NDArray[Any]:
        """Return each original's name, and its copies' with #1, #2 and so on."""
        names, number = [], 0
        for source, change in rows:
            name = self.ids[source]
            number = 0 if change is None else number + 1
            while change is not None and f"{name}#{number}" in self.taken:
                number += 1
            names.append(name if change is None else f"{name}#{number}")
        return _objects(names)

    def _answers(self, source: int, change: Change | None) -> Any:
        answers = self.labels[source]
        if change is None or change.side != "sentence2" or not len(answers):
            return answers
        starts = _moved(np.array([of["start"] for of in answers], dtype=np.int64), change)
        moved = zip(answers, starts.tolist(), strict=True)
        return _objects([{**of, "start": start} for of, start in moved])


def labels_of(
    info: TaskInfo, frame: pd.DataFrame, entity_words: EntityWords
) -> Callable[[pd.DataFrame], RowLabels]:
    """Return what the labels of parts of a task's training set are.

    Args:
        info: The task.
        frame: Its training set.
        entity_words: Whether words of entities may be replaced, in a tokens task.
    """
    if info.kind == "tokens":
        outside = [entity_words == "replace" or label == OUTSIDE for label in info.labels]
        return partial(TagLabels, replaceable=np.array(outside))
    if info.kind == "span":
        return partial(AnswerLabels, taken=frozenset(frame["id"]))
    return RowLabels


def _moved(places: NDArray[np.int64], change: Change | None) -> NDArray[np.int64]:
    return places if change is None else change.moved(places)


def _restricted(slot: Slot, closed: str | None) -> Slot:
    """Return a slot without candidates if it is closed, else with those that are one word.

    Args:
        slot: The slot.
        closed: The kind that it is of since it must stay; None if it need not.
    """
    if slot.kind == "kept":  # it would stay anyway
        return slot
    if closed:
        return Slot(slot.span, closed, ())
    words = tuple([word for word in slot.words if word.split() == [word]])
    return slot._replace(kind=slot.kind if words else "no_vector", words=words)


def _objects(values: Sequence[Any]) -> NDArray[Any]:
    """Return values as an array of objects, one each, whatever their own shapes."""
    return pd.Series(values, dtype=object).to_numpy()
