"""What a profile may say of augmentation."""

from typing import Literal

from pydantic import Field

from tinybert.settings.reader import Settings

EntityWords = Literal["keep", "replace"]


class AugmentSettings(Settings):
    """Section `augment` of a profile; letters of Algorithm 1 in brackets."""

    replace_probability: float = Field(ge=0, le=1)  # of replacing a word [p_t]
    num_copies: int = Field(ge=0)  # of a sentence, before duplicates are dropped [N_a]; 0: none
    num_candidates: int = Field(ge=1)  # words that may replace one [K]
    max_rows: int | None = Field(ge=1)  # rows that get copies, drawn by the seed; null: all
    batch_tokens: int = Field(ge=8)  # word pieces in one batch of the masked language model
    entity_words: EntityWords = "keep"  # of tasks of tokens: may words of entities be replaced?
