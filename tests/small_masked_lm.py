"""A random masked language model of 16 dimensions, and what a plain computation makes of it."""

import numpy as np
import torch
from transformers import BertConfig, BertForMaskedLM, BertTokenizerFast

from tinybert.masked_words import MaskedWords

WORDS = (
    "cat dog house tree river stone red blue big small old young runs sleeps walks eats sees finds "
    "man woman child road field quiet loud green"
).split()
KEPT = ["the", "a", "not", "is", "and", "i", "s", "t", "two", "1998", "3"]
MARKS = list(".,'\"!-$")
PIECES = ["##s", "##dog", "##house", "##ly"]
SPECIAL = ["[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = SPECIAL + MARKS + PIECES + KEPT + WORDS
MAX_POSITIONS = 24


def small_tokenizer(folder):
    file = folder / "vocab.txt"
    file.write_text("\n".join(VOCABULARY) + "\n")
    return BertTokenizerFast(vocab=str(file))


def small_model(vocab_size=None):
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=vocab_size or len(VOCABULARY),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=MAX_POSITIONS,
        initializer_range=0.5,
    )
    return BertForMaskedLM(config).eval()


def plain_candidates(model, tokenizer, sentence, place, count):
    """Mask one piece, run the sentence alone, rank the whole words in plain Python."""
    ids = tokenizer(sentence)["input_ids"]
    own, ids[place + 1] = ids[place + 1], tokenizer.mask_token_id
    with torch.no_grad():
        scores = model(torch.tensor([ids])).logits[0, place + 1].tolist()
    allowed = [VOCABULARY.index(word) for word in KEPT + WORDS]
    ranked = sorted((i for i in allowed if i != own), key=lambda i: -scores[i])
    return {VOCABULARY[i] for i in ranked[:count]}


def watch(model):
    """Return a list that fills with the ids of each batch the encoder sees."""
    seen = []
    model.base_model.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(kwargs["input_ids"].clone()), with_kwargs=True
    )
    return seen


def masked_words(model, tokenizer, num_candidates=3, batch_tokens=64, dtype=None):
    return MaskedWords(
        model,
        tokenizer,
        num_candidates=num_candidates,
        batch_tokens=batch_tokens,
        dtype=dtype,
        device=torch.device("cpu"),
    )


def random_sentences(count, seed=0):
    generator = np.random.default_rng(seed)
    return [
        " ".join(generator.choice([*WORDS, *KEPT, "catdog"], size=generator.integers(1, 15)))
        for _ in range(count)
    ]
