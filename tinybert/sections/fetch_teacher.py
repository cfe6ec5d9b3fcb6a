"""The section `fetch_teacher` of a profile."""

from typing import Literal

from pydantic import Field, model_validator

from tinybert.schedule import Schedule


class FetchTeacherSettings(Schedule):
    """The profile's section `fetch_teacher`: masked-word training where the head is missing."""

    freeze_encoder: bool  # true: only the head is trained, the teacher stays as published
    train_always: bool  # true: also where the checkpoint has a head
    teacher_encoder: Literal["published", "trained"]  # trained: the masked-word model's encoder
    masked_lm: bool = True  # false: no masked-word model, where nothing asks for one
    save_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _trains_what_it_makes(self) -> "FetchTeacherSettings":
        if not self.masked_lm and (self.train_always or self.teacher_encoder == "trained"):
            raise ValueError(
                "masked_lm: must be true where a masked-word model is trained, got false beside "
                f"train_always {self.train_always} and teacher_encoder {self.teacher_encoder}; "
                "write true"
            )
        return self


SETTINGS = FetchTeacherSettings
