"""Whether a description belongs to a summary, which is how docstrings begin."""

import random
from collections.abc import Iterable

from tinybert.tasks.embedded.plain import is_plain, num_words
from tinybert.tasks.embedded.splits import all_sentences
from tinybert.text.embedded.docstrings import Document

LABELS = ["mismatch", "match"]
MIN_SUMMARY, MAX_SUMMARY = 5, 18  # words
MIN_DESCRIPTION, MAX_DESCRIPTION = 12, 32

Row = dict[str, str | float]


def described(found: Iterable[Document]) -> list[Document]:
    """Return the documents that have a summary and a description."""
    return [document for document in found if summary_and_description(document)]


def summary_rows(found: Iterable[Document], rng: random.Random) -> list[Row]:
    """Say whether a description is that of a summary.

    Two docstrings give either their two pairs or the same four texts crossed, so that no text alone
    tells the label.
    """
    described = list(filter(None, map(summary_and_description, found)))
    rng.shuffle(described)
    rows: list[Row] = []
    couples = zip(described[::2], described[1::2], strict=False)
    for number, ((summary, description), (other, of_other)) in enumerate(couples):
        crossed = number % 2 == 0
        if crossed:
            description, of_other = of_other, description
        label = LABELS[0 if crossed else 1]
        rows.append({"sentence1": summary, "sentence2": description, "label": label})
        rows.append({"sentence1": other, "sentence2": of_other, "label": label})
    return rows


def summary_and_description(document: Document) -> tuple[str, str] | None:
    """Return a docstring's first sentence and the plain ones after it; None where one is missing.

    The description ends with the last sentence that fits into `MAX_DESCRIPTION` words.
    """
    sentences = list(all_sentences([document]))
    summary, others = "".join(sentences[:1]), sentences[1:]
    if not is_plain(summary) or not MIN_SUMMARY <= num_words(summary) <= MAX_SUMMARY:
        return None
    description: list[str] = []
    for sentence in filter(is_plain, others):
        if num_words(*description, sentence) > MAX_DESCRIPTION:
            break
        description.append(sentence)
    text = " ".join(description)
    return (summary, text) if num_words(text) >= MIN_DESCRIPTION else None
