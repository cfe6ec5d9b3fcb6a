"""Augment a task's training rows by replacing words [Algorithm 1 of arXiv 1909.10351].

A word that is a single word piece gets its candidates from a masked language model, any other
from its nearest word vectors; each copy replaces every word with probability p_t by a random
candidate. Function words, numbers and punctuation stay, and so does the spacing. In a pair each
sentence is augmented beside the original other one.

What is guaranteed: in float32 the copies of a row depend on the seed, the row's number, its text,
the models and the method's settings alone, not on other rows, threads or the size of batches. The
scores of one request do differ with its batch, by about 1e-6 of their size: where the choice of
candidates hangs on less than NEAR_TIE of it, the request is asked again alone.
In bfloat16 the encoder's differences can be larger than any useful NEAR_TIE, so there is no such
guarantee across batch sizes, only for the same input, settings and machine. Batches of one length,
without padding, keep them rare: on a CPU with AVX-512 BF16, encoders 312 and 384 wide gave the
same bits in batches of 1 to 256 on 1 and 2 threads, a 16 wide one not always; with padding, a
third of the candidate sets of a random model changed. Take `precision: fp32` where the guarantee
matters.
"""

import copy
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from tinybert.errors import InputError
from tinybert.word_vectors import nearest_words, word_spans

if TYPE_CHECKING:
    from gensim.models import KeyedVectors
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Span = tuple[int, int]

NEAR_TIE = 2e-5  # of the largest score; twenty times what the batch changes in float32
MAX_BATCH_ROWS = 256  # bounds the scores held in memory: 60 MB at 30,000 words
ROWS_AT_ONCE = 1024  # training rows held with their requests

# Words that carry the grammar, or the label (negations), of a sentence. Common stop-word lists
# serve search instead: scikit-learn's has "system", "fire", "serious", and lacks "did" and "won't".
STOP_WORDS = frozenset(
    """
    a an the this that these those such same other another each every either neither both all any
    some few several many much more most less least enough own
    i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his
    himself she her hers herself it its itself they them their theirs themselves one oneself
    who whom whose which what whoever whatever whichever when where why how whether
    someone somebody something somewhere anyone anybody anything anywhere everyone everybody
    everything everywhere
    am is are was were be been being have has had having do does did doing done
    can could may might must shall should will would ought
    no not none nor never nobody nothing nowhere cannot without hardly barely scarcely
    and or but if then else because as until while since unless although though than so yet
    of at by for with about against between into through during before after above below to from
    up down in out on off over under upon within among amongst across along around behind beside
    besides beneath beyond despite except inside outside near onto per toward towards via
    again further once here there now just only very too also even still ever
    s t d m o y ll re ve ain aren can couldn didn doesn don hadn hasn haven isn mightn mustn needn
    shan shouldn wasn weren won wouldn wont cant dont
    """.split()
)
NUMBER_WORDS = frozenset(
    """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety
    hundred thousand million billion trillion
    """.split()
)


def is_replaceable(word: str) -> bool:
    """Say whether a word may be replaced: no stop word, no negation (-n't), no number."""
    lowered = word.lower().replace("\u2019", "'")
    kept = lowered in STOP_WORDS or lowered in NUMBER_WORDS or lowered.endswith("n't")
    return not kept and not any(char.isdigit() for char in word)


class Request(NamedTuple):
    """A word masked in its sentence.

    Attributes:
        masked: int32 bytes: the place of the mask, then the ids of the pieces with the mask.
        own: The id of the masked word.
    """

    masked: bytes
    own: int


class MaskedWords:
    """Candidates from a masked language model that sees the sentence alone, its word masked.

    Args:
        model: With a masked-language-model head. Its encoder is cast to `dtype`, in place.
        tokenizer: A fast WordPiece one.
        num_candidates: K.
        batch_tokens: Word pieces per batch, [CLS] and [SEP] included.
        dtype: Of the encoder; None for float32. The head always computes in float32.
        device: Where to compute.

    Raises:
        InputError: The tokenizer is not WordPiece, so that whole words cannot be told.
    """

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        num_candidates: int,
        batch_tokens: int,
        dtype: torch.dtype | None,
        device: torch.device,
    ) -> None:
        self.tokenizer = tokenizer
        self.num_candidates = num_candidates
        self.batch_tokens = batch_tokens
        self.device = device
        self.pieces = [str(tokenizer.convert_ids_to_tokens(i)) for i in range(len(tokenizer))]
        whole = _whole_words(tokenizer, self.pieces)[: model.config.vocab_size]
        self.candidates = torch.tensor(np.flatnonzero(whole), device=device)
        self.window = model.config.max_position_embeddings - 2
        # A copy: the head shares the embedding's weights, which must become `dtype`.
        head = getattr(model, "cls", None)
        self.head = None if head is None else copy.deepcopy(head).eval().float().to(device)
        model.eval()
        self.model = model.to(device=device, dtype=dtype or torch.float32)
        self._special = set(tokenizer.all_special_ids)
        self._answers: dict[bytes, bytes] = {}

    @property
    def num_asked(self) -> int:
        """Number of distinct requests the model has answered."""
        return len(self._answers)

    def requests(self, sentences: Sequence[str]) -> list[dict[Span, Request]]:
        """Return for each sentence the replaceable words that are one word piece, masked."""
        if not sentences:
            return []
        encoded = self.tokenizer(
            list(sentences), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        parts = zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [dict(self._requests(*part)) for part in parts]

    def _requests(
        self, sentence: str, ids: list[int], offsets: list[Span]
    ) -> Iterator[tuple[Span, Request]]:
        places = {tuple(span): place for place, span in enumerate(offsets)}
        for span in word_spans(sentence):
            place = places.get(span)
            if place is None or not is_replaceable(sentence[slice(*span)]):
                continue
            if ids[place] not in self._special:  # [UNK]: the word is not in the vocabulary
                yield span, self._mask(ids, place)

    def _mask(self, ids: list[int], place: int) -> Request:
        """Mask one piece; of a sentence too long for the model keep what surrounds it."""
        start = max(0, min(place - self.window // 2, len(ids) - self.window))
        seen = ids[start : start + self.window]
        seen[place - start] = self.tokenizer.mask_token_id
        whole = [self.tokenizer.cls_token_id, *seen, self.tokenizer.sep_token_id]
        masked = np.array([place - start + 1, *whole], dtype=np.int32).tobytes()
        return Request(masked, ids[place])

    def ask(self, requests: Iterable[Request], progress: Callable[[float], None]) -> None:
        """Answer requests, each distinct one once, also across calls.

        Args:
            requests: What `words` will be asked for.
            progress: Called after each batch with the part of these requests it answered.
        """
        new = {_digest(request): request.masked for request in requests}
        new = {key: masked for key, masked in new.items() if key not in self._answers}
        for keys in self._batches(new):
            rows = np.stack([np.frombuffer(new[key], dtype=np.int32) for key in keys])
            best = self._best(torch.from_numpy(rows).long().to(self.device))
            for key, ids in zip(keys, best.to(torch.int32).cpu().numpy(), strict=True):
                self._answers[key] = ids.tobytes()
            progress(len(keys) / len(new))

    def _batches(self, masked: dict[bytes, bytes]) -> Iterator[list[bytes]]:
        def length(key: bytes) -> int:
            return len(masked[key])

        for size, group in groupby(sorted(masked, key=length), key=length):
            keys = list(group)
            rows = max(1, min(self.batch_tokens // (size // 4 - 1), MAX_BATCH_ROWS))
            for start in range(0, len(keys), rows):
                yield keys[start : start + rows]

    @torch.no_grad()
    def _best(self, rows: Tensor) -> Tensor:
        """Return the ids of the K + 1 best words, best first, one row a request.

        One more than K, since a request's own word is taken out afterwards. Of equal scores the
        lower id comes first.
        """
        scores = self._scores(rows[:, 1:], rows[:, 0]).float()[:, self.candidates].double()
        size = scores.abs().amax(1, keepdim=True).clamp(min=1e-30)
        scores -= torch.arange(scores.shape[1], device=self.device) * 1e-12 * size
        wanted = self.num_candidates + 1
        top = scores.topk(min(wanted + 1, scores.shape[1]))
        best = self.candidates[top.indices[:, :wanted]]
        if len(rows) > 1:
            # The sets of K and of K + 1 words are what matters, not the order inside.
            gaps = -top.values[:, wanted - 2 :].diff(dim=1)
            for row in (gaps < NEAR_TIE * size).any(1).nonzero()[:, 0].tolist():
                best[row] = self._best(rows[row : row + 1])[0]
        return best

    def _scores(self, ids: Tensor, places: Tensor) -> Tensor:
        """Return the scores of the whole vocabulary at the masked places."""
        every = torch.arange(len(ids), device=self.device)
        if self.head is None:
            logits: Tensor = self.model(input_ids=ids).logits[every, places]
            return logits
        hidden: Tensor = self.model.base_model(input_ids=ids)[0]
        scores: Tensor = self.head(hidden[every, places].float())
        return scores

    def words(self, request: Request) -> tuple[str, ...]:
        """Return the K best words but the masked one, in the order of the vocabulary."""
        ids = np.frombuffer(self._answers[_digest(request)], dtype=np.int32)
        others = [number for number in ids.tolist() if number != request.own]
        return tuple(self.pieces[number] for number in sorted(others[: self.num_candidates]))


def load_masked_words(folder: Path, **options: Any) -> MaskedWords:
    """Load a masked language model and its tokenizer from a folder.

    Args:
        folder: A checkpoint in safetensors with its tokenizer.
        options: As of `MaskedWords`; the device is chosen here.

    Raises:
        InputError: There is no model, or one without a masked-language-model head.
    """
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: missing, got no model; run `dvc repro fetch_teacher`")
    model, info = AutoModelForMaskedLM.from_pretrained(
        folder, use_safetensors=True, local_files_only=True, output_loading_info=True
    )
    if missing := sorted(info["missing_keys"]):
        raise InputError(
            f"{folder}: must have a masked-language-model head, got none of {', '.join(missing)}; "
            "run `dvc repro --force fetch_teacher`"
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return MaskedWords(model, tokenizer, device=device, **options)


def _whole_words(tokenizer: "PreTrainedTokenizerBase", pieces: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each piece whether it is a whole word: no continuation, special or punctuation."""
    prefix = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    if not prefix or tokenizer.mask_token_id is None:
        raise InputError(
            f"{tokenizer.name_or_path}: augmentation needs a WordPiece tokenizer with a mask, got "
            f"{type(tokenizer).__name__}; take a BERT checkpoint as teacher"
        )
    special = set(tokenizer.all_special_tokens)
    return np.array(
        [
            piece not in special
            and not piece.startswith((prefix, "[unused"))
            and any(map(str.isalnum, piece))
            for piece in pieces
        ]
    )


def _digest(request: Request) -> bytes:
    return hashlib.blake2b(request.masked, digest_size=16).digest()


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
    sizes = [len(slot.words) for slot in open_slots]
    choices = generator.integers(0, np.array(sizes, dtype=np.int64), size=shape)
    return [
        _replace(sentence, [(open_slots[i], row[i]) for i in np.flatnonzero(chosen)])
        for chosen, row in zip(replaced, choices.tolist(), strict=True)
    ]


def _replace(sentence: str, replacements: Sequence[tuple[Slot, int]]) -> str:
    parts, end = [], 0
    for slot, choice in replacements:
        parts += [sentence[end : slot.span[0]], slot.words[choice]]
        end = slot.span[1]
    return "".join([*parts, sentence[end:]])


def _report(progress: Callable[[float], None], num_rows: int, part: float) -> None:
    progress(part * num_rows)


class Augmenter:
    """Algorithm 1 over the rows of a task.

    Args:
        masked: Candidates of single-piece words.
        vectors: Candidates of the others.
        replace_probability: p_t.
        num_copies: N_a, for each sentence of a row.
        seed: Of the sampling, with each row's number.

    Attributes:
        counts: Of what `augment` has done so far: rows in, augmented and out, duplicates dropped,
            and the words of augmented rows by kind (`Slot`).
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
        self._neighbours: dict[str, tuple[str, ...]] = {}

    def augment(
        self,
        frame: pd.DataFrame,
        chosen: NDArray[np.bool_],
        progress: Callable[[float], None] = lambda rows: None,
    ) -> Iterator[pd.DataFrame]:
        """Yield the rows with their copies, each original first, in parts that fit in memory.

        Args:
            frame: A training set: sentence1, sentence2 (pairs only), label.
            chosen: Which rows get copies; the others stay as they are.
            progress: Called with the number of rows done since the last call.

        Yields:
            The columns of `frame`, and `row`: the number of the original (int64).
        """
        sides = [name for name in ("sentence1", "sentence2") if name in frame]
        for start in range(0, len(frame), ROWS_AT_ONCE):
            part = frame.iloc[start : start + ROWS_AT_ONCE]
            marks = chosen[start : start + ROWS_AT_ONCE]
            sentences = list(dict.fromkeys(part.loc[marks, sides].to_numpy().ravel().tolist()))
            slots = self.find_slots(sentences, partial(_report, progress, len(part)))
            yield self._augment_part(part, marks, sides, slots, start)

    def find_slots(
        self, sentences: Sequence[str], progress: Callable[[float], None] = lambda part: None
    ) -> dict[str, list[Slot]]:
        """Return the words of each sentence with their candidates.

        Args:
            sentences: Distinct ones; each is shown to the model alone.
            progress: Called with the part of the sentences done since the last call.
        """
        requests = self.masked.requests(sentences)
        done = 0.0

        def report(part: float) -> None:
            nonlocal done
            done += part
            progress(part)

        self.masked.ask((request for found in requests for request in found.values()), report)
        others = (
            sentence[slice(*span)].lower()
            for sentence, found in zip(sentences, requests, strict=True)
            for span in word_spans(sentence)
            if span not in found and is_replaceable(sentence[slice(*span)])
        )
        self._ask_vectors(others)
        progress(1 - done)
        return {
            sentence: [self._slot(sentence, span, found) for span in word_spans(sentence)]
            for sentence, found in zip(sentences, requests, strict=True)
        }

    def _ask_vectors(self, words: Iterable[str]) -> None:
        new = [word for word in dict.fromkeys(words) if word not in self._neighbours]
        found = nearest_words(self.vectors, new, self.masked.num_candidates) if new else {}
        self._neighbours.update((word, tuple(found.get(word, ()))) for word in new)

    def _slot(self, sentence: str, span: Span, found: dict[Span, Request]) -> Slot:
        word = sentence[slice(*span)]
        if not is_replaceable(word):
            return Slot(span, "kept", ())
        if span in found:
            return Slot(span, "masked", self.masked.words(found[span]))
        words = self._neighbours[word.lower()]
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
        for side, sentence in enumerate(original):
            self.counts.update(f"words_{slot.kind}" for slot in slots[sentence])
            for text in sample_copies(
                sentence, slots[sentence], self.num_copies, self.replace_probability, generator
            ):
                rows[(*original[:side], text, *original[side + 1 :])] = None
        self.counts["duplicates_dropped"] += 1 + self.num_copies * len(original) - len(rows)
        return list(rows)
