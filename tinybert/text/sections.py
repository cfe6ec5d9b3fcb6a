"""What a profile may say of the corpus and of word vectors."""

from typing import Literal

from pydantic import Field

from tinybert.settings.reader import Settings


class HubText(Settings):
    """A data set of the hub."""

    path: str
    name: str | None
    split: str
    column: str


class PrepareCorpusSettings(Settings):
    """The profile's section `prepare_corpus`."""

    source: Literal["embedded", "files", "hub"]  # files: sources.corpus of params.yaml
    hub: HubText | None  # for source hub
    max_words: int | None = Field(ge=1)  # null: all
    block_length: int = Field(ge=16, le=512)  # tokens, special ones included


class WordVectorsSettings(Settings):
    """Section `word_vectors` of a profile."""

    source: Literal["file", "train"]  # file: sources.word_vectors; train: Word2Vec on the corpus
    max_words: int | None = Field(ge=1)  # keep the first (most frequent) so many; null: all
    vector_size: int = Field(ge=1)  # dimension; this and what follows is for `train`
    window: int = Field(ge=1)  # words of context on each side
    min_count: int = Field(ge=1)  # occurrences below which a word gets no vector
    num_epochs: int = Field(ge=1)  # passes over the corpus
