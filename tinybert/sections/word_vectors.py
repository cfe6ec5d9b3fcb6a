"""The section `word_vectors` of a profile."""

from typing import Literal

from pydantic import Field

from tinybert.settings import Settings


class WordVectorsSettings(Settings):
    """Section `word_vectors` of a profile."""

    source: Literal["file", "train"]  # file: sources.word_vectors; train: Word2Vec on the corpus
    max_words: int | None = Field(ge=1)  # keep the first (most frequent) so many; null: all
    vector_size: int = Field(ge=1)  # dimension; this and what follows is for `train`
    window: int = Field(ge=1)  # words of context on each side
    min_count: int = Field(ge=1)  # occurrences below which a word gets no vector
    num_epochs: int = Field(ge=1)  # passes over the corpus


SETTINGS = WordVectorsSettings
