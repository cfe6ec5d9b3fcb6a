"""Augment a task's training rows by replacing words [Algorithm 1 of arXiv 1909.10351].

A word that is a single word piece gets its candidates from a masked language model, any other
from its nearest word vectors; each copy replaces every word with probability p_t by a random
candidate. Function words, numbers and punctuation stay, and so does the spacing. In a pair each
sentence is augmented beside the original other one.

What is guaranteed: the copies of a row depend on the seed, the row's number, its text, the models
and the method's settings alone, not on other rows, threads, the size of batches or parts, nor on
whether a run was killed in between. In bfloat16 the size of batches may show (`masked_words`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.augmentation.answers import Answers
from tinybert.augmentation.kept_words import is_replaceable
from tinybert.augmentation.masked_words import MaskedWords, Request, Span
from tinybert.text.word_vectors import nearest_words, vector_key, word_spans

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

ROWS_AT_ONCE = 1024  # training rows whose copies are held in memory


class Slot(NamedTuple):
    """A word of a sentence, and what may stand in its place.

    Attributes:
        span: Where it begins and ends.
        kind: Where its candidates come from: `masked`, `vectors`; `no_vector` if it has none;
            `kept` if it must stay.
        words: The candidates.
    """

    span: Span
    kind: str
    words: tuple[str, ...]


def sample_copies(
    sentence: str,
    slots: Sequence[Slot],
    num_copies: int,
    replace_probability: float,
    generator: np.random.Generator,
) -> list[str]:
    """Return N_a copies, each word replaced with probability p_t by a random candidate."""
    open_slots = [slot for slot in slots if slot.words]
    shape = (num_copies, len(open_slots))
    replaced = generator.random(shape) < replace_probability
    sizes = np.array([len(slot.words) for slot in open_slots], dtype=np.int64)
    choices = np.where(replaced, generator.integers(0, sizes, size=shape), sizes)
    words = [(*slot.words, sentence[slice(*slot.span)]) for slot in open_slots]  # the last stays
    frame = _frame(sentence, open_slots)
    return [
        frame % tuple([words[slot][choice] for slot, choice in enumerate(row)])
        for row in choices.tolist()
    ]


def _frame(sentence: str, slots: Sequence[Slot]) -> str:
    """Return the sentence with %s in each slot's place."""
    ends = [0, *(slot.span[1] for slot in slots)]
    starts = [*(slot.span[0] for slot in slots), len(sentence)]
    between = (sentence[slice(*span)] for span in zip(ends, starts, strict=True))
    return "%s".join(text.replace("%", "%%") for text in between)


class Augmenter:
    """Algorithm 1 over the rows of a task.

    Args:
        masked: Candidates of single-piece words.
        vectors: Candidates of the others.
        replace_probability: p_t.
        num_copies: N_a, for each sentence of a row.
        seed: Of the sampling, with each row's number.

    Attributes:
        counts: Of what `augment` has done so far: rows in, augmented and out, augmented ones
            without a candidate and without a copy, duplicates dropped, and the words of augmented
            rows by kind (`Slot`).
    """

    def __init__(
        self,
        masked: MaskedWords,
        vectors: "KeyedVectors",
        *,
        replace_probability: float,
        num_copies: int,
        seed: int,
    ) -> None:
        self.masked = masked
        self.vectors = vectors
        self.replace_probability = replace_probability
        self.num_copies = num_copies
        self.seed = seed
        self.counts: Counter[str] = Counter()

    def augment(
        self,
        frame: pd.DataFrame,
        chosen: NDArray[np.bool_],
        folder: Path | None = None,
        progress: Callable[[float], None] = lambda part: None,
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows with their copies, each original first, in parts that fit in memory.

        Args:
            frame: A training set: sentence1, sentence2 (pairs only), label.
            chosen: Which rows get copies; the others stay as they are.
            folder: Where `Answers` keeps what the model has answered; None for nowhere.
            progress: As of `ask`, which comes before the first part.

        Yields:
            The columns of `frame`, and `row`: the number of the original (int64).
        """
        sides = [name for name in ("sentence1", "sentence2") if name in frame]
        sentences = pd.unique(frame.loc[chosen, sides].to_numpy().ravel()).tolist()
        self.ask(sentences, folder, progress)
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = frame.iloc[start : start + ROWS_AT_ONCE]
            marks = chosen[start : start + ROWS_AT_ONCE]
            slots = self.find_slots(dict.fromkeys(part.loc[marks, sides].to_numpy().ravel()))
            yield self._augment_part(part, marks, sides, slots, start)

    def ask(
        self,
        sentences: Sequence[str],
        folder: Path | None = None,
        progress: Callable[[float], None] = lambda part: None,
    ) -> None:
        """Find the candidates of all words of distinct sentences.

        Args:
            sentences: Each is shown to the model alone.
            folder: Where `Answers` keeps what the model has answered; None for nowhere.
            progress: Called with the part of the sentences done since the last call.
        """
        self.answers = Answers(self.masked)
        others: dict[str, None] = {}
        for sentence, found in self._requests(sentences):
            self.answers.add(sentence, found.values())
            words = (sentence[slice(*span)] for span in word_spans(sentence) if span not in found)
            others.update((vector_key(word), None) for word in words if is_replaceable(word))
        self.neighbours = nearest_words(self.vectors, others, self.masked.num_candidates)
        self.answers.ask(folder, progress)
        if not self.answers.num_asked:
            progress(1.0)

    def _requests(self, sentences: Iterable[str]) -> Iterator[tuple[str, dict[Span, Request]]]:
        rest = iter(sentences)
        while block := list(islice(rest, ROWS_AT_ONCE)):
            yield from zip(block, self.masked.requests(block), strict=True)

    def find_slots(self, sentences: Iterable[str]) -> dict[str, list[Slot]]:
        """Return the words of each sentence with their candidates, for which `ask` has asked."""
        return {
            sentence: [self._slot(sentence, span, found) for span in word_spans(sentence)]
            for sentence, found in self._requests(sentences)
        }

    def _slot(self, sentence: str, span: Span, found: dict[Span, Request]) -> Slot:
        word = sentence[slice(*span)]
        if not is_replaceable(word):
            return Slot(span, "kept", ())
        if span in found:
            return Slot(span, "masked", self.answers.words(found[span]))
        words = tuple(self.neighbours.get(vector_key(word), ()))
        if word[0].isupper():  # vectors are of lowercase words, but the teacher may be cased
            words = tuple(neighbour[:1].upper() + neighbour[1:] for neighbour in words)
        return Slot(span, "vectors" if words else "no_vector", words)

    def _augment_part(
        self,
        part: pd.DataFrame,
        marks: NDArray[np.bool_],
        sides: list[str],
        slots: dict[str, list[Slot]],
        start: int,
    ) -> pd.DataFrame:
        texts: list[tuple[str, ...]] = []
        sources: list[int] = []
        originals = part[sides].itertuples(index=False, name=None)
        for place, (original, marked) in enumerate(zip(originals, marks, strict=True)):
            rows = self._augment_row(original, slots, start + place) if marked else [original]
            texts += rows
            sources += [place] * len(rows)
        columns: dict[str, Any] = dict(zip(sides, map(list, zip(*texts, strict=True)), strict=True))
        columns["label"] = part["label"].to_numpy()[sources]
        columns["row"] = np.array(sources, dtype=np.int64) + start
        self.counts.update(rows_in=len(part), rows_augmented=int(marks.sum()), rows_out=len(texts))
        return pd.DataFrame(columns)

    def _augment_row(
        self, original: tuple[str, ...], slots: dict[str, list[Slot]], number: int
    ) -> list[tuple[str, ...]]:
        """Return the original, then its distinct copies: one sentence changed, the other not."""
        generator = np.random.default_rng([self.seed, number])
        rows = {original: None}
        has_candidates = any(slot.words for sentence in original for slot in slots[sentence])
        self.counts["rows_without_candidates"] += not has_candidates
        for side, sentence in enumerate(original):
            self.counts.update(f"words_{slot.kind}" for slot in slots[sentence])
            for text in sample_copies(
                sentence, slots[sentence], self.num_copies, self.replace_probability, generator
            ):
                rows[(*original[:side], text, *original[side + 1 :])] = None
        self.counts["rows_without_copies"] += len(rows) == 1
        self.counts["duplicates_dropped"] += 1 + self.num_copies * len(original) - len(rows)
        return list(rows)
