"""What a profile may say of the export."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from tinybert.core.settings.reader import Settings

# As transformers.js looks for them in a model's folder.
FLOAT, INT8 = Path("onnx/model.onnx"), Path("onnx/model_quantized.onnx")
# dynamic: activations measured in each pass | static: by calibration rows, as the least and the
# greatest value seen, or as the range that holds all but 1 in 100,000.
Calibration = Literal["dynamic", "static_minmax", "static_percentile"]


class ExportSettings(Settings):
    """Section `export` of a profile."""

    calibrations: list[Calibration] = Field(min_length=1)  # the one that loses least is kept
    calibration_rows: int = Field(ge=1)  # of train, drawn by the seed
    max_score_drop: float = Field(ge=0, le=2)  # of the main metric on dev, a fraction; 2: any
