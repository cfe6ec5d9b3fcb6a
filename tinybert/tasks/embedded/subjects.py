"""What a passage of documentation is about: the part of a package that it stands in tells."""

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

from tinybert.tasks.embedded.plain import is_plain, num_words
from tinybert.tasks.embedded.splits import all_sentences
from tinybert.text.embedded.docstrings import Document

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

Row = dict[str, str | float]


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
