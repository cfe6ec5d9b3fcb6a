"""The corpus' tokens, shard by shard: a shard that was finished once is not made again.

A shard is some documents of at least `SHARD_CHARACTERS` in all. Its file is named by its number
and by what its text hashes to, so a changed source never meets the tokens of an older one.
"""

import hashlib
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from tinybert.runtime.outputs import replace_file
from tinybert.runtime.processes import num_processors
from tinybert.text.word_tokens import WordTokens, count_words

Document = Sequence[str]  # its paragraphs
SHARD_CHARACTERS = 4_000_000  # a third of a second's work for one core, 2 MB of ids
BATCH_CHARACTERS = 260_000  # what stands in a core's cache
MAX_THREADS = 4  # more would wait for Python's lock


@dataclass(frozen=True)
class Shard:
    """Some documents' tokens."""

    ids: NDArray[Any]
    lengths: NDArray[np.int64]  # tokens of each document
    num_words: int


@dataclass(frozen=True)
class StoredShards:
    """The files of all shards, and what they hold together."""

    files: list[Path]
    num_documents: int
    num_words: int
    num_tokens: int

    def parts(self) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
        """Read one shard after the other: token ids, and how many each document has."""
        for file in self.files:
            shard = _read(file)
            assert shard is not None, file
            yield shard.ids, shard.lengths


def store_shards(
    documents: Iterable[Document],
    tokenizer: Any,
    text: BinaryIO,
    folder: Path,
    shard_characters: int = SHARD_CHARACTERS,
) -> StoredShards:
    """Tokenise what is not in the folder yet, on every core; write all text on the way.

    Args:
        documents: Paragraphs of each document. A document is held in memory as a whole.
        tokenizer: Of Hugging Face, a fast one.
        text: Gets a paragraph a line, a blank line after each document.
        folder: Where finished shards stand; made if missing. Belongs to this tokenizer.
        shard_characters: Least text of a shard.
    """
    threads = min(num_processors(), MAX_THREADS)
    largest = max(tokenizer.get_vocab().values())
    dtype = np.uint16 if largest < 2**16 else np.int32  # holds the vocabulary
    encoders: SimpleQueue[WordTokens] = SimpleQueue()
    for _ in range(threads):
        encoders.put(WordTokens(tokenizer.backend_tokenizer, dtype))
    waiting: deque[tuple[Path, Future[_Counts]]] = deque()
    files, counts = [], np.zeros(3, np.int64)
    with ThreadPoolExecutor(threads) as pool:
        for number, some in enumerate(_parts_of(documents, shard_characters)):
            raw = "".join("\n".join([*document, "", ""]) for document in some).encode()
            text.write(raw)
            name = f"{number:06}-{hashlib.sha256(raw).hexdigest()[:32]}.npz"
            waiting.append((folder / name, pool.submit(_store, some, encoders, folder / name)))
            if len(waiting) > threads:
                files.append(waiting[0][0])
                counts += waiting.popleft()[1].result()
        for file, future in waiting:
            files.append(file)
            counts += future.result()
    return StoredShards(files, *counts.tolist())


_Counts = tuple[int, int, int]  # documents, words, tokens


def _store(documents: list[Document], encoders: SimpleQueue[WordTokens], file: Path) -> _Counts:
    shard = _read(file)
    if shard is None:
        encoder = encoders.get()
        try:
            shard = make_shard(documents, encoder)
        finally:
            encoders.put(encoder)
        with replace_file(file) as partial, partial.open("wb") as stream:
            np.savez(stream, ids=shard.ids, lengths=shard.lengths, num_words=shard.num_words)
    return len(shard.lengths), shard.num_words, len(shard.ids)


def _read(file: Path) -> Shard | None:
    """Return a shard, or nothing if it is not there or its checksums are wrong."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            return Shard(stored["ids"], stored["lengths"], int(stored["num_words"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def make_shard(documents: list[Document], encoder: WordTokens) -> Shard:
    """Tokenise documents, a batch of paragraphs at a time."""
    paragraphs = [paragraph for document in documents for paragraph in document]
    ids, lengths, num_words = [], [], 0
    for batch in _parts_of(([paragraph] for paragraph in paragraphs), BATCH_CHARACTERS):
        texts = [text for (text,) in batch]
        some_ids, some_lengths = encoder.tokens_of(texts)
        ids.append(some_ids)
        lengths.append(some_lengths)
        num_words += count_words(texts)
    firsts = np.cumsum([0, *(len(document) for document in documents)])
    before = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    return Shard(np.concatenate(ids), np.diff(before[firsts]), num_words)


def _parts_of(documents: Iterable[Document], characters: int) -> Iterator[list[Document]]:
    some: list[Document] = []
    size = 0
    for document in documents:
        some.append(document)
        size += sum(map(len, document))
        if size >= characters:
            yield some
            some, size = [], 0
    if some:
        yield some
