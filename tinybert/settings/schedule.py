"""How long and how fast a phase trains."""

import math
from itertools import product
from typing import Annotated

from pydantic import Field

from tinybert.settings.choices import BatchKind
from tinybert.settings.reader import Settings

BatchSize = Annotated[int, Field(ge=1)]
LearningRate = Annotated[float, Field(gt=0)]


class Schedule(Settings):
    """How long and how fast to train: linear warm-up, then linear decay to 0."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)  # stops earlier than num_epochs where it is smaller
    batch_size: BatchSize  # rows of all processes together; on average where by tokens
    batches: BatchKind = "rows"  # tokens: like lengths, about as many tokens each | rows: the paper
    learning_rate: LearningRate
    warmup_ratio: float = Field(ge=0, lt=1)  # share of the steps
    weight_decay: float = Field(ge=0)

    def num_steps(self, num_batches: int) -> int:
        """Return the optimizer steps that training on an epoch of so many batches takes."""
        steps = max(1, math.ceil(self.num_epochs * num_batches))
        return min(steps, self.max_steps or steps)

    def num_passes(self, num_rows: int) -> float:
        """Return how often training sees a row."""
        by_steps = (self.max_steps or math.inf) * self.batch_size / max(1, num_rows)
        return min(self.num_epochs, by_steps)


class Grid(Settings):
    """Schedules to try; the one with the best dev score is kept."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)
    batch_sizes: list[BatchSize] = Field(min_length=1)
    batches: BatchKind = "rows"
    learning_rates: list[LearningRate] = Field(min_length=1)
    warmup_ratio: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)

    def schedules(self) -> list[Schedule]:
        """Return every pair of batch size and learning rate."""
        shared = self.model_dump(exclude={"batch_sizes", "learning_rates"})
        return [
            Schedule(**shared, batch_size=batch_size, learning_rate=learning_rate)
            for batch_size, learning_rate in product(self.batch_sizes, self.learning_rates)
        ]
