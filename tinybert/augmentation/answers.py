"""Ask a masked language model once for everything a task needs, in shards that outlive a kill.

The requests of all sentences are known before the first is asked. So each distinct one is asked
once, batches are full and of one length, and the shards are the same in every run: a run after a
kill loads the finished ones and asks the rest in the same batches.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tinybert.augmentation.masked_words import MaskedWords, Request
from tinybert.runtime.outputs import replace_file

SHARD_TOKENS = 2**16  # a minute of BERT-base in float32 on two cores


class Answers:
    """What a masked language model answers to the requests of a task.

    First `add` every sentence, then `ask`, then read `words`.

    Args:
        masked: The model.
    """

    def __init__(self, masked: MaskedWords) -> None:
        self.masked = masked
        self._sentences: list[str] = []
        self._keys, self._lengths, self._sources = array("Q"), array("H"), array("L")

    def add(self, sentence: str, requests: Iterable[Request]) -> None:
        """Note a sentence's requests: names and lengths, since the rest is quickly made again."""
        for request in requests:
            self._keys.append(request.key)
            self._lengths.append(request.length)
            self._sources.append(len(self._sentences))
        self._sentences.append(sentence)

    @property
    def num_asked(self) -> int:
        """Number of distinct requests."""
        return len(self.keys)

    def ask(self, folder: Path | None, progress: Callable[[float], None]) -> None:
        """Answer all requests, each distinct one once.

        Args:
            folder: Where finished shards are kept, and those of an earlier run are found; None
                keeps none.
            progress: Called after each batch with the part of the requests it answered.

        Side effects: Writes a file for each shard into `folder`.
        """
        self.keys, firsts = np.unique(np.array(self._keys, dtype=np.uint64), return_index=True)
        lengths = np.array(self._lengths, dtype=np.int64)[firsts]
        self._sources_of_keys = np.array(self._sources, dtype=np.int64)[firsts]
        self._best = np.empty((len(self.keys), self.masked.width), dtype=np.int32)
        for number, members in enumerate(_shards(lengths, firsts)):
            file = folder / f"{number:06}.npy" if folder else None
            found = _stored(file, (len(members), self.masked.width)) if file else None
            if found is None:
                found = self._answer(members, lambda done: progress(done / len(self.keys)))
                if file:
                    _store(file, found)
            else:
                progress(len(members) / len(self.keys))
            self._best[members] = found

    def _answer(
        self, members: NDArray[np.int64], progress: Callable[[int], None]
    ) -> NDArray[np.int32]:
        sources = np.unique(self._sources_of_keys[members]).tolist()
        sentences = [self._sentences[source] for source in sources]
        made = {
            request.key: request
            for found in self.masked.requests(sentences)
            for request in found.values()
        }
        return self.masked.best([made[key] for key in self.keys[members].tolist()], progress)

    def words(self, request: Request) -> tuple[str, ...]:
        """Return the K best words but the masked one, in the order of the vocabulary.

        None of a request that was not asked.
        """
        place = int(np.searchsorted(self.keys, np.uint64(request.key)))
        if place == len(self.keys) or self.keys[place] != request.key:
            return ()
        return self.masked.words(self._best[place], request.own)


def _shards(lengths: NDArray[np.int64], firsts: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of requests, by length and first occurrence, SHARD_TOKENS at a time."""
    order = np.lexsort((firsts, lengths))
    tokens_before = np.cumsum(lengths[order]) - lengths[order]
    starts = np.flatnonzero(np.diff(tokens_before // SHARD_TOKENS)) + 1
    yield from (shard for shard in np.split(order, starts) if len(shard))


def _stored(file: Path, shape: tuple[int, int]) -> NDArray[np.int32] | None:
    try:
        found: NDArray[np.int32] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or cut off by a power failure
        return None
    return found if found.shape == shape else None


def _store(file: Path, found: NDArray[np.int32]) -> None:
    with replace_file(file) as partial, partial.open("wb") as stream:
        np.save(stream, found)
