"""What a head is fitted to goes along where its texts are read in other tokens."""

import numpy as np
import torch

from tinybert.closed_form.head import HeadTargets
from tinybert.closed_form.start import choose_rows, head_in_tokens
from tinybert.text.encoded import EncodedRows, joined


def rows_of(*lengths: int) -> EncodedRows:
    """Return rows whose tokens are their numbers."""
    ids = [np.full(length, number, dtype=np.int32) for number, length in enumerate(lengths)]
    return joined(ids, lengths, {})


def test_values_follow_their_rows_to_another_order_of_lengths():
    theirs, ours = rows_of(3, 5, 4), rows_of(6, 2, 4)
    # Longest first: rows 1, 2, 0 of theirs; 0, 2, 1 of ours.
    values = torch.tensor([[1.0], [2.0], [0.0]])
    found = HeadTargets(theirs, 10 * values, values).of(ours)
    assert found.rows is ours
    assert found.logits.flatten().tolist() == [0, 2, 1]
    assert found.pooled is not None
    assert found.pooled.flatten().tolist() == [0, 20, 10]


def test_the_rows_are_those_that_were_chosen():
    theirs, ours = rows_of(*[4] * 50), rows_of(*range(1, 51))
    chosen = choose_rows(theirs, 3 * 20, seed=1)
    numbers = np.unique(chosen.ids)
    values = torch.from_numpy(numbers.astype(np.float32))[:, None]
    found = head_in_tokens(HeadTargets(chosen, None, values), theirs, ours, 1, 20)
    assert np.unique(found.rows.ids).tolist() == numbers.tolist()
    # The longest is the one with the largest number.
    assert found.logits.flatten().tolist() == sorted(numbers.tolist(), reverse=True)
