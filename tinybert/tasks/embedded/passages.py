"""Passages of docstrings: what each is about, and whether a description is that of a summary.

A passage is made of plain sentences, which a stranger can read, not of those about names in the
code. The part of a package that it stands in tells its subject; a docstring begins with its
summary.
"""

import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tinybert.tasks.embedded.splits import all_sentences
from tinybert.text.embedded.docstrings import Document

# What tells the package, rather than what is done with it.
PACKAGE_NAMES = re.compile(
    r"num_?py|scipy|pandas|scikit|sklearn|torch|matplotlib|pyplot|pylab|sym_?py|networkx"
    r"|transformers|hugging ?face|sqlalchemy|alembic|ndarray|dataframe|flask|werkzeug|starlette"
    r"|aiohttp|urllib3|graphviz|websockets|jinja|\b(?:mpl|np|pd|plt|nx|sa|nn|hf|orm|xla)\b",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"_|\w\.\w*[A-Za-z]|[a-z][A-Z]|[A-Z][a-z]+[A-Z]")
ABBREVIATION = re.compile(r"\b(?:e\.g|i\.e)\.")
# Beginnings of files, relative to the folder the packages lie in.
SUBJECTS: dict[str, tuple[str, ...]] = {
    "databases": ("sqlalchemy/", "alembic/"),
    "graphs": ("networkx/",),
    "neural_networks": ("torch/nn/", "torch/optim/", "sentence_transformers/"),
    "plotting": ("matplotlib/",),
    "signal_processing": ("scipy/signal/", "scipy/fft/", "scipy/fftpack/", "numpy/fft/"),
    "statistics": (
        *("scipy/stats/", "numpy/random/"),
        *("sklearn/covariance/", "sklearn/mixture/", "sklearn/naive_bayes.py"),
    ),
    "web": (
        *("aiohttp/", "fastapi/", "flask/", "h2/", "httpx/", "requests/", "starlette/"),
        *("urllib3/", "websockets/", "werkzeug/"),
    ),
}
MIN_WORDS, MAX_WORDS = 16, 40  # of a passage
MIN_SUMMARY, MAX_SUMMARY = 5, 18  # words
MIN_DESCRIPTION, MAX_DESCRIPTION = 12, 32

Span = dict[str, int | str]  # of a name: start, end, label
Row = dict[str, str | float | list[Span]]


def is_plain(sentence: str) -> bool:
    """Say whether a sentence names no package and holds no identifier."""
    spelt_out = ABBREVIATION.sub("", sentence)
    return not PACKAGE_NAMES.search(sentence) and not IDENTIFIER.search(spelt_out)


def num_words(*sentences: str) -> int:
    """Count the words of sentences."""
    return sum(len(sentence.split()) for sentence in sentences)


def by_subject(found: Iterable[Document]) -> list[Document]:
    """Return the documents of `SUBJECTS`, each with its subject in place of its library.

    So splits get their shares of each subject.
    """
    return [
        replace(document, library=subject)
        for document in found
        for subject, beginnings in SUBJECTS.items()
        if document.file.startswith(beginnings)
    ]


def subject_rows(found: Iterable[Document], rng: random.Random) -> list[Row]:
    """Say what a passage is about.

    How a docstring begins says most, so these passages come first. Those after them are of the
    kind, but harder: enough to train on without labels.

    Args:
        found: Documents of `by_subject`.
        rng: Orders the rows.
    """
    first: dict[str, list[Row]] = {subject: [] for subject in SUBJECTS}
    later: dict[str, list[Row]] = {subject: [] for subject in SUBJECTS}
    for document in found:
        for number, passage in enumerate(passages(document)):
            row: Row = {"sentence1": passage, "label": document.library}
            (later if number else first)[document.library].append(row)
    return [*_in_turns(first, rng), *_in_turns(later, rng)]


def _in_turns(by_label: dict[str, list[Row]], rng: random.Random) -> Iterator[Row]:
    """Yield a row of each label in turn, as long as it has some: balanced, then what is left."""
    for rows in by_label.values():
        rng.shuffle(rows)
    while remaining := [rows for rows in by_label.values() if rows]:
        for rows in rng.sample(remaining, len(remaining)):
            yield rows.pop()


def passages(document: Document) -> Iterator[str]:
    """Yield a docstring's plain sentences, in its order, as passages of like length."""
    passage: list[str] = []
    for sentence in filter(is_plain, all_sentences([document])):
        if num_words(*passage, sentence) > MAX_WORDS:
            if num_words(*passage) >= MIN_WORDS:
                yield " ".join(passage)
            passage = []
        if num_words(sentence) <= MAX_WORDS:
            passage.append(sentence)
    if num_words(*passage) >= MIN_WORDS:
        yield " ".join(passage)


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
        label = "mismatch" if crossed else "match"
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
