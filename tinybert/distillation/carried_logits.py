"""A teacher's stored logits beside the rows of a student with another tokenizer.

By row, or by window: of the teacher's window that shares most of the text. By word, where words are
tagged. By unit, where answers are found: an answer begins at a unit's first token and ends at its
last one, with the sum of the teacher's probabilities of the unit's tokens.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from tinybert.distillation.teacher_logits import with_logits
from tinybert.distillation.terms import LOWEST
from tinybert.tasks.aligned_rows import put_beside
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding
from tinybert.text.alignment import partners, same_tokenizer
from tinybert.text.encoded import SCORED, UNITS, EncodedRows, steps_of

Logits = NDArray[np.float32]


def encode_with_logits(
    frame: pd.DataFrame,
    logits: Logits,
    place: Path,
    tokenizer: Any,
    teachers: Any,
    encoding: Encoding,
    beside: bool = False,
) -> EncodedRows:
    """Encode rows for a student, with their teacher's stored logits as `teacher_logits`.

    Args:
        frame: As `encode_split` takes it.
        logits: As `teacher_logits` stored them for these rows.
        place: Where they are from.
        tokenizer: The student's.
        teachers: The teacher's.
        encoding: Of the task.
        beside: Whether the teacher runs too, so that what it reads must stand beside the rows.

    Raises:
        InputError: The logits are of other rows, or a row cannot be aligned.
    """
    if same_tokenizer(tokenizer, teachers):
        return with_logits(encode_split(frame, tokenizer, encoding), logits, place)
    ours, theirs = (encode_split(frame, each, encoding, True) for each in (tokenizer, teachers))
    theirs = with_logits(theirs, logits, place)
    chosen = partners(ours, theirs)
    if beside or encoding.kind == "span":
        rows = put_beside(ours, theirs.at(chosen), teachers.pad_token_id, frame)
    else:
        rows = ours
    if encoding.kind == "tokens":
        return _by_word(rows, theirs, logits)
    if encoding.kind == "span":
        rows = rows.with_token_targets(teacher_logits=_by_unit(rows, theirs, logits, chosen))
        return rows if beside else rows.without_beside()
    return rows.with_targets(teacher_logits=logits[chosen])


def _by_word(rows: EncodedRows, theirs: EncodedRows, logits: Logits) -> EncodedRows:
    """Give each scored token the logits of its word; a word that one side lacks is not scored."""
    assert rows.places is not None and theirs.places is not None
    ours, other = (np.flatnonzero(of >= 0) for of in (rows.places, theirs.places))
    stride = int(max(rows.places.max(initial=0), theirs.places.max(initial=0))) + 1
    our_word = rows.token_origins[ours] * stride + rows.places[ours]
    their_word = theirs.token_origins[other] * stride + theirs.places[other]
    order = np.argsort(their_word)
    at = np.searchsorted(their_word, our_word, sorter=order)
    found = np.zeros(len(ours), dtype=np.bool_)
    inside = at < len(order)
    found[inside] = their_word[order[at[inside]]] == our_word[inside]
    carried = np.zeros((len(rows.ids), logits.shape[1]), dtype=np.float32)
    carried[ours[found]] = logits[other[order[at[found]]]]
    scored = np.zeros(len(rows.ids), dtype=np.bool_)
    scored[ours[found]] = True
    return rows.with_token_targets(
        scored=torch.from_numpy(scored), teacher_logits=torch.from_numpy(carried)
    )


def _by_unit(
    rows: EncodedRows, theirs: EncodedRows, logits: Logits, chosen: NDArray[np.int64]
) -> torch.Tensor:
    """Return logits of each token as an answer's first one and as its last one.

    Args:
        rows: The student's, with units.
        theirs: All of the teacher's rows.
        logits: Of each of their tokens, shape (tokens, 2).
        chosen: Which of them stands beside each row.
    """
    assert rows.beside is not None
    numbers = rows.matched_lengths
    before = np.cumsum(numbers) - numbers
    at = steps_of((theirs.ends - theirs.lengths)[chosen], theirs.lengths[chosen])
    unit, tokens = _scored_units(rows.beside, theirs.token_targets[SCORED].numpy()[at], before)
    summed = np.full((int(numbers.sum()), 2), -np.inf)
    np.logaddexp.at(summed, unit, logits[at][tokens].astype(np.float64))
    known = np.maximum(summed, LOWEST).astype(np.float32)
    unit, tokens = _scored_units(rows, rows.token_targets[SCORED].numpy(), before)
    carried = np.full((len(rows.ids), 2), LOWEST, dtype=np.float32)
    first = np.unique(unit, return_index=True)[1]
    last = len(unit) - 1 - np.unique(unit[::-1], return_index=True)[1]
    carried[tokens[first], 0] = known[unit[first], 0]
    carried[tokens[last], 1] = known[unit[last], 1]
    return torch.from_numpy(carried)


def _scored_units(
    rows: EncodedRows, scored: NDArray[np.bool_], before: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the scored tokens that are in a unit, and those units, counted through all rows."""
    units = rows.token_targets[UNITS].numpy()
    tokens = np.flatnonzero(scored & (units > 0))
    return (before[np.repeat(np.arange(len(rows)), rows.lengths)] + units - 1)[tokens], tokens
