"""What a system's file in params/systems/ may say of each phase."""

from typing import Annotated, Literal

from pydantic import Field

from tinybert.batching import BatchKind
from tinybert.layer_map import LayerMap
from tinybert.projections import Projection
from tinybert.schedule import Schedule
from tinybert.settings import Settings
from tinybert.student import Initialisation, Shape

LayerTerm = Literal["attention", "hidden", "embedding"]
Weight = Annotated[float, Field(ge=0)]
OutputTerm = Literal["prediction", "label"]


class Grid(Settings):
    """Schedules to try; the one with the best dev score is kept."""

    num_epochs: float = Field(gt=0)
    max_steps: int | None = Field(ge=1)
    batch_sizes: list[int] = Field(min_length=1)
    batches: BatchKind = "rows"
    learning_rates: list[float] = Field(min_length=1)
    warmup_ratio: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)

    def schedules(self) -> list[Schedule]:
        """Return every pair of batch size and learning rate."""
        return [
            Schedule(
                num_epochs=self.num_epochs,
                max_steps=self.max_steps,
                batch_size=batch_size,
                batches=self.batches,
                learning_rate=learning_rate,
                warmup_ratio=self.warmup_ratio,
                weight_decay=self.weight_decay,
            )
            for batch_size in self.batch_sizes
            for learning_rate in self.learning_rates
        ]


class LayerPhase(Settings):
    """General or intermediate distillation; no terms: the student passes through."""

    terms: list[LayerTerm]
    weights: dict[LayerTerm, Weight] = Field(default_factory=dict)  # times those of params.yaml


class OutputPhase(Settings):
    """Prediction distillation, or plain fine-tuning by the label term.

    Values left out are the profile's.
    """

    terms: list[OutputTerm]
    data: Literal["augmented", "original"] | None = None  # None: as the task's file says
    num_epochs: float | None = Field(default=None, gt=0)
    max_steps: int | None = Field(default=None, ge=1)
    batch_sizes: list[int] | None = None
    learning_rates: list[float] | None = None

    def grid(self, profile: Grid) -> Grid:
        """Return the profile's grid with this system's own values in it."""
        names = ("num_epochs", "max_steps", "batch_sizes", "learning_rates")
        own = {name: getattr(self, name) for name in names}
        return profile.model_copy(update={k: v for k, v in own.items() if v is not None})


class SystemFile(Settings):
    """A file of params/systems/: one row of the result table."""

    description: str
    shape: Shape
    initialisation: Initialisation
    layer_map: LayerMap
    projection: Projection
    general_distill: LayerPhase
    intermediate_distill: LayerPhase
    prediction_distill: OutputPhase
