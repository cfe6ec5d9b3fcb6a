"""What a profile may say of how tasks are read."""

from typing import Literal

from pydantic import Field

from tinybert.settings.reader import Settings


class PrepareTaskSettings(Settings):
    """The section `prepare_task` of a profile."""

    glue: Literal["folder", "hub"]  # GLUE's tasks: from sources.tasks, or from glue_hub
    glue_hub: str  # a data set of the hub, or a folder of sources.tasks in its layout
    max_train_rows: int | None = Field(ge=2)  # rows of train that are kept; null keeps all
    sampled_pairs: int = Field(ge=0)  # of pair tasks, unlabelled rows of its own texts
