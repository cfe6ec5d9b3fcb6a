"""The section `prepare_corpus` of a profile."""

from typing import Literal

from pydantic import Field

from tinybert.settings import Settings


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


SETTINGS = PrepareCorpusSettings
