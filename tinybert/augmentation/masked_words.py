"""Candidates of single-piece words: what a masked language model finds in their place.

In float32 the candidates of a request do not depend on other requests, threads or the size of
batches. Its scores do, by up to 3e-6 of the largest (BERT-base): where the choice of candidates
hangs on less than NEAR_TIE, the request is asked again in float64, whose own rounding is eight
orders smaller. Asking again alone in float32 would not do: that differs with the threads.
In bfloat16 the encoder's differences can be larger than any useful NEAR_TIE, so there is no such
guarantee across batch sizes, only for the same input, settings and machine. Batches of one length,
without padding, keep them rare: on a CPU with AVX-512 BF16, encoders 312 and 384 wide gave the
same bits in batches of 1 to 256 on 1 and 2 threads, a 16 wide one not always; with padding, a
third of the candidate sets of a random model changed. Take `precision: fp32` where the guarantee
matters.
"""

import copy
import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tinybert.augmentation.kept_words import is_replaceable
from tinybert.encoders.positions import MOST_POSITIONS, positions
from tinybert.runtime.errors import InputError
from tinybert.runtime.precision import computing_device
from tinybert.text.word_vectors import word_spans

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Span = tuple[int, int]

NEAR_TIE = 2e-5  # of the largest score; seven times what the batch changes in float32
MAX_BATCH_ROWS = 256  # bounds the scores held in memory: 120 MB at 30,000 words


class Request(NamedTuple):
    """A word masked in its sentence.

    Attributes:
        masked: int32 bytes: the place of the mask, then the ids of the pieces with the mask.
        own: The id of the masked word.
    """

    masked: bytes
    own: int

    @property
    def key(self) -> int:
        """Name what the model is shown, in 64 bits."""
        return int.from_bytes(hashlib.blake2b(self.masked, digest_size=8).digest(), "little")

    @property
    def length(self) -> int:
        """Number of word pieces shown, [CLS] and [SEP] included."""
        return len(self.masked) // 4 - 1


class MaskedWords:
    """Candidates from a masked language model that sees the sentence alone, its word masked.

    Args:
        model: With a masked-language-model head. Its encoder is cast to `dtype`, in place.
        tokenizer: A fast WordPiece one.
        num_candidates: K.
        batch_tokens: Word pieces per batch, [CLS] and [SEP] included.
        dtype: Of the encoder; None for float32. The head computes in float32.
        device: Where to compute.
        max_context: Pieces around a word that the model is shown; None: as many as it has
            positions for.

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
        max_context: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.num_candidates = num_candidates
        self.batch_tokens = batch_tokens
        self.device = device
        self.dtype = dtype or torch.float32
        self.pieces = [str(tokenizer.convert_ids_to_tokens(i)) for i in range(len(tokenizer))]
        whole = _whole_words(tokenizer, self.pieces)[: model.config.vocab_size]
        self.candidates = torch.tensor(np.flatnonzero(whole), device=device)
        self.width = min(num_candidates + 1, len(self.candidates))
        longest = (positions(model.config) or MOST_POSITIONS) - 2
        self.window = min(longest, max_context or longest)
        self.scores = _MaskedScores(model, self.dtype).eval().to(device)
        self._special = set(tokenizer.all_special_ids)

    def requests(self, sentences: Sequence[str]) -> list[dict[Span, Request]]:
        """Return for each sentence the replaceable words that are one word piece, masked."""
        if not sentences:
            return []
        encoded = self.tokenizer(
            list(sentences), add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )
        parts = zip(sentences, encoded["input_ids"], encoded["offset_mapping"], strict=True)
        return [self._requests(*part) for part in parts]

    def _requests(self, sentence: str, ids: list[int], offsets: list[Span]) -> dict[Span, Request]:
        pieces = {_with_marks(sentence, span): place for place, span in enumerate(offsets)}
        found = {
            span: pieces[span]
            for span in word_spans(sentence)
            if span in pieces and is_replaceable(sentence[slice(*span)])
        }  # a piece that is [UNK] stands for a word that is not in the vocabulary
        found = {span: place for span, place in found.items() if ids[place] not in self._special}
        masked = self._mask(np.array(ids, dtype=np.int32), np.array([*found.values()], dtype=int))
        return {
            span: Request(row.tobytes(), ids[place])
            for (span, place), row in zip(found.items(), masked, strict=True)
        }

    def _mask(self, ids: NDArray[np.int32], places: NDArray[np.int64]) -> NDArray[np.int32]:
        """Mask one piece a row; of a sentence too long to be shown keep what surrounds it."""
        length = min(self.window, len(ids))
        starts = np.clip(places - self.window // 2, 0, len(ids) - length)
        rows = np.empty((len(places), length + 3), dtype=np.int32)
        rows[:, 0] = places - starts + 1
        rows[:, 1], rows[:, -1] = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        rows[:, 2:-1] = ids[starts[:, None] + np.arange(length)]
        rows[np.arange(len(places)), rows[:, 0] + 1] = self.tokenizer.mask_token_id
        return rows

    def best(
        self, requests: Sequence[Request], progress: Callable[[int], None] = lambda number: None
    ) -> NDArray[np.int32]:
        """Return the ids of the K + 1 best words, best first; shape (requests, K + 1).

        One more than K, since a request's own word is taken out afterwards. Of equal scores the
        lower id comes first.

        Args:
            requests: Best in the order of their lengths, so that batches are full.
            progress: Called after each batch with its number of requests.
        """
        best = np.empty((len(requests), self.width), dtype=np.int32)
        near_ties: list[int] = []
        for places in self._batches(requests, range(len(requests))):
            found, near = self._best(self.scores, [requests[i] for i in places])
            best[places] = found
            near_ties += [place for place, tied in zip(places, near, strict=True) if tied]
            progress(len(places))
        if self.dtype is torch.float32:
            for places in self._batches(requests, near_ties):
                best[places], _ = self._best(self._exact_scores, [requests[i] for i in places])
        return best

    def _batches(self, requests: Sequence[Request], places: Iterable[int]) -> Iterator[list[int]]:
        """Yield places of equally long requests, as many as `batch_tokens` allows."""
        for length, group in groupby(places, key=lambda place: requests[place].length):
            members = list(group)
            size = max(1, min(self.batch_tokens // length, MAX_BATCH_ROWS))
            for start in range(0, len(members), size):
                yield members[start : start + size]

    @torch.no_grad()
    def _best(
        self, model: nn.Module, requests: Sequence[Request]
    ) -> tuple[NDArray[np.int32], list[bool]]:
        """Return the best words of equally long requests, and where the choice is a near tie."""
        shown = np.stack([np.frombuffer(request.masked, dtype=np.int32) for request in requests])
        rows = torch.from_numpy(shown).long().to(self.device)
        scores = model(rows[:, 1:], rows[:, 0])[:, self.candidates].double()
        size = scores.abs().amax(1, keepdim=True).clamp(min=1e-30)
        scores -= torch.arange(scores.shape[1], device=self.device) * 1e-12 * size
        top = scores.topk(min(self.width + 1, scores.shape[1]))
        # The sets of K and of K + 1 words are what matters, not the order inside.
        gaps = -top.values[:, self.num_candidates - 1 :].diff(dim=1)
        best = self.candidates[top.indices[:, : self.width]]
        near: list[bool] = (gaps < NEAR_TIE * size).any(1).tolist()
        return best.to(torch.int32).cpu().numpy(), near

    @cached_property
    def _exact_scores(self) -> nn.Module:
        return copy.deepcopy(self.scores).double()

    def words(self, best: NDArray[np.int32], own: int) -> tuple[str, ...]:
        """Return the K best words but the masked one, in the order of the vocabulary."""
        others = [number for number in best.tolist() if number != own]
        return tuple(self.pieces[number] for number in sorted(others[: self.num_candidates]))


class _MaskedScores(nn.Module):
    """The scores of the whole vocabulary at one place of each row."""

    def __init__(self, model: "PreTrainedModel", dtype: torch.dtype) -> None:
        super().__init__()
        # A copy: the head shares the embedding's weights, which must become `dtype`.
        head: nn.Module | None = getattr(model, "cls", None)
        self.head = None if head is None else copy.deepcopy(head).float()
        self.model = model.to(dtype=dtype)

    def forward(self, ids: Tensor, places: Tensor) -> Tensor:
        every = torch.arange(len(ids), device=ids.device)
        if self.head is None:
            logits: Tensor = self.model(input_ids=ids).logits[every, places]
            return logits
        hidden: Tensor = self.model.base_model(input_ids=ids)[0]
        scores: Tensor = self.head(hidden[every, places].to(next(self.head.parameters()).dtype))
        return scores


def load_masked_words(folder: Path, **options: Any) -> MaskedWords:
    """Load a masked language model and its tokenizer from a folder.

    Args:
        folder: A checkpoint in safetensors with its tokenizer.
        options: As of `MaskedWords`; the device is chosen here.

    Raises:
        InputError: There is no model, or one without a masked-language-model head.
    """
    from tinybert.encoders.checkpoints import load_masked_lm, load_tokenizer

    if not (folder / "config.json").is_file():
        raise InputError(f"{folder}: missing, got no model; run `dvc repro fetch_teacher`")
    model, tokenizer = load_masked_lm(folder), load_tokenizer(folder)
    return MaskedWords(model, tokenizer, device=computing_device(), **options)


def _with_marks(sentence: str, span: Span) -> Span:
    """Return a piece's span with the accents after it, which an uncased tokenizer drops."""
    start, end = span
    while end < len(sentence) and unicodedata.category(sentence[end])[0] == "M":
        end += 1
    return start, end


def require_whole_words(tokenizer: "PreTrainedTokenizerBase") -> str:
    """Return what marks a piece that continues a word.

    Raises:
        InputError: Nothing does, so that a whole word cannot be told from a part of one.
    """
    prefix = getattr(tokenizer.backend_tokenizer.model, "continuing_subword_prefix", None)
    if not prefix or tokenizer.mask_token_id is None:
        raise InputError(
            "augment.num_copies: augmentation needs a WordPiece tokenizer with a mask, got the "
            f"teacher's {type(tokenizer).__name__}; set it to 0 in the profile, or take a BERT "
            "checkpoint as teacher"
        )
    return str(prefix)


def _whole_words(tokenizer: "PreTrainedTokenizerBase", pieces: Sequence[str]) -> NDArray[np.bool_]:
    """Say of each piece whether it is a whole word, of a script in which one can tell."""
    prefix = require_whole_words(tokenizer)
    special = set(tokenizer.all_special_tokens)
    return np.array(
        [
            piece not in special
            and not piece.startswith((prefix, "[unused"))
            and word_spans(piece) == [(0, len(piece))]
            for piece in pieces
        ]
    )
