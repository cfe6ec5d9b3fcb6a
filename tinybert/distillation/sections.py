"""What a profile may say of the rows that the fine-tuned teacher labels."""

from typing import Literal

from pydantic import Field

from tinybert.settings.reader import Settings


class TeacherLogitsSettings(Settings):
    """The profile's section `teacher_logits`."""

    max_rows: int | None = Field(ge=1)  # of the augmented set, drawn by the seed; null: all
    also_original: bool  # add all rows as they were before augmentation
    max_unlabelled_rows: int | None = Field(default=None, ge=1)  # of the unlabelled ones; null: all
    keep: Literal["all", "agreeing"] = "all"  # copies; agreeing: labelled as their original
    min_probability: float = Field(default=0.0, ge=0, lt=1)  # of that label, for classification
    max_change: float = Field(default=0.5, gt=0)  # regression: standard deviations of the values
