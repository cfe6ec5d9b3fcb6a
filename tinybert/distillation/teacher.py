"""The teacher: a frozen model, or whatever else gives the signals of its passes."""

from collections.abc import Collection
from typing import Protocol

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from tinybert.distillation.pooling import over_units
from tinybert.encoders.signals import (
    Signals,
    compile_layers,
    read_signals,
    record_attention,
    record_relations,
)
from tinybert.text.batching import Batch, teachers_batch


class TeacherSignals(Protocol):
    """What gives a teacher's signals: a model, or what was stored of its one pass."""

    @property
    def config(self) -> PreTrainedConfig:
        """The teacher's."""

    def record_attention(self) -> None:
        """Prepare for queries and keys to be asked for."""

    def record_relations(self) -> int:
        """Prepare for relations to be asked for; return how wide queries, keys and values are."""

    def compile_layers(self) -> None:
        """Let torch.compile make kernels for the passes that are still to come."""

    def signals(
        self,
        batch: Batch,
        *,
        attention: Collection[int] = (),
        hidden: bool = False,
        relations: Collection[int] = (),
    ) -> Signals:
        """Return what `signals.read_signals` does, over units where the batch has them."""


class Teacher:
    """A frozen model: in eval mode, without gradients, no part of what is trained or saved.

    Args:
        model: The pretrained or fine-tuned model.
        dtype: Its weights' dtype; None leaves float32.
    """

    def __init__(self, model: PreTrainedModel, dtype: torch.dtype | None = None) -> None:
        self.model = model.eval().requires_grad_(False)
        if dtype is not None:
            self.model.to(dtype)

    @property
    def config(self) -> PreTrainedConfig:
        """The model's."""
        return self.model.config

    def record_attention(self) -> None:
        """Prepare for queries and keys to be asked for."""
        record_attention(self.model)

    def record_relations(self) -> int:
        """Prepare for relations to be asked for; return how wide queries, keys and values are."""
        return record_relations(self.model)

    def compile_layers(self) -> None:
        """Let torch.compile make kernels for each layer."""
        compile_layers(self.model)

    def signals(
        self,
        batch: Batch,
        *,
        attention: Collection[int] = (),
        hidden: bool = False,
        relations: Collection[int] = (),
    ) -> Signals:
        """Run the teacher on the batch's device, without gradients; see `TeacherSignals`."""
        device = batch["input_ids"].device
        if self.model.device != device:
            self.model.to(device)
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            signals = read_signals(
                self.model,
                teachers_batch(batch),
                attention=attention,
                hidden=hidden,
                relations=relations,
            )
        return over_units(signals, batch)
