"""A masked-word model's start without a gradient step: fewer layers, and a head in closed form.

BERT's head gives word w the score e_w . LN(gelu(A x + a)) + b_w, with the state x at the hidden
place and the word's input embedding e_w. In closed form: A x + a' is the ridge regression of the
hidden word's embedding, less its mean, on the state, scaled to a variance of 1. A further 3 in
each entry makes gelu nearly the identity, and LN takes it out again. b_w is the word's log
frequency in the text. A few hundred steps then reach what thousands do from a random head.
"""

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from tinybert.closed_form.moments import Moments
from tinybert.distillation.masked_lm import MaskedWords, mask_words
from tinybert.runtime.errors import InputError
from tinybert.text.batching import collate
from tinybert.text.encoded import Blocks

RIDGE = 3e-3  # of the states' mean variance
SHIFT = 3.0  # gelu(x + 3) differs from x + 3 by less than 0.05 for x > -1
BATCH_BLOCKS = 32
BLOCKS_AT_ONCE = 100_000  # counted


def keep_layers(model: PreTrainedModel, num_layers: int) -> None:
    """Leave the first layers of an encoder, in place; states for words are best in the middle.

    Raises:
        InputError: It has fewer layers, or keeps them elsewhere than BERT does.
    """
    layers = getattr(getattr(model.base_model, "encoder", None), "layer", [])
    if len(layers) < num_layers:
        raise InputError(
            f"fetch_teacher.num_hidden_layers: must be at most the {len(layers)} layers of a BERT "
            f"style teacher, got {num_layers} for {model.config.model_type}; write null for all"
        )
    model.base_model.encoder.layer = layers[:num_layers]
    model.config.num_hidden_layers = num_layers


def has_closed_form(model: PreTrainedModel) -> bool:
    """Return whether the head is BERT's, over word embeddings as wide as its states."""
    head = getattr(getattr(model, "cls", None), "predictions", None)
    width = model.get_input_embeddings().weight.shape[1]
    return head is not None and head.transform.dense.weight.shape == (width, width)


def start_in_closed_form(
    masked: MaskedWords, rows: Blocks, num_blocks: int, pad_token_id: int, seed: int
) -> None:
    """Set the head in closed form, in place; it and the layers are trained, word embeddings stay.

    The loss then chooses among the words of the text alone, a fraction of the vocabulary.

    Args:
        masked: With a head for which `has_closed_form`.
        rows: The text.
        num_blocks: Spread over the text, from which the regression is fitted.
        pad_token_id: For padding batches.
        seed: Of what is hidden.
    """
    model, head = masked.model, cast(Any, masked.model).cls.predictions
    embeddings = model.get_input_embeddings().weight.requires_grad_(False)
    counts = count_words(rows.blocks, len(embeddings))
    counts[masked.special_ids.numpy()] = 0
    masked.words = torch.from_numpy(np.flatnonzero(counts)).to(embeddings.device)
    weight, bias, mean = solve_head(_moments(masked, rows, num_blocks, pad_token_id, seed))
    dense, norm = head.transform.dense, head.transform.LayerNorm
    with torch.no_grad():
        dense.weight.copy_(weight)
        dense.bias.copy_(bias + SHIFT)
        norm.weight.fill_(1 / (embeddings - mean.to(embeddings)).norm(dim=1).mean())
        norm.bias.zero_()
        head.bias.copy_(torch.from_numpy(np.log((counts + 0.1) / (counts + 0.1).sum())))


def count_words(blocks: NDArray[Any], num_words: int) -> NDArray[np.int64]:
    """Return how often each id stands in the blocks, shape (words,)."""
    counts = np.zeros(num_words, dtype=np.int64)
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        part = np.asarray(blocks[start : start + BLOCKS_AT_ONCE]).ravel()
        counts += np.bincount(part, minlength=num_words)
    return counts


def solve_head(moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Return the dense layer's weight and bias, and the mean of the hidden words' embeddings.

    The ridge regression A of the embeddings on the states x, scaled so that A x has a mean variance
    of 1.

    Args:
        moments: Of states and embeddings at hidden places.
    """
    weight = moments.ridge(RIDGE, "masked words").weight
    states = moments.centred()[0] / moments.count
    weight = weight / (weight @ states @ weight.T).diagonal().mean().sqrt()
    return weight, -weight @ moments.x / moments.count, moments.y / moments.count


@torch.no_grad()
def _moments(
    masked: MaskedWords, rows: Blocks, num_blocks: int, pad_token_id: int, seed: int
) -> Moments:
    """Return what `solve_head` reads."""
    model, device = masked.model, masked.model.device
    embeddings: nn.Embedding = cast(nn.Embedding, model.get_input_embeddings())
    chosen = np.unique(np.linspace(0, len(rows) - 1, num_blocks).astype(int))
    moments = Moments(embeddings.embedding_dim, embeddings.embedding_dim, device)
    model.eval()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for start in range(0, len(chosen), BATCH_BLOCKS):
            part = chosen[start : start + BATCH_BLOCKS]
            batch = collate([rows[int(row)] for row in part], pad_token_id)
            shown, places = mask_words(
                batch, masked.mask_token_id, masked.special_ids, masked.masked_share
            )
            inputs = {name: shown[name].to(device) for name in ("input_ids", "attention_mask")}
            states = model.base_model(**inputs).last_hidden_state[places.to(device)]
            moments.add(states, embeddings(batch["input_ids"][places].to(device)))
    return moments
