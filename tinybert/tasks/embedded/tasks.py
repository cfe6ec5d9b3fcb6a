"""Tasks in GLUE's shapes, labelled by construction from the embedded documentation.

Which source file a sentence comes from decides its split, so train, dev and test share no
docstring and, copies being out of the documentation, no sentence. Dev and test do not depend on
`num_train`, and more training rows are added to the same first ones. The general corpus may hold
the same sentences as unlabelled text, as is usual where a task's text is public.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise, zip_longest

import pandas as pd

from tinybert.core.errors import InputError
from tinybert.tasks.embedded.corruption import corrupt
from tinybert.tasks.embedded.grading import derive
from tinybert.tasks.embedded.splits import all_sentences, split_documents
from tinybert.tasks.embedded.subjects import SUBJECTS, by_subject, subject_rows
from tinybert.tasks.embedded.summaries import LABELS as SUMMARY_LABELS
from tinybert.tasks.embedded.summaries import described, summary_rows
from tinybert.text.embedded.docstrings import Document, documents
from tinybert.text.embedded.prose import split_sentences

TOPIC_LIBRARIES = (
    *("matplotlib", "networkx", "pandas", "scipy", "sklearn", "sqlalchemy", "sympy", "torch"),
    "transformers",
)
LABELS: dict[str, list[str]] = {
    "topic": list(TOPIC_LIBRARIES),
    "acceptability": ["unacceptable", "acceptable"],
    "pair": ["not_consecutive", "consecutive"],
    "similarity": [],
    "subject": list(SUBJECTS),
    "summary": SUMMARY_LABELS,
}
MIN_WORDS, MAX_WORDS = 8, 40  # per sentence of a task
MIN_PAIR_WORDS = 5  # a pair says more than one sentence does

MASK = "item"  # takes the place of a name: a noun, as most names are used as one
MAX_MASKED_SHARE = 0.2  # of a topic sentence's words
LIBRARY_NAMES = re.compile(
    r"num_?py|scipy|pandas|scikit|sklearn|torch|matplotlib|mpl|pyplot|pylab|sym_?py|networkx"
    r"|transformers|huggingface|sqlalchemy|gensim|^(?:np|pd|plt|nx|sp|sa|sns|nn|skl|hf|orm)$"
    r"|ndarray|dataframe",
    re.IGNORECASE,
)
TWO_WORD_NAME = re.compile(r"\bhugging face\b", re.IGNORECASE)
IDENTIFIER = re.compile(r"[_\d]|\w\.\w|[a-z][A-Z]|^[A-Z]{2,}[a-z]|[A-Z][a-z]+[A-Z]")
WORD = re.compile(r"[\w.'-]*\w")

Row = dict[str, str | float]


def make_task(
    kind: str, num_train: int, num_dev: int, num_test: int, seed: int, num_unlabelled: int = 0
) -> dict[str, pd.DataFrame]:
    """Build a task's splits.

    Args:
        kind: A key of `LABELS`.
        num_train: Rows of the training split.
        num_dev: Rows of the dev split.
        num_test: Rows of the test split.
        seed: Decides which files go to which split, and every random choice of the task.
        num_unlabelled: Further rows of the training split's files, without labels.

    Returns:
        `train`, `dev` and `test` with the columns `sentence1`, `sentence2` (pair, similarity and
        summary) and `label`: a name of `LABELS[kind]`, or a float from 0 to 5 for similarity.
        Classes are balanced; those of subject as long as each has rows. With `num_unlabelled`,
        `unlabelled` with the sentences alone.

    Raises:
        InputError: The documentation has too little text for the rows asked for, or there is no
            such kind.
    """
    if kind not in BUILDERS:
        known = ", ".join(LABELS)
        raise InputError(f"embedded task: unknown kind, got {kind!r}; known: {known}")
    wanted = {"train": num_train + num_unlabelled, "dev": num_dev, "test": num_test}
    shares = split_documents(SELECTED.get(kind, list)(documents()), seed)
    rows = {
        split: BUILDERS[kind](shares[split], random.Random(f"{kind} {split} {seed}"))
        for split in wanted
    }
    problems = [
        f"embedded task {kind}: too little text for {split}, got {number} rows asked for; "
        f"the documentation has {len(rows[split])}, ask for that many or fewer"
        for split, number in wanted.items()
        if number > len(rows[split])
    ]
    if problems:
        raise InputError(*problems)
    splits = {split: pd.DataFrame(rows[split][:number]) for split, number in wanted.items()}
    if num_unlabelled:
        further = splits["train"][num_train:].drop(columns="label").reset_index(drop=True)
        splits |= {"train": splits["train"][:num_train], "unlabelled": further}
    return splits


def _topic(found: list[Document], rng: random.Random) -> list[Row]:
    """Say which library a sentence documents; the libraries' and all other names are masked."""
    by_library: dict[str, list[Row]] = {library: [] for library in TOPIC_LIBRARIES}
    for document in found:
        if document.library in by_library:
            for sentence in _sentences(document):
                masked = mask_names(sentence)
                if masked:
                    row: Row = {"sentence1": masked, "label": document.library}
                    by_library[document.library].append(row)
    return _balanced(list(by_library.values()), rng)


def mask_names(sentence: str) -> str | None:
    """Replace identifiers and the libraries' names by `MASK`; None where too little is left."""
    masked, num_masked = [], 0
    for token in TWO_WORD_NAME.sub("HuggingFace", sentence).split():
        word = WORD.search(token)
        if word and (IDENTIFIER.search(word[0]) or LIBRARY_NAMES.search(word[0])):
            token = token.replace(word[0], MASK)
            num_masked += 1
        masked.append(token)
    return " ".join(masked) if num_masked <= MAX_MASKED_SHARE * len(masked) else None


def _acceptability(found: list[Document], rng: random.Random) -> list[Row]:
    """Say whether a sentence is English, or one that was corrupted. No sentence is in both."""
    sentences = _plain_sentences(found, rng)
    intact: list[Row] = []
    corrupted: list[Row] = []
    for sentence in sentences:
        changed = corrupt(sentence, rng)
        if changed is None:
            continue
        if len(intact) < len(corrupted):
            intact.append({"sentence1": sentence, "label": "acceptable"})
        else:
            corrupted.append({"sentence1": changed, "label": "unacceptable"})
    return _balanced([corrupted, intact], rng)


def _pair(found: list[Document], rng: random.Random) -> list[Row]:
    """Say whether two sentences follow each other; if not, they are of one library.

    Two docstrings of a library give either their two pairs or the same four sentences crossed,
    so that no sentence alone tells the label.
    """
    by_library: dict[str, list[tuple[str, str]]] = {}
    for document in found:
        pairs = list(_neighbours(document))
        if pairs:
            by_library.setdefault(document.library, []).append(rng.choice(pairs))
    couples: list[tuple[tuple[str, str], tuple[str, str]]] = []
    for pairs in by_library.values():
        rng.shuffle(pairs)
        couples.extend(zip(pairs[::2], pairs[1::2], strict=False))
    rng.shuffle(couples)
    rows: list[Row] = []
    for number, ((first, second), (other_first, other_second)) in enumerate(couples):
        crossed = number % 2 == 0
        label = LABELS["pair"][0 if crossed else 1]
        seconds = (other_second, second) if crossed else (second, other_second)
        for one, two in zip((first, other_first), seconds, strict=True):
            rows.append({"sentence1": one, "sentence2": two, "label": label})
    return rows


def _neighbours(document: Document) -> Iterator[tuple[str, str]]:
    for paragraph in document.paragraphs:
        sentences = split_sentences(paragraph)
        for first, second in pairwise(sentences):
            if all(MIN_PAIR_WORDS <= len(text.split()) <= MAX_WORDS for text in (first, second)):
                yield first, second


def _similarity(found: list[Document], rng: random.Random) -> list[Row]:
    """Grade how much of a sentence's content another one, made from it, has kept."""
    rows: list[Row] = []
    for first, other in _same_library(found, rng):
        second, grade = derive(first, other, rng)
        rows.append({"sentence1": first, "sentence2": second, "label": grade})
    return rows


def _same_library(found: list[Document], rng: random.Random) -> list[tuple[str, str]]:
    """Couple the plain sentences of each library, each in one couple, in random order."""
    by_library: dict[str, list[Document]] = {}
    for document in found:
        by_library.setdefault(document.library, []).append(document)
    couples: list[tuple[str, str]] = []
    for of_library in by_library.values():
        sentences = _plain_sentences(of_library, rng)
        couples.extend(zip(sentences[::2], sentences[1::2], strict=False))
    rng.shuffle(couples)
    return couples


def _plain_sentences(found: list[Document], rng: random.Random) -> list[str]:
    """Return the sentences without identifiers, shuffled."""
    sentences = [
        sentence
        for document in found
        for sentence in _sentences(document)
        if not any(IDENTIFIER.search(word) for word in WORD.findall(sentence))
    ]
    rng.shuffle(sentences)
    return sentences


def _sentences(document: Document) -> Iterator[str]:
    for sentence in all_sentences([document]):
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS:
            yield sentence


def _balanced(classes: list[list[Row]], rng: random.Random) -> list[Row]:
    """Shuffle each class and take one row of each in turn, as long as all have one."""
    for rows in classes:
        rng.shuffle(rows)
    smallest = min(map(len, classes))
    turns = zip_longest(*(rows[:smallest] for rows in classes))
    return [row for turn in turns for row in rng.sample(turn, len(turn))]


BUILDERS: dict[str, Callable[[list[Document], random.Random], list[Row]]] = {
    "topic": _topic,
    "acceptability": _acceptability,
    "pair": _pair,
    "similarity": _similarity,
    "subject": subject_rows,
    "summary": summary_rows,
}

# Of which documents, where not of all: less to search for near copies, and shares of what is used.
SELECTED: dict[str, Callable[[Iterable[Document]], list[Document]]] = {
    "subject": by_subject,
    "summary": described,
}
