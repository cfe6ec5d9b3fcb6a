"""How many tokens a model can number, and rows that are longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinybert.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

MOST_POSITIONS = 512  # of a student, and where a model says nothing
# Their position numbers start behind the padding token's.
AFTER_PADDING = frozenset(
    "camembert data2vec-text esm ibert longformer luke mpnet roberta roberta-prelayernorm "
    "xlm-roberta xlm-roberta-xl xmod".split()
)


def positions(config: PreTrainedConfig) -> int | None:
    """Return how many tokens a model can number; None where it says nothing."""
    found: Any = getattr(config, "max_position_embeddings", None)
    if found is None:
        return None
    skipped = (config.pad_token_id or 0) + 1 if config.model_type in AFTER_PADDING else 0
    return int(found) - skipped


def require_positions(
    length: int, config: PreTrainedConfig, place: str, whose: str = "teacher"
) -> None:
    """Check that a model can number the tokens of the longest row.

    Args:
        length: Tokens per row.
        config: The model's.
        place: Where the length was said.
        whose: The model, in words.

    Raises:
        InputError: It cannot.
    """
    known = positions(config)
    if known is not None and length > known:
        raise InputError(
            f"{place}: longer than the {whose}'s {known} positions, got {length}; lower it to "
            f"{known} or less"
        )
