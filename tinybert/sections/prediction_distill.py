"""The section `prediction_distill` of a profile."""

from tinybert.systems import Grid


class PredictionDistillSettings(Grid):
    """The profile's section `prediction_distill`; a system's file may change the grid."""


SETTINGS = PredictionDistillSettings
