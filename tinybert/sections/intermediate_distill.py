"""The section `intermediate_distill` of a profile."""

from pydantic import Field

from tinybert.schedule import Schedule


class IntermediateDistillSettings(Schedule):
    """The profile's section `intermediate_distill`; a task's epochs_scale multiplies num_epochs."""

    save_steps: int = Field(ge=1)  # steps between checkpoints
    closed_form_tokens: int = Field(default=32_000, ge=1)  # that `start: closed_form` is fitted on
    max_stored_gigabytes: float = Field(ge=0)  # of the teacher's states, where that saves time


SETTINGS = IntermediateDistillSettings
