"""The section `general_distill` of a profile."""

from pydantic import Field

from tinybert.schedule import Schedule


class GeneralDistillSettings(Schedule):
    """The profile's section `general_distill`."""

    save_steps: int = Field(ge=1)  # steps between checkpoints


SETTINGS = GeneralDistillSettings
