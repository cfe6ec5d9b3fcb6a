"""What a profile may say of the export, and of measuring latency."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from tinybert.settings.reader import Settings

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


EngineName = Literal["pytorch_fp32", "pytorch_bf16", "onnx_fp32", "onnx_int8"]
TASK_ROWS: Final = "task"  # rows of the task's dev split, as long as they are


class BenchmarkLatencySettings(Settings):
    """What is measured. The first of each list gives the speed-up that stands in the table."""

    engines: list[EngineName] = Field(min_length=1)  # ONNX: on the CPU, where there is an export
    batch_sizes: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)  # rows
    # Tokens of rows without padding, or "task".
    sequence_lengths: list[Annotated[int, Field(ge=1)] | Literal["task"]] = Field(min_length=1)
    num_threads: list[Annotated[int, Field(ge=1)]] | None = Field(min_length=1)  # null: torch's own
    precision: Literal["fp32", "bf16"]  # the teacher's, in PyTorch
    device: Literal["auto", "cpu", "cuda"]  # auto: the GPU where there is one
    num_repeats: int = Field(ge=2)  # measured rounds per cell
    num_warmup: int = Field(ge=0)  # rounds before that

    @model_validator(mode="after")
    def _starts_in_pytorch(self) -> Self:
        if not self.engines[0].startswith("pytorch") or isinstance(self.sequence_lengths[0], str):
            raise ValueError(
                "engines must begin with one of PyTorch's and sequence_lengths with a number: the "
                "first of each give every system's speed-up in the table"
            )
        return self
