"""Entities of tagged words, and their scores, as published ones are computed.

seqeval reads tags as conlleval does: an I- that goes on no entity of its type begins one. An entity
is right if its type and both of its borders are. Sources: Tjong Kim Sang and De Meulder 2003,
arXiv cs/0306050; seqeval 1.2.2. It is imported late, as scikit-learn is that it needs.

Tags without prefixes, such as parts of speech, count as entities of a word each, but for O.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tinybert.tasks.tagging import OUTSIDE

Entity = tuple[str, int, int]  # type, first word, last word
NO_ENTITY = "none"


class Scores(NamedTuple):
    """Fractions, and the number of entities there are."""

    precision: float
    recall: float
    f1: float
    support: int  # gold ones


class EntityScores(NamedTuple):
    """Scores over all entities, and over those of each type that is there or is predicted."""

    overall: Scores
    by_type: dict[str, Scores]


def entities_of(tags: Sequence[str]) -> list[Entity]:
    """Return the entities of a sentence as (type, first word, last word), from 0.

    Args:
        tags: Of IOB2, one a word; in any order, as a model predicts them.
    """
    from seqeval.metrics.sequence_labeling import get_entities

    return [(str(name), int(first), int(last)) for name, first, last in get_entities(list(tags))]


def entity_scores(
    gold: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]
) -> EntityScores:
    """Score predicted entities.

    Args:
        gold: Tags of IOB2, by sentence.
        predicted: Of the same words.

    Returns:
        Micro-averaged scores and those by type. A share of nothing is 0.

    Raises:
        ValueError: The numbers of sentences or of their words differ.
    """
    from seqeval.metrics.sequence_labeling import precision_recall_fscore_support

    if [len(tags) for tags in gold] != [len(tags) for tags in predicted]:
        raise ValueError("gold and predicted tags must be of the same words")
    names = sorted({name for tags in (*gold, *predicted) for name, _, _ in entities_of(tags)})
    if not names:
        return EntityScores(Scores(0.0, 0.0, 0.0, 0), {})
    rows = ([list(tags) for tags in gold], [list(tags) for tags in predicted])
    micro = precision_recall_fscore_support(*rows, average="micro", zero_division=0)
    columns = precision_recall_fscore_support(*rows, average=None, zero_division=0)
    return EntityScores(
        _scores(*micro),
        {
            name: _scores(*each)
            for name, each in zip(names, zip(*columns, strict=True), strict=True)
        },
    )


def _scores(precision: float, recall: float, f1: float, support: int) -> Scores:
    return Scores(float(precision), float(recall), float(f1), int(support))


def entity_metrics(
    gold: Iterable[Sequence[int]], predicted: Iterable[Sequence[int]], labels: Sequence[str]
) -> dict[str, float]:
    """Return a task's metrics of entities by their names.

    Args:
        gold: Tag numbers, one a word, by row.
        predicted: Of the same words.
        labels: The tags, in the order of their numbers.

    Raises:
        ValueError: As for `entity_scores`.
    """
    overall = scores_of_numbers(gold, predicted, labels).overall
    return {
        "entity_f1": overall.f1,
        "entity_precision": overall.precision,
        "entity_recall": overall.recall,
    }


def scores_of_numbers(
    gold: Iterable[Sequence[int]], predicted: Iterable[Sequence[int]], labels: Sequence[str]
) -> EntityScores:
    """Return the scores of tag numbers, overall and by type; arguments as of `entity_metrics`."""
    names = entity_tags(labels)
    of_gold, of_predicted = (
        [[names[tag] for tag in row] for row in rows] for rows in (gold, predicted)
    )
    return entity_scores(of_gold, of_predicted)


def scores_by_type(
    gold: Iterable[Sequence[int]], predicted: Iterable[Sequence[int]], labels: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Return precision, recall, f1 and support of each type; arguments as of `entity_metrics`."""
    found = scores_of_numbers(gold, predicted, labels).by_type
    return {name: scores._asdict() for name, scores in found.items()}


def entity_counts(
    gold: Iterable[Sequence[int]], predicted: Iterable[Sequence[int]], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Return how many entities are right, there and predicted in each row, shape (rows, 3).

    Sums over rows give the scores of these rows by `entity_rates`.
    """
    tags = entity_tags(labels)
    counts = []
    for of_gold, of_predicted in zip(gold, predicted, strict=True):
        there, found = (
            set(entities_of([tags[number] for number in of])) for of in (of_gold, of_predicted)
        )
        counts.append((len(there & found), len(there), len(found)))
    return np.array(counts, dtype=np.int64).reshape(-1, 3)


def entity_rates(counts: NDArray[np.int64]) -> dict[str, float]:
    """Return a task's metrics from how many entities are right, there and predicted."""
    right, there, found = (int(count) for count in counts)
    return {
        "entity_f1": 2 * right / max(1, there + found),
        "entity_precision": right / max(1, found),
        "entity_recall": right / max(1, there),
    }


def entity_confusion(
    gold: Iterable[Sequence[int]], predicted: Iterable[Sequence[int]], labels: Sequence[str]
) -> tuple[list[str], NDArray[np.int64]]:
    """Count which types entities are taken for, where both of their borders are found.

    Args:
        gold: Tag numbers, one a word, by row.
        predicted: Of the same words.
        labels: The tags, in the order of their numbers.

    Returns:
        The types and `NO_ENTITY`, which stands for words without an entity of the same borders;
        counts, gold by predicted, of shape (types + 1, types + 1).
    """
    tags = entity_tags(labels)
    types = dict.fromkeys(tag[2:] for tag in tags if tag != OUTSIDE)
    names = [*types, NO_ENTITY]
    place = {name: number for number, name in enumerate(types)}  # a type may be called as no entity
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for of_gold, of_predicted in zip(gold, predicted, strict=True):
        there, found = (
            {(first, last): name for name, first, last in entities_of([tags[n] for n in of])}
            for of in (of_gold, of_predicted)
        )
        for borders in there.keys() | found.keys():
            row, column = (
                place[each[borders]] if borders in each else len(types) for each in (there, found)
            )
            counts[row, column] += 1
    return names, counts


def entity_tags(labels: Sequence[str]) -> list[str]:
    """Return a task's labels as tags of IOB2: those without prefixes begin an entity each."""
    if is_plain(labels):
        return [label if label == OUTSIDE else f"B-{label}" for label in labels]
    return list(labels)


def possible_order(tags: NDArray[np.int64], labels: Sequence[str]) -> NDArray[np.int64]:
    """Let each I- that goes on no entity of its type begin one, as conlleval reads it.

    So seqeval's default and its strict mode find the same entities.

    Args:
        tags: Tag numbers of one text's words, as a model predicts them; shape (words,).
        labels: The tags, in the order of their numbers.
    """
    if is_plain(labels) or not len(tags):
        return tags
    numbers = {label: number for number, label in enumerate(labels)}
    types = {name: number for number, name in enumerate(sorted({of[2:] for of in labels}))}
    of_type = np.array([-1 if of == OUTSIDE else types[of[2:]] for of in labels])
    begin = np.array([numbers.get(f"B-{of[2:]}", numbers[of]) for of in labels])
    inside = np.array([of.startswith("I-") for of in labels])
    before = np.concatenate([[-1], of_type[tags[:-1]]])
    return np.where(inside[tags] & (before != of_type[tags]), begin[tags], tags)


def go_on(
    tags: NDArray[np.int64], inside: NDArray[np.int64], labels: Sequence[str]
) -> NDArray[np.int64]:
    """Let words that begin inside of a piece go on what the word before them is of.

    Args:
        tags: Tag numbers of one text's words, shape (words,).
        inside: The numbers of those words, ascending.
        labels: The tags, in the order of their numbers.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    after = [numbers.get(f"I-{of[2:]}", n) if of[:2] == "B-" else n for of, n in numbers.items()]
    found = tags.copy()
    for word in inside.tolist():
        found[word] = after[found[word - 1]]
    return found


def is_plain(labels: Sequence[str]) -> bool:
    """Say whether a task's labels are tags without prefixes."""
    return any(label != OUTSIDE and label[:2] not in ("B-", "I-") for label in labels)


def count_entities(rows: Iterable[Sequence[int]], labels: Sequence[str]) -> dict[str, int]:
    """Count the entities of each type, in the labels' order, also where there are none."""
    tags = entity_tags(labels)
    counts = {tag[2:]: 0 for tag in tags if tag != OUTSIDE}
    for row in rows:
        for number in row:
            if tags[number].startswith("B-"):  # prepared tags begin every entity so
                counts[tags[number][2:]] += 1
    return counts


def to_spans(
    text: str, word_starts: Sequence[int], word_ends: Sequence[int], tags: Sequence[str]
) -> list[dict[str, int | str]]:
    """Return the entities of a text by character places.

    Args:
        text: The text.
        word_starts: Where each word begins.
        word_ends: Where each ends, exclusive.
        tags: Of IOB2, one a word.

    Returns:
        `start`, `end` (exclusive), `label` and `text` of each, in the text's order.

    Raises:
        ValueError: There are not as many tags as words.
    """
    if not len(word_starts) == len(word_ends) == len(tags):
        raise ValueError("there must be a start, an end and a tag for each word")
    spans: list[dict[str, int | str]] = []
    for name, first, last in entities_of(tags):
        start, end = int(word_starts[first]), int(word_ends[last])
        spans.append({"start": start, "end": end, "label": name, "text": text[start:end]})
    return spans
