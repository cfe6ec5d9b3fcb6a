"""The section `finetune_teacher` of a profile."""

from tinybert.systems import Grid


class FinetuneTeacherSettings(Grid):
    """The profile's section `finetune_teacher`: the usual grid, chosen on dev."""


SETTINGS = FinetuneTeacherSettings
