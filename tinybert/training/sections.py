"""What a profile may say of the two phases that match layers."""

from pydantic import Field

from tinybert.settings.choices import CLOSED_FORM_TOKENS
from tinybert.settings.schedule import Schedule


class GeneralDistillSettings(Schedule):
    """The profile's section `general_distill`; a system's steps_scale multiplies its length."""

    save_steps: int = Field(ge=1)  # steps between checkpoints


class IntermediateDistillSettings(Schedule):
    """The profile's section `intermediate_distill`; a task's epochs_scale multiplies num_epochs."""

    save_steps: int = Field(ge=1)  # steps between checkpoints
    # That `start: closed_form` is fitted on.
    closed_form_tokens: int = Field(default=CLOSED_FORM_TOKENS, ge=1)
    max_stored_gigabytes: float = Field(ge=0)  # of the teacher's states, where that saves time
