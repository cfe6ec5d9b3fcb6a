"""Masked-word training (Devlin et al. 2019, section 3.1), for checkpoints that lack the head."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.distillation.losses import masked_word_loss
from tinybert.encoders.signals import takes_token_types
from tinybert.runtime.processes import num_processes, shares, sum_over_all
from tinybert.text.batching import Batch, collate
from tinybert.text.encoded import Rows

MASKED_SHARE = 0.15


class MaskedWords(nn.Module):
    """A masked-word model whose forward pass hides words and gives the loss of finding them.

    Args:
        model: The model.
        tokenizer: Its tokenizer, for the mask and the special tokens.
        freeze_encoder: Train the head alone; the encoder stays as it was, bit for bit.
        masked_share: Of the tokens, how many are hidden.
    """

    words: Tensor | None  # ids that the loss chooses among; None for the whole vocabulary

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: Any,
        freeze_encoder: bool,
        masked_share: float = MASKED_SHARE,
    ) -> None:
        super().__init__()
        self.model = model
        self.mask_token_id: int = tokenizer.mask_token_id
        self.special_ids = torch.tensor(sorted(set(tokenizer.all_special_ids)))
        self.masked_share = masked_share
        self.register_buffer("words", None, persistent=False)
        if freeze_encoder:
            model.base_model.requires_grad_(False)

    def forward(self, **batch: Tensor) -> dict[str, Tensor]:
        """Return `loss` and `loss/mlm`: cross-entropy, averaged over the masked words."""
        hidden, chosen = mask_words(batch, self.mask_token_id, self.special_ids, self.masked_share)
        self.model.base_model.eval()  # no dropout: a few hundred steps see no block twice
        logits, found = masked_logits(self.model, hidden, chosen, self.words), batch["input_ids"]
        targets = found[chosen]
        if self.words is not None:
            targets = torch.searchsorted(self.words, targets)
        loss = masked_word_loss(logits, targets)
        if num_processes() > 1:
            count = (chosen & batch["counts"][:, None]).sum()
            loss = loss * shares(count, sum_over_all(count), num_processes())
        return {"loss": loss, "loss/mlm": loss.detach()}


def mask_words(
    batch: Batch, mask_token_id: int, special_ids: Tensor, share: float = MASKED_SHARE
) -> tuple[Batch, Tensor]:
    """Hide a share of the real, not special tokens: 80% masked, 10% random, 10% as they were.

    Returns:
        The batch with hidden tokens, and where they are, boolean, of shape (batch, tokens).
    """
    ids = batch["input_ids"]
    special = torch.isin(ids, special_ids.to(ids.device))
    can_hide = batch["attention_mask"].bool() & ~special
    chosen = (torch.rand(ids.shape, device=ids.device) < share) & can_hide
    if not chosen.any():  # a short batch may draw none, and the mean of none is NaN
        chosen = can_hide
    how = torch.rand(ids.shape, device=ids.device)
    # Random tokens are drawn from the batch: real pieces, in their real frequencies.
    pool = ids[can_hide]
    drawn = pool[torch.randint(len(pool), ids.shape, device=ids.device)]
    hidden = torch.where(chosen & (how < 0.8), mask_token_id, ids)
    hidden = torch.where(chosen & (how >= 0.9), drawn, hidden)
    return {**batch, "input_ids": hidden}, chosen


def masked_logits(
    model: PreTrainedModel, batch: Batch, places: Tensor, words: Tensor | None = None
) -> Tensor:
    """Return logits over the vocabulary at the given places only, shape (places, vocabulary).

    The head costs as much as several layers, so it runs at the asked places, where the
    architecture lets it be reached (BERT's is `cls`); elsewhere at all of them.

    Args:
        model: A masked-word model.
        batch: input_ids, attention_mask, and token_type_ids if the model takes them.
        places: Boolean, shape (batch, tokens).
        words: Ids of the words to score, of a BERT head; None for all.
    """
    names = ["input_ids", "attention_mask"]
    if takes_token_types(model):
        names.append("token_type_ids")
    # Numbers, since architectures with an attention of their own subtract the mask.
    inputs = {name: batch[name].long() for name in names if name in batch}
    head = getattr(model, "cls", None)
    if isinstance(head, nn.Module):
        states = model.base_model(**inputs).last_hidden_state
        if words is None:
            return cast(Tensor, head(states[places]))
        scores = cast(Any, head).predictions
        decoder = scores.decoder
        found = scores.transform(states[places])
        return F.linear(found, decoder.weight[words], decoder.bias[words])
    return cast(Tensor, model(**inputs).logits[places])


@contextmanager
def _only_asked(model: MaskedWords, dtype: torch.dtype | None) -> Iterator[None]:
    """Ask a model without training it; its mode is put back."""
    was_training = model.training
    model.eval()
    with (
        torch.no_grad(),
        torch.autocast(model.model.device.type, dtype=dtype, enabled=dtype is not None),
    ):
        yield
    model.train(was_training)


def masked_accuracy(
    model: MaskedWords, rows: Rows, pad_token_id: int, dtype: torch.dtype | None, seed: int
) -> float:
    """Return the share of masked words that the most probable piece gets right.

    Args:
        model: The model.
        rows: Held-out rows.
        pad_token_id: For padding batches.
        dtype: What the pass is autocast to; None for float32.
        seed: Of the masking, which is the same for every model asked.
    """
    device = model.model.device
    right, total, batch_rows = 0, 0, 32
    with torch.random.fork_rng(), _only_asked(model, dtype):
        torch.manual_seed(seed)
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // batch_rows)):
            batch = collate([rows[int(row)] for row in part], pad_token_id)
            hidden, places = mask_words(batch, model.mask_token_id, model.special_ids)
            hidden = {key: value.to(device) for key, value in hidden.items()}
            found = masked_logits(model.model, hidden, places.to(device)).argmax(dim=-1).cpu()
            right += int((found == batch["input_ids"][places]).sum())
            total += int(places.sum())
    return right / max(1, total)


class Sample(NamedTuple):
    """What a masked-word model puts in a hidden word's place.

    Attributes:
        text: The words around the place, which is shown as the mask token.
        hidden: The word that stood there.
        found: The model's first words, the most probable first.
    """

    text: str
    hidden: str
    found: list[str]

    def __str__(self) -> str:
        return f"{self.text} ({self.hidden}): {', '.join(self.found)}"


def masked_samples(
    model: MaskedWords,
    rows: Rows,
    tokenizer: Any,
    dtype: torch.dtype | None,
    count: int = 3,
    num_words: int = 5,
) -> list[Sample]:
    """Return what a model finds for the middle word of some rows.

    Args:
        model: The model.
        rows: Held-out rows; as many as asked are taken, evenly spread.
        tokenizer: Its tokenizer.
        dtype: What the pass is autocast to; None for float32.
        count: How many rows.
        num_words: How many words to show of each.

    Returns:
        Fewer than asked where there are fewer rows, or a row has no whole word of letters.
    """
    device, samples = model.model.device, list[Sample]()
    for number in np.linspace(0, len(rows), count, endpoint=False, dtype=int) if len(rows) else ():
        batch = collate([rows[int(number)]], tokenizer.pad_token_id)
        ids = batch["input_ids"][0].clone()
        pieces = tokenizer.convert_ids_to_tokens(ids.tolist())
        words = [place for place, piece in enumerate(pieces) if piece.isalpha() and len(piece) > 3]
        if not words:
            continue
        place = min(words, key=lambda each: abs(each - len(ids) // 2))
        ids[place] = model.mask_token_id
        places = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
        places[0, place] = True
        shown = {**batch, "input_ids": ids[None]}
        with _only_asked(model, dtype):
            logits = masked_logits(
                model.model, {key: of.to(device) for key, of in shown.items()}, places.to(device)
            )
        best = logits[0].topk(num_words).indices.tolist()
        text = tokenizer.decode(ids[max(1, place - 8) : min(len(ids) - 1, place + 9)])
        samples.append(Sample(text, pieces[place], tokenizer.convert_ids_to_tokens(best)))
    return samples
