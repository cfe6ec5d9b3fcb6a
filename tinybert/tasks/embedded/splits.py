"""Deal the embedded documentation out to train, dev and test, so that they share no sentence."""

import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from tinybert.text.embedded.copies import NearCopies
from tinybert.text.embedded.docstrings import Document
from tinybert.text.embedded.prose import split_sentences

SHARES = {"train": 0.7, "dev": 0.15, "test": 0.15}  # of each library's text


def split_documents(found: list[Document], seed: int) -> dict[str, list[Document]]:
    """Deal the documents out by file, each library in the proportions of `SHARES`.

    A file goes to the split that has got the least of its share so far, counted in paragraphs.
    A sentence of dev or test with a near copy in a split before it is left out.
    """
    splits = _deal(found, seed)
    earlier = list(splits["train"])
    for split in ("dev", "test"):
        known = NearCopies(all_sentences(earlier))
        earlier.extend(splits[split])
        splits[split] = [_without(document, known) for document in splits[split]]
    return splits


def _without(document: Document, known: NearCopies) -> Document:
    """Leave near copies out; a paragraph ends where one stood, so neighbours stay neighbours."""
    paragraphs: list[str] = []
    for paragraph in document.paragraphs:
        runs: list[list[str]] = [[]]
        for sentence in split_sentences(paragraph):
            if sentence in known:
                runs.append([])
            else:
                runs[-1].append(sentence)
        paragraphs.extend(" ".join(run) for run in runs if run)
    return replace(document, paragraphs=tuple(paragraphs))


def all_sentences(found: list[Document]) -> Iterator[str]:
    """Yield the sentences of documents, in their order."""
    for document in found:
        yield from chain.from_iterable(map(split_sentences, document.paragraphs))


def _deal(found: list[Document], seed: int) -> dict[str, list[Document]]:
    files: dict[str, dict[str, list[Document]]] = {}
    for document in found:
        files.setdefault(document.library, {}).setdefault(document.file, []).append(document)
    splits: dict[str, list[Document]] = {split: [] for split in SHARES}
    for library, of_library in files.items():
        names = sorted(of_library)
        random.Random(f"{library} {seed}").shuffle(names)
        filled = dict.fromkeys(SHARES, 0.0)
        for name in names:
            split = min(SHARES, key=lambda split: filled[split])
            splits[split].extend(of_library[name])
            size = sum(len(document.paragraphs) for document in of_library[name])
            filled[split] += size / SHARES[split]
    return splits
