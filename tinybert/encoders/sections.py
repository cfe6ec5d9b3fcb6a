"""What a profile may say of the pretrained teacher and its masked-word model."""

from typing import Literal

from pydantic import Field, model_validator

from tinybert.settings.schedule import Schedule


class FetchTeacherSettings(Schedule):
    """The profile's section `fetch_teacher`: masked-word training where the head is missing."""

    freeze_encoder: bool  # true: only the head is trained, the teacher stays as published
    train_always: bool  # true: also where the checkpoint has a head
    teacher_encoder: Literal["published", "trained"]  # trained: the masked-word model's encoder
    masked_lm: bool = True  # false: no masked-word model, where nothing asks for one
    # A head that is missing starts in closed form, from so many blocks; 0: at random.
    closed_form_blocks: int = Field(default=0, ge=0)
    num_hidden_layers: int | None = Field(default=None, ge=1)  # of a model trained here; null: all
    masked_share: float = Field(default=0.15, gt=0, lt=1)  # of the tokens of a training block
    save_steps: int = Field(ge=1)

    @model_validator(mode="after")
    def _a_teacher_has_all_layers(self) -> "FetchTeacherSettings":
        if self.num_hidden_layers is not None and self.teacher_encoder == "trained":
            raise ValueError(
                "num_hidden_layers: must be null where the masked-word model's encoder becomes the "
                f"teacher, got {self.num_hidden_layers} beside teacher_encoder trained; write null"
            )
        return self

    @model_validator(mode="after")
    def _trains_what_it_makes(self) -> "FetchTeacherSettings":
        if not self.masked_lm and (self.train_always or self.teacher_encoder == "trained"):
            raise ValueError(
                "masked_lm: must be true where a masked-word model is trained, got false beside "
                f"train_always {self.train_always} and teacher_encoder {self.teacher_encoder}; "
                "write true"
            )
        return self
