"""A task's rows for a student, with what a teacher with another tokenizer reads beside them."""

from typing import Any

import numpy as np
import pandas as pd

from tinybert.runtime.errors import InputError
from tinybert.tasks.encoding import encode_split
from tinybert.tasks.task import Encoding
from tinybert.text.alignment import Units, find_units, partners, same_tokenizer
from tinybert.text.encoded import EncodedRows

SHOWN = 40  # characters of a row in a message


def encode_beside(
    frame: pd.DataFrame, tokenizer: Any, teachers: Any, encoding: Encoding, whole: bool = True
) -> EncodedRows:
    """Encode rows for a student; where its teacher's tokenizer is another, with the teacher's.

    Args:
        frame: As `encode_split` takes it.
        tokenizer: The student's.
        teachers: The teacher's.
        encoding: Of the task.
        whole: Whether every row must have a unit.

    Raises:
        InputError: The two have no piece of a row in common.
    """
    if same_tokenizer(tokenizer, teachers):
        return encode_split(frame, tokenizer, encoding)
    ours, theirs = (encode_split(frame, each, encoding, True) for each in (tokenizer, teachers))
    theirs = theirs.at(partners(ours, theirs))
    return put_beside(ours, theirs, teachers.pad_token_id, frame, whole)


def put_beside(
    ours: EncodedRows,
    theirs: EncodedRows,
    pad_token_id: int,
    frame: pd.DataFrame,
    whole: bool = True,
) -> EncodedRows:
    """Put rows of the same texts side by side, with their units.

    Args:
        ours: The student's rows with their characters.
        theirs: The teacher's, one for each of ours.
        pad_token_id: That fills up theirs.
        frame: The texts.
        whole: Whether every row must have a unit.

    Raises:
        InputError: A row with text has no unit but special tokens.
    """
    second = frame["sentence2"].tolist() if "sentence2" in frame else None
    units = find_units(ours, theirs, frame["sentence1"].tolist(), second)
    if whole:
        _require_units(units, ours, frame)
    return ours.with_beside(theirs, units.ours, units.theirs, pad_token_id)


def _require_units(units: Units, rows: EncodedRows, frame: pd.DataFrame) -> None:
    origins = np.arange(len(rows)) if rows.origins is None else rows.origins
    common = np.bincount(origins, weights=units.texts, minlength=len(frame))
    shown = np.bincount(origins, weights=units.shown, minlength=len(frame))
    failing = np.flatnonzero((common == 0) & (shown > 0))
    if len(failing):
        row = frame.iloc[int(failing[0])]
        raise InputError(
            f"row {failing[0]}: student's and teacher's tokenizer have no piece of the text in "
            f"common, got {row['sentence1'][:SHOWN]!r}, and {len(failing)} of {len(frame):,} rows "
            "like it; take them out, raise the task's max_length, or take tokenizers that know the "
            "text's characters"
        )
