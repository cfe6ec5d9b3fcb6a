"""The first texts of encoded rows are what these texts alone are encoded to."""

from dataclasses import fields

import numpy as np
import pytest
import torch

from tests.fixtures.kinds import frame_of
from tests.fixtures.tokenizers import tokenizer_of
from tinybert.tasks.aligned_rows import encode_beside
from tinybert.tasks.task import Encoding
from tinybert.text.encoded import EncodedRows

OURS, THEIRS = tokenizer_of("wordpiece"), tokenizer_of("byte_level")
TEXTS = ["the unbelievable cat sat on the old red mat", "naïve café", "a cat " * 30, "red"]


def same(one, other) -> bool:
    """Return whether two rows, arrays, tensors or dicts of them are equal throughout."""
    if isinstance(one, EncodedRows):
        return all(same(getattr(one, of.name), getattr(other, of.name)) for of in fields(one))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other)
    return one == other


@pytest.mark.parametrize("teachers", [OURS, THEIRS])
@pytest.mark.parametrize(
    ("kind", "long"), [("classification", "cut"), ("classification", "windows"), ("span", "cut")]
)
def test_first_texts_are_as_if_encoded_alone(kind, long, teachers):
    texts = (["the cat?"] * len(TEXTS), TEXTS) if kind == "span" else (TEXTS,)
    frame = frame_of(kind, *texts)
    encoding = Encoding(kind, 2, 24, long=long)
    rows = encode_beside(frame, OURS, teachers, encoding)
    for count in range(1, len(frame) + 1):
        alone = encode_beside(frame[:count], OURS, teachers, encoding)
        assert same(rows.first_texts(count), alone)
    assert not same(rows.first_texts(2), rows.first_texts(3))
    assert len(rows.first_texts(0)) == len(rows.first_texts(0).ids) == 0
