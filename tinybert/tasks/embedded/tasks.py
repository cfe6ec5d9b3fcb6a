"""Tasks in GLUE's shapes, labelled by construction from the embedded documentation.

Which source file a sentence comes from decides its split, so train, dev and test share no
docstring and, copies being out of the documentation, no sentence. Dev and test do not depend on
`num_train`, and more training rows are added to the same first ones. The general corpus may hold
the same sentences as unlabelled text, as is usual where a task's text is public.
"""

import random
import re
from collections.abc import Callable, Iterable

import pandas as pd

from tinybert.runtime.errors import InputError
from tinybert.tasks.embedded.corruption import corrupt
from tinybert.tasks.embedded.grading import derive
from tinybert.tasks.embedded.names import name_rows, named_documents
from tinybert.tasks.embedded.passages import Row, by_subject, described, subject_rows, summary_rows
from tinybert.tasks.embedded.splits import all_sentences, split_documents
from tinybert.text.embedded.docstrings import Document, documents

MIN_WORDS, MAX_WORDS = 8, 40  # per sentence of a task
IDENTIFIER = re.compile(r"[_\d]|\w\.\w|[a-z][A-Z]|^[A-Z]{2,}[a-z]|[A-Z][a-z]+[A-Z]")
WORD = re.compile(r"[\w.'-]*\w")


def make_task(
    kind: str, num_train: int, num_dev: int, num_test: int, seed: int, num_unlabelled: int = 0
) -> dict[str, pd.DataFrame]:
    """Build a task's splits.

    Args:
        kind: A key of `BUILDERS`.
        num_train: Rows of the training split.
        num_dev: Rows of the dev split.
        num_test: Rows of the test split.
        seed: Decides which files go to which split, and every random choice of the task.
        num_unlabelled: Further rows of the training split's files, without labels.

    Returns:
        `train`, `dev` and `test` with the columns `sentence1`, `sentence2` (similarity and summary)
        and `label`: a name, a float from 0 to 5 for similarity, or a list of spans for names.
        Classes are balanced; those of subject and the types of names as long as each has rows. With
        `num_unlabelled`, `unlabelled` with the sentences alone.

    Raises:
        InputError: The documentation has too little text for the rows asked for, or there is no
            such kind.
    """
    if kind not in BUILDERS:
        known = ", ".join(BUILDERS)
        raise InputError(f"embedded task: unknown kind, got {kind!r}; known: {known}")
    wanted = {"train": num_train + num_unlabelled, "dev": num_dev, "test": num_test}
    found = named_documents() if kind == "names" else SELECTED.get(kind, list)(documents())
    shares = split_documents(list(found), seed)
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


def _acceptability(found: list[Document], rng: random.Random) -> list[Row]:
    """Say whether a sentence is English, or one that was corrupted. No sentence is in both."""
    intact: list[Row] = []
    corrupted: list[Row] = []
    for sentence in _plain_sentences(found, rng):
        changed = corrupt(sentence, rng)
        if changed is None:
            continue
        if len(intact) < len(corrupted):
            intact.append({"sentence1": sentence, "label": "acceptable"})
        else:
            corrupted.append({"sentence1": changed, "label": "unacceptable"})
    rng.shuffle(corrupted)
    rng.shuffle(intact)
    turns = zip(corrupted, intact, strict=False)  # balanced: as long as both have a row
    return [row for turn in turns for row in rng.sample(turn, len(turn))]


def _similarity(found: list[Document], rng: random.Random) -> list[Row]:
    """Grade how much of a sentence's content another one, made from it, has kept.

    The two are made of plain sentences of one library, each in one couple.
    """
    by_library: dict[str, list[Document]] = {}
    for document in found:
        by_library.setdefault(document.library, []).append(document)
    couples: list[tuple[str, str]] = []
    for of_library in by_library.values():
        sentences = _plain_sentences(of_library, rng)
        couples.extend(zip(sentences[::2], sentences[1::2], strict=False))
    rng.shuffle(couples)
    rows: list[Row] = []
    for first, other in couples:
        second, grade = derive(first, other, rng)
        rows.append({"sentence1": first, "sentence2": second, "label": grade})
    return rows


def _plain_sentences(found: list[Document], rng: random.Random) -> list[str]:
    """Return the sentences of a task's length without identifiers, shuffled."""
    sentences = [
        sentence
        for sentence in all_sentences(found)
        if MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
        and not any(IDENTIFIER.search(word) for word in WORD.findall(sentence))
    ]
    rng.shuffle(sentences)
    return sentences


BUILDERS: dict[str, Callable[[list[Document], random.Random], list[Row]]] = {
    "acceptability": _acceptability,
    "names": name_rows,
    "similarity": _similarity,
    "subject": subject_rows,
    "summary": summary_rows,
}

# Of which documents, where not of all: less to search for near copies, and shares of what is used.
SELECTED: dict[str, Callable[[Iterable[Document]], list[Document]]] = {
    "subject": by_subject,
    "summary": described,
}
