"""Hidden words and next sentences, for general phases that learn from them (BERT, DistilBERT).

The heads belong to the training, as projections do: they are never in the saved student.
"""

from collections.abc import Collection
from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.distillation.losses import kl_loss, masked_word_loss, next_sentence_loss
from tinybert.distillation.masked_lm import mask_words
from tinybert.encoders.signals import Signals
from tinybert.runtime.errors import InputError
from tinybert.settings.choices import WORD_TERMS, Places
from tinybert.text.batching import Batch


class WordHead(nn.Module):
    """BERT's head over words: dense, GELU, LayerNorm, then the student's own word embeddings."""

    def __init__(self, student: PreTrainedModel) -> None:
        super().__init__()
        num_words, width = student.get_input_embeddings().weight.shape
        self.dense = nn.Linear(student.config.hidden_size, width)
        self.norm = nn.LayerNorm(width, eps=getattr(student.config, "layer_norm_eps", 1e-12))
        self.bias = nn.Parameter(torch.zeros(num_words))

    def forward(self, hidden: Tensor, words: Tensor) -> Tensor:
        """Return logits over the vocabulary, shape (places, words)."""
        return F.linear(self.norm(F.gelu(self.dense(hidden))), words, self.bias)

    def start_from(self, teacher: PreTrainedModel) -> None:
        """Take a teacher's head over, as a student made of its layers does, where it fits."""
        own = {
            "dense.weight": "cls.predictions.transform.dense.weight",
            "dense.bias": "cls.predictions.transform.dense.bias",
            "norm.weight": "cls.predictions.transform.LayerNorm.weight",
            "norm.bias": "cls.predictions.transform.LayerNorm.bias",
            "bias": "cls.predictions.bias",
        }
        state, ours = teacher.state_dict(), self.state_dict()
        found = {name: state[theirs] for name, theirs in own.items() if theirs in state}
        if {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in ours.items()}:
            self.load_state_dict(found)


class Pretraining(nn.Module):
    """Hides words and swaps sentences of a batch, and scores how a student finds them.

    Args:
        student: An encoder.
        tokenizer: Its tokenizer, for the mask and the special tokens.
        terms: Of `WORD_TERMS`.
        teacher: The masked-word model that mlm_kl learns from.
        temperature: Of mlm_kl.
        places: Where mlm_kl compares distributions: at hidden words, or at all real tokens.

    Raises:
        InputError: The student has no pooler for next_sentence, or the teacher no head.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        tokenizer: Any,
        terms: Collection[str],
        teacher: PreTrainedModel | None = None,
        temperature: float = 1.0,
        places: Places = "masked",
    ) -> None:
        super().__init__()
        self.terms = [term for term in WORD_TERMS if term in terms]
        self.mask_token_id: int = tokenizer.mask_token_id
        self.sep_token_id: int = tokenizer.sep_token_id
        self.pad_token_id: int = tokenizer.pad_token_id
        self.special_ids = torch.tensor(sorted(set(tokenizer.all_special_ids)))
        self.temperature, self.places = temperature, places
        self._student = (student,)  # in tuples, so that they are no part of this module's state
        self._teacher_head = (_head_of(teacher) if "mlm_kl" in self.terms else None,)
        self.words = WordHead(student) if {"mlm", "mlm_kl"} & set(self.terms) else None
        self.follows = None
        if "next_sentence" in self.terms:
            if getattr(student, "pooler", None) is None:
                raise InputError(
                    f"general_distill.terms: next_sentence needs a pooler, got architecture "
                    f"{student.config.model_type}; remove the term, or write architecture: bert"
                )
            self.follows = nn.Linear(student.config.hidden_size, 2)

    def hide(self, batch: Batch) -> Batch:
        """Return the batch with half of its second segments swapped, and words hidden.

        New in it: `words`, what stood at the `hidden_places`; `follows`, for next_sentence.
        """
        if self.follows is not None:
            batch = swap_seconds(batch, self.sep_token_id, self.pad_token_id)
        if self.words is None:
            return batch
        hidden, places = mask_words(batch, self.mask_token_id, self.special_ids)
        return {**hidden, "hidden_places": places, "words": batch["input_ids"]}

    def predict(self, student: Signals, batch: Batch) -> dict[str, Tensor]:
        """Return the student's logits for each term, under the caller's autocast."""
        logits: dict[str, Tensor] = {}
        if self.words is not None:
            last = student.hidden[max(student.hidden)]
            embeddings = self._student[0].get_input_embeddings().weight
            logits["mlm"] = self.words(last[batch["hidden_places"]], embeddings)
            logits["mlm_kl"] = logits["mlm"]
            if self.places == "all" and "mlm_kl" in self.terms:
                logits["mlm_kl"] = self.words(last[batch["attention_mask"].bool()], embeddings)
        if self.follows is not None:
            logits["next_sentence"] = self.follows(student.pooled)
        return logits

    def losses(
        self, logits: dict[str, Tensor], teacher: Signals, batch: Batch
    ) -> dict[str, Tensor]:
        """Return the terms of a batch that `hide` made, from what `predict` returned."""
        terms: dict[str, Tensor] = {}
        if "mlm" in self.terms:
            terms["mlm"] = masked_word_loss(logits["mlm"], batch["words"][batch["hidden_places"]])
        if "mlm_kl" in self.terms:
            theirs = self._teachers_logits(teacher, batch)
            terms["mlm_kl"] = kl_loss(logits["mlm_kl"], theirs, self.temperature)
        if "next_sentence" in self.terms:
            terms["next_sentence"] = next_sentence_loss(logits["next_sentence"], batch["follows"])
        return terms

    def counts(self, batch: Batch, rows: Tensor) -> dict[str, Tensor]:
        """Return what each term's mean is taken over.

        Args:
            batch: Of `hide`.
            rows: 1 for rows that count, 0 for others, shape (batch,).
        """
        found: dict[str, Tensor] = {}
        if self.words is not None:
            hidden = (batch["hidden_places"].sum(dim=1) * rows).sum()
            found["mlm"] = found["mlm_kl"] = hidden
            if self.places == "all":
                found["mlm_kl"] = (batch["attention_mask"].sum(dim=1) * rows).sum()
        if self.follows is not None:
            found["next_sentence"] = ((batch["follows"] >= 0) * rows).sum()
        return found

    def _teachers_logits(self, teacher: Signals, batch: Batch) -> Tensor:
        places = batch["hidden_places" if self.places == "masked" else "attention_mask"].bool()
        hidden = teacher.hidden[max(teacher.hidden)][places]
        head = cast(nn.Module, self._teacher_head[0])
        head.to(hidden.device, hidden.dtype)
        with torch.no_grad():
            return cast(Tensor, head(hidden))


def swap_seconds(batch: Batch, sep_token_id: int, pad_token_id: int) -> Batch:
    """Give every second pair of segments, drawn at random, another row's second segment.

    A second segment that is longer than what is left of the row is cut, and ends in [SEP].

    Args:
        batch: With `second`: 1 where the second segment follows the first in its document, 0 where
            another document begins, negative where there is none; shape (batch,).
        sep_token_id: [SEP].
        pad_token_id: Fills up what a shorter second segment leaves.

    Returns:
        The batch with `follows`: as `second`, and 0 where it was swapped.
    """
    ids, mask, second = batch["input_ids"], batch["attention_mask"], batch["second"]
    pairs = torch.nonzero(second >= 0).flatten()
    order = torch.arange(len(ids), device=ids.device)
    if len(pairs) > 1:
        # A turn of a random order: nobody keeps its own.
        shuffled = pairs[torch.randperm(len(pairs), device=ids.device)]
        order[shuffled] = shuffled.roll(1)
    swapped = (torch.rand(len(ids), device=ids.device) < 0.5) & (second >= 0)
    order = torch.where(swapped, order, torch.arange(len(ids), device=ids.device))
    lengths = mask.sum(dim=1)
    firsts = lengths - batch["token_type_ids"].sum(dim=1)
    places = torch.arange(ids.shape[1], device=ids.device)
    taken = places - firsts[:, None] + firsts[order][:, None]  # in the row it comes from
    inside = places < firsts[:, None]
    there = taken < lengths[order][:, None]
    gathered = ids[order].gather(1, taken.clamp(0, ids.shape[1] - 1))
    new = torch.where(inside, ids, torch.where(there, gathered, pad_token_id))
    new_mask = inside | there
    cut = new_mask.sum(dim=1) - 1
    new[torch.arange(len(new), device=ids.device), cut] = sep_token_id
    moved = order != torch.arange(len(ids), device=ids.device)
    return {
        **batch,
        "input_ids": new,
        "attention_mask": new_mask,
        "token_type_ids": (new_mask & ~inside).long(),
        "follows": torch.where(moved, 0, second),
    }


def _head_of(teacher: PreTrainedModel | None) -> nn.Module:
    head = getattr(teacher, "cls", None) or getattr(teacher, "lm_head", None)
    if not isinstance(head, nn.Module):
        kind = "no masked-word model" if teacher is None else teacher.config.model_type
        raise InputError(
            f"general_distill.terms: mlm_kl needs a teacher with a head over words, got {kind}; "
            "use a BERT or RoBERTa style teacher, or remove the term"
        )
    return head.eval().requires_grad_(False)
