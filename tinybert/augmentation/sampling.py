"""Augment a task's training rows by replacing words [Algorithm 1 of arXiv 1909.10351].

A word that is a single word piece gets its candidates from a masked language model, any other
from its nearest word vectors; each copy replaces every word with probability p_t by a random
candidate. Function words, numbers and punctuation stay, and so does the spacing. In a pair each
sentence is augmented beside the original other one. `row_labels` says what tags of words and
answers in passages need beside that.

What is guaranteed: the copies of a row depend on the seed, the row's number, its text, the models
and the method's settings alone, not on other rows, threads, the size of batches or parts, nor on
whether a run was killed in between. In bfloat16 the size of batches may show (`masked_words`).
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tinybert.augmentation.answers import Answers
from tinybert.augmentation.kept_words import is_replaceable
from tinybert.augmentation.masked_words import MaskedWords, Request, Span
from tinybert.augmentation.row_labels import RowLabels
from tinybert.augmentation.slots import Change, Slot, frame_of, open_slots, sample_words
from tinybert.text.scripts import script_of
from tinybert.text.word_vectors import has_no_words, nearest_words, vector_key, word_spans

if TYPE_CHECKING:
    from gensim.models import KeyedVectors

ROWS_AT_ONCE = 1024  # training rows whose copies are held in memory


class Augmenter:
    """Algorithm 1 over the rows of a task.

    Args:
        masked: Candidates of single-piece words.
        vectors: Candidates of the others.
        replace_probability: p_t.
        num_copies: N_a, for each sentence of a row.
        seed: Of the sampling, with each row's number.
        labels: What the labels of a part of the rows are, by `labels_of`.

    Attributes:
        counts: Of what `augment` has done so far: rows in, augmented and out, augmented ones
            without a candidate and without a copy, those in scripts without spaces, duplicates
            dropped, and the words of augmented rows by kind (`Slot`).
    """

    def __init__(
        self,
        masked: MaskedWords,
        vectors: "KeyedVectors",
        *,
        replace_probability: float,
        num_copies: int,
        seed: int,
        labels: Callable[[pd.DataFrame], RowLabels] = RowLabels,
    ) -> None:
        self.masked = masked
        self.vectors = vectors
        self.replace_probability = replace_probability
        self.num_copies = num_copies
        self.seed = seed
        self.labels = labels
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
            frame: A training set, columns as in `task`'s docstring.
            chosen: Which rows get copies; the others stay as they are.
            folder: Where `Answers` keeps what the model has answered; None for nowhere.
            progress: As of `ask`, which comes before the first part.

        Yields:
            The columns of `frame`, and `row`: the number of the original (int64).
        """
        sides = [name for name in ("sentence1", "sentence2") if name in frame]
        sentences = pd.unique(frame.loc[chosen, sides].to_numpy().ravel()).tolist()
        self.ask(sentences, folder, progress, self._staying(frame, chosen, sides))
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = frame.iloc[start : start + ROWS_AT_ONCE]
            marks = chosen[start : start + ROWS_AT_ONCE]
            slots = self.find_slots(dict.fromkeys(part.loc[marks, sides].to_numpy().ravel()))
            yield self._augment_part(part, marks, sides, slots, start)

    def _staying(
        self, frame: pd.DataFrame, chosen: NDArray[np.bool_], sides: list[str]
    ) -> dict[str, set[Span]]:
        """Return of each sentence the words that its labels keep in all chosen rows that have it.

        Sentences of labels that keep none are left out.
        """
        labels, staying = self.labels(frame), dict[str, set[Span]]()
        if labels.whole:
            return {}
        for side in sides:
            texts = frame[side].to_numpy()
            for place in np.flatnonzero(chosen).tolist():
                text = texts[place]
                if staying.get(text) != set():
                    found = set(labels.closed(place, side, word_spans(text)))
                    staying[text] = staying.get(text, found) & found
        return staying

    def ask(
        self,
        sentences: Sequence[str],
        folder: Path | None = None,
        progress: Callable[[float], None] = lambda part: None,
        staying: Mapping[str, Collection[Span]] = MappingProxyType({}),
    ) -> None:
        """Find the candidates of all words of distinct sentences.

        Args:
            sentences: Each is shown to the model alone.
            folder: Where `Answers` keeps what the model has answered; None for nowhere.
            progress: Called with the part of the sentences done since the last call.
            staying: Words of some sentences that need no candidates.
        """
        self.answers = Answers(self.masked)
        others: dict[str, None] = {}
        for sentence, found in self._requests(sentences):
            stay = staying.get(sentence, ())
            self.answers.add(sentence, [found[span] for span in found if span not in stay])
            spans = (span for span in word_spans(sentence) if span not in found)
            words = (sentence[slice(*span)] for span in spans if span not in stay)
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
            return Slot(span, "masked", _of_script(word, self.answers.words(found[span])))
        words = _of_script(word, self.neighbours.get(vector_key(word), ()))
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
        labels = self.labels(part)
        rows: dict[tuple[str, ...], Change | None]
        texts: list[tuple[str, ...]] = []
        changes: list[Change | None] = []
        sources: list[int] = []
        originals = part[sides].itertuples(index=False, name=None)
        for place, (original, marked) in enumerate(zip(originals, marks, strict=True)):
            rows = {original: None}
            if marked:
                found = {
                    side: labels.restrict(place, side, slots[sentence])
                    for side, sentence in zip(sides, original, strict=True)
                }
                rows |= self._copies(original, found, start + place)
            texts += rows
            changes += rows.values()
            sources += [place] * len(rows)
        columns: dict[str, Any] = dict(zip(sides, map(list, zip(*texts, strict=True)), strict=True))
        columns |= labels.columns(sources, changes)
        columns["row"] = np.array(sources, dtype=np.int64) + start
        self.counts.update(rows_in=len(part), rows_augmented=int(marks.sum()), rows_out=len(texts))
        return pd.DataFrame(columns)

    def _copies(
        self, original: tuple[str, ...], slots: dict[str, Sequence[Slot]], number: int
    ) -> dict[tuple[str, ...], Change]:
        """Return the distinct copies of a row: one sentence changed, the other not.

        Args:
            original: The row's sentences.
            slots: Their words, by column.
            number: Of the row.
        """
        generator = np.random.default_rng([self.seed, number])
        rows: dict[tuple[str, ...], Change] = {}
        for place, (side, sentence) in enumerate(zip(slots, original, strict=True)):
            self.counts.update(f"words_{slot.kind}" for slot in slots[side])
            free = open_slots(slots[side])
            frame = frame_of(sentence, free)
            for words in sample_words(
                sentence, free, self.num_copies, self.replace_probability, generator
            ):
                row = (*original[:place], frame % words, *original[place + 1 :])
                if row != original:
                    rows.setdefault(row, Change(side, free, words))
        self.counts["rows_unspaced"] += all(map(has_no_words, original))
        has_candidates = any(open_slots(found) for found in slots.values())
        self.counts["rows_without_candidates"] += not has_candidates
        self.counts["rows_without_copies"] += not rows
        self.counts["duplicates_dropped"] += self.num_copies * len(original) - len(rows)
        return rows


def _of_script(word: str, candidates: Iterable[str]) -> tuple[str, ...]:
    """Return candidates without those of other scripts, which models of many languages know."""
    script = script_of(word)
    return tuple([each for each in candidates if script_of(each) in (script, "")])
