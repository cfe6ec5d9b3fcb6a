"""Words and their vectors: split text, train Word2Vec, store vectors, find neighbours.

A folder of vectors holds `words.txt` (one word a line; its number is the line's, from 0),
`vectors.npy` (float32, one row a word) and `word_vectors.json` (source, dimension, count).
gensim's own format is not used because it pickles.
"""

import re
import sys
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import rich.progress
from numpy.typing import NDArray

from tinybert.runtime.errors import InputError, in_one_line
from tinybert.runtime.outputs import write_json
from tinybert.text.scripts import CHARACTERS_A_WORD, UNSPACED, count_unspaced

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

WORDS_PER_SENTENCE = 1000  # gensim silently drops what follows the 10,000th word of a sentence
SCORES_AT_ONCE = 2**24  # cosines held in memory by one block of queries: 64 MB
NEAR_TIE = 1e-5  # cosines this close in float32 are compared in float64
# What stands inside of words and is not seen; a space of no width (U+200B) ends one.
JOINERS = "\u00ad\u200c\u200d\u2060"


class WordVectors(NamedTuple):
    """Distinct words, most frequent first, and their vectors, float32 (words, dimension)."""

    words: list[str]
    vectors: NDArray[np.float32]


@cache
def _word_pattern() -> re.Pattern[str]:
    # Combining marks belong to the letter before them, and `re` has no class for them.
    marks = "".join(c for c in map(chr, range(sys.maxunicode)) if unicodedata.category(c)[0] == "M")
    marks = f"[{re.escape(marks)}]"
    letter = rf"[^\W_{UNSPACED}]"
    run = rf"{letter}(?:{letter}|{marks}|[{JOINERS}]+(?={letter}))*"
    words = rf"{run}(?:['\u2019](?!(?:s|re|ve|ll|d|m)\b){run})*"
    return re.compile(words, re.IGNORECASE)


def vector_key(text: str) -> str:
    """Return a text as vectors know it: lowercase, an accent and its letter one character."""
    return unicodedata.normalize("NFC", text.lower())


def word_spans(text: str) -> list[tuple[int, int]]:
    """Return where each word begins and ends that white space or punctuation parts from others.

    A word is a run of letters and digits with the marks on them. An apostrophe inside belongs to it
    (don't, o'clock) unless a clitic follows (Anna's, we'll): vectors and vocabularies know the
    stem. Scripts without spaces (`scripts`) have no words here, nor has what stands among them in a
    text that is mostly of them: a Latin word in a Chinese sentence is a name more often than not.
    """
    found = [match.span() for match in _word_pattern().finditer(text)]
    return [] if count_unspaced(text) > CHARACTERS_A_WORD * len(found) else found


def has_no_words(text: str) -> bool:
    """Say whether a text is mostly of scripts without spaces, so that words cannot be told."""
    unspaced = count_unspaced(text)
    words = sum(1 for _ in _word_pattern().finditer(text)) if unspaced else 0
    return unspaced > CHARACTERS_A_WORD * words


class _Paragraphs:
    """The words of a text file, paragraph by paragraph, as often as gensim reads them."""

    def __init__(self, file: Path, passes: int) -> None:
        self.file, self.num_lines, self.num_unspaced = file, 0, 0
        self.bar = rich.progress.Progress()
        self.task = self.bar.add_task("Training word vectors", total=passes * file.stat().st_size)

    def __iter__(self) -> Iterator[list[str]]:
        with self.file.open(encoding="utf-8", newline="\n") as lines:
            for line in lines:
                text = vector_key(line)
                self.num_lines += bool(text.strip())
                self.num_unspaced += has_no_words(text)
                words = [text[start:end] for start, end in word_spans(text)]
                for start in range(0, len(words), WORDS_PER_SENTENCE):
                    yield words[start : start + WORDS_PER_SENTENCE]
                self.bar.advance(self.task, len(line.encode()))


def train_vectors(
    file: Path,
    *,
    vector_size: int,
    window: int,
    min_count: int,
    num_epochs: int,
    max_words: int | None,
    seed: int,
) -> WordVectors:
    """Train skip-gram Word2Vec [Mikolov et al. 2013, arXiv 1310.4546] on the words of a text.

    Skip-gram, because the rare words that need vectors most are learnt better than by CBOW. One
    worker and a hash of our own, so that the same text and seed give the same vectors.

    Args:
        file: UTF-8 text, one paragraph a line.
        vector_size: Dimension of the vectors.
        window: Words of context on each side.
        min_count: Occurrences below which a word gets no vector.
        num_epochs: Passes over the text.
        max_words: Keep only so many words, the most frequent; None keeps all.
        seed: Of the initial vectors and of sampling.

    Returns:
        No word and no vector where most paragraphs are of scripts without spaces.

    Raises:
        InputError: The text is missing, or no word occurs often enough.
    """
    from gensim.models import Word2Vec

    if not file.is_file():
        raise InputError(f"{file}: missing, got no corpus; run `dvc repro prepare_corpus`")
    model = Word2Vec(
        vector_size=vector_size,
        window=window,
        min_count=min_count,
        sg=1,
        workers=1,
        seed=seed,
        hashfxn=lambda word: zlib.crc32(word.encode()),
    )
    paragraphs = _Paragraphs(file, passes=num_epochs + 1)
    with paragraphs.bar:
        model.build_vocab(paragraphs)
        if not len(model.wv) and 2 * paragraphs.num_unspaced > paragraphs.num_lines:
            return WordVectors([], np.empty((0, vector_size), dtype=np.float32))
        if not len(model.wv):
            raise InputError(
                f"{file}: has too little text, got no word {min_count} times; lower "
                "word_vectors.min_count or add text"
            )
        model.train(paragraphs, total_examples=model.corpus_count, epochs=num_epochs)
    words = list(model.wv.index_to_key[:max_words])
    return WordVectors(words, np.asarray(model.wv.vectors[: len(words)], dtype=np.float32))


def save_vectors(folder: Path, found: WordVectors, source: str) -> None:
    """Write a folder of vectors. Side effects: files in `folder`, which must exist."""
    with (folder / "words.txt").open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{word}\n" for word in found.words)
    np.save(folder / "vectors.npy", found.vectors, allow_pickle=False)
    count, dimension = found.vectors.shape
    about = {"source": source, "dimension": dimension, "count": count}
    write_json(about, folder / "word_vectors.json")


def load_vectors(folder: Path) -> "KeyedVectors":
    """Read a folder of vectors into gensim's KeyedVectors.

    Raises:
        InputError: A file is missing, or words and vectors differ in number.
    """
    from gensim.models import KeyedVectors

    files = [folder / "words.txt", folder / "vectors.npy"]
    if not all(file.is_file() for file in files):
        raise InputError(f"{folder}: missing, got no word vectors; run `dvc repro word_vectors`")
    try:
        # "\n" alone ends a line: words may hold characters that Python takes for line ends.
        words = files[0].read_bytes().decode("utf-8").split("\n")[:-1]
        matrix = np.load(files[1], mmap_mode="r" if words else None, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(
            f"{folder}: cannot be read, got {in_one_line(error)}; run "
            "`dvc repro --force word_vectors`"
        ) from error
    if matrix.ndim != 2 or matrix.dtype != np.float32:
        raise InputError(
            f"{files[1]}: must be float32 vectors of words, got {matrix.dtype} of shape "
            f"{matrix.shape}; run `dvc repro --force word_vectors`"
        )
    if len(words) != len(matrix) or len(set(words)) != len(words):
        raise InputError(
            f"{folder}: words.txt must name a word for each row of vectors.npy, got "
            f"{len(set(words))} distinct ones for {len(matrix)} rows; run "
            "`dvc repro --force word_vectors`"
        )
    vectors = KeyedVectors(vector_size=matrix.shape[1], count=0)
    if words:
        vectors.add_vectors(words, matrix)
    return vectors


def nearest_words(
    vectors: "KeyedVectors", words: Iterable[str], num_neighbours: int
) -> dict[str, list[str]]:
    """Return each word's nearest other words by cosine, nearest first.

    All words are asked in blocks of one matrix product each. Of its float32 cosines, all that are
    not clearly below the last neighbour's are ranked in float64, equal ones in the order of the
    vocabulary, so that rounding in the product, which differs with the block, does not show.

    Args:
        vectors: The vocabulary searched.
        words: Words to ask for. Those out of vocabulary, or with a zero vector, are left out of
            the result.
        num_neighbours: Neighbours per word; fewer if the vocabulary is smaller.
    """
    if not len(vectors):
        return {}
    vectors.fill_norms()
    index = vectors.key_to_index
    known = [word for word in dict.fromkeys(words) if word in index and vectors.norms[index[word]]]
    block = max(1, SCORES_AT_ONCE // max(1, len(vectors)))
    nearest: dict[str, list[str]] = {}
    for start in range(0, len(known), block):
        asked = known[start : start + block]
        rows = _nearest_rows(vectors, [index[word] for word in asked], num_neighbours)
        for word, row in zip(asked, rows, strict=True):
            nearest[word] = [vectors.index_to_key[number] for number in row]
    return nearest


def _nearest_rows(
    vectors: "KeyedVectors", asked: Sequence[int], num_neighbours: int
) -> Iterator[NDArray[np.int64]]:
    """Yield the numbers of the nearest words of each word asked."""
    matrix, queries = vectors.vectors, vectors.vectors[asked]
    norms = np.where(vectors.norms == 0, 1, vectors.norms)
    scores = queries @ matrix.T / norms
    scores[np.arange(len(asked)), asked] = -np.inf
    count = min(num_neighbours, len(matrix) - 1)
    last = np.partition(scores, len(matrix) - count - 1)[:, len(matrix) - count :].min(
        axis=1, initial=np.inf
    )
    lowest = last - NEAR_TIE * norms[asked]
    for row, query, bound in zip(scores, queries.astype(np.float64), lowest, strict=True):
        near = np.flatnonzero(row >= bound)  # ascending, so a stable sort ranks ties by number
        exact = (matrix[near].astype(np.float64) * query).sum(axis=1) / norms[near]
        yield near[np.argsort(-exact, kind="stable")[:count]]
