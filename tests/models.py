"""Tiny random models and a hand-made vocabulary for tests."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    BertTokenizerFast,
)

WORDS = (
    "the a cat dog bird sat ran flew on under over mat roof tree big small red blue and then it "
    "was not very good bad one two three he she they saw liked found house river green old new "
    ". , ! ? ' \" ( )"
).split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s", "##ing", "##ed"]


def tiny_config(**changes) -> BertConfig:
    sizes = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 64,
    }
    return BertConfig(**{**sizes, **changes})


def tiny_tokenizer(
    folder: Path, vocabulary: Sequence[str] = tuple(VOCABULARY)
) -> BertTokenizerFast:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    return BertTokenizerFast(vocab=str(folder / "vocab.txt"), do_lower_case=True)


def tiny_encoder(seed: int = 0, **changes) -> BertModel:
    torch.manual_seed(seed)
    return BertModel(tiny_config(**changes))


def tiny_classifier(num_labels: int = 2, seed: int = 0, **changes) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    return BertForSequenceClassification(tiny_config(num_labels=num_labels, **changes))


def save_pretrained(folder: Path, seed: int = 0, **changes) -> Path:
    """Write a masked-word model and its tokenizer, as `fetch_teacher` leaves them."""
    torch.manual_seed(seed)
    BertForMaskedLM(tiny_config(**changes)).save_pretrained(folder)
    tiny_tokenizer(folder).save_pretrained(folder)
    return folder


def tiny_batch() -> dict[str, torch.Tensor]:
    """Two rows of 7 and 4 tokens."""
    ids = torch.tensor([[2, 5, 7, 10, 13, 16, 3], [2, 6, 8, 3, 0, 0, 0]])
    mask = ids != 0
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": torch.zeros_like(ids)}
