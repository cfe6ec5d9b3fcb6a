"""What a profile may say of measuring latency."""

from typing import Literal

from pydantic import Field

from tinybert.core.settings.reader import Settings


class BenchmarkLatencySettings(Settings):
    """What is measured. The first of each list gives the speed-up that stands in the table."""

    batch_sizes: list[int] = Field(min_length=1)  # rows
    sequence_lengths: list[int] = Field(min_length=1)  # tokens; rows are full, without padding
    num_threads: list[int] | None = Field(min_length=1)  # of the processor; null: torch's own
    precision: Literal["fp32", "bf16"]  # of weights and activations
    device: Literal["auto", "cpu", "cuda"]  # auto: the GPU where there is one
    num_repeats: int = Field(ge=2)  # measured pairs per cell
    num_warmup: int = Field(ge=0)  # pairs run before that
