"""Whether the teacher's vocabulary knows the text of a task."""

import unicodedata
from collections.abc import Sequence
from typing import Any

import pandas as pd

from tinybert.doctor.findings import Finding, doubt, wrong
from tinybert.doctor.lengths import drawn

MOST_UNKNOWN, MUCH_UNKNOWN = 0.5, 0.05  # of all word pieces, as for the corpus


def unknown_share(texts: Sequence[str], tokenizer: Any) -> float:
    """Return which share of a text's word pieces stands for what a vocabulary lacks, on average.

    On average over texts, so that a long one counts no more than what will be read of it.
    """
    found = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    unknown = tokenizer.unk_token_id
    shares: list[float] = [row.count(unknown) / len(row) for row in found if row]
    return sum(shares) / max(1, len(shares))


def judge(frame: pd.DataFrame, tokenizer: Any, task: str) -> list[Finding]:
    """Say where much of a task's text is unknown to the teacher's tokenizer: wrong where most is.

    Args:
        frame: Rows, of which up to 5,000 are looked at.
        tokenizer: The teacher's.
        task: The task's name.
    """
    columns = [name for name in ("sentence1", "sentence2") if name in frame]
    texts = [text for name in columns for text in drawn(frame)[name]]
    share = unknown_share(texts, tokenizer)
    if share <= MUCH_UNKNOWN:
        return []
    cure = "take a teacher of the text's language (teacher.source)"
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    if unknown_share(composed, tokenizer) < share / 2:
        cure = "the text is decomposed, and the vocabulary is not: write it in Unicode's form NFC"
    line = (
        f"{task}: the teacher does not know the text, got {share:.0%} of its word pieces as "
        f"{tokenizer.unk_token}; {cure}"
    )
    return [wrong(line) if share > MOST_UNKNOWN else doubt(line)]
