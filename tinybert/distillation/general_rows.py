"""What a general phase trains on: the corpus's blocks, or rows that another tokenizer reads too."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

from tinybert.distillation.distillation import Weights
from tinybert.distillation.terms import LAYER_TERMS, Term
from tinybert.runtime.errors import InputError
from tinybert.text.aligned_blocks import aligned_blocks
from tinybert.text.alignment import same_tokenizer
from tinybert.text.encoded import Blocks, Rows


def general_rows(
    corpus: Path, tokenizer: Any, teachers: Any, weights: Weights, seed: int, kept: Path
) -> Rows:
    """Return the rows of a general phase.

    Args:
        corpus: The folder of `prepare_corpus`, in the teacher's tokens.
        tokenizer: The student's.
        teachers: The teacher's tokenizer.
        weights: The phase's terms.
        seed: Of the choice between one and two segments, where the tokenizers differ.
        kept: Where rows for both are kept then.

    Raises:
        InputError: The terms compare what the two tokenizers do not share.
    """
    blocks = Blocks(corpus, seconds="next_sentence" in weights)
    if same_tokenizer(tokenizer, teachers):
        return blocks
    require_alignable(weights.keys())
    length = blocks.blocks.shape[1]
    text = corpus / "text.txt"
    rows = aligned_blocks(text, tokenizer, teachers, length, seed, kept / "aligned_rows")
    return rows if LAYER_TERMS & weights.keys() else rows.without_beside()


def require_alignable(terms: Collection[Term]) -> None:
    """Refuse terms that need one vocabulary: distributions over words, and words hidden from both.

    Raises:
        InputError: There is one.
    """
    if "mlm_kl" in terms:
        raise InputError(
            "general_distill.terms: mlm_kl compares probabilities of the same words, got a student "
            "with another tokenizer than its teacher's; remove the term, or keep the teacher's "
            "vocabulary"
        )
    changing = sorted({"mlm", "next_sentence"} & set(terms))
    layers = sorted(LAYER_TERMS & set(terms))
    if changing and layers:
        raise InputError(
            f"general_distill.terms: {' and '.join(changing)} change what the student reads, which "
            f"a teacher with another tokenizer would not see, got {', '.join(layers)} beside; "
            "remove one or the other, or keep the teacher's vocabulary"
        )
