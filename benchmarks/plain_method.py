"""The authors' training as plainly written, to be measured beside ours; no code of theirs.

As their code does (huawei-noah/Pretrained-Language-Model, TinyBERT/, commit 0598f02): rows padded
to full length, float32, maps of attention scores, padded places compared, scores of masked keys
told by a threshold, dropout left on in the teacher, which runs in every step and keeps its graph in
the general phase, the soft cross-entropy divided by the number of classes.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel, get_linear_schedule_with_warmup

from benchmarks.plain_step import padded
from tinybert.distillation.projections import Projections
from tinybert.encoders.signals import QueryKey, Signals, read_signals, record_attention
from tinybert.text.batching import Batch
from tinybert.text.encoded import Rows

WARMUP = 0.1  # share of the steps
MASKED = -1e4  # added to the scores of padded keys
THRESHOLD = -1e2  # below which their code takes a score for a masked one


class PlainLayers(nn.Module):
    """A student that matches a teacher's layers; its forward pass gives the loss.

    Args:
        student: An encoder.
        teacher: An encoder, or a classifier on one, whose dropout is on.
        layers: [g(1), ..., g(M)].
        keeps_graph: Whether the teacher's graph is kept.
    """

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel,
        layers: Sequence[int],
        keeps_graph: bool,
    ) -> None:
        super().__init__()
        self.student, self.layers, self.keeps_graph = student, list(layers), keeps_graph
        self._teacher = (teacher,)
        widths = (student.config.hidden_size, teacher.config.hidden_size)
        self.projections = Projections(len(self.layers), *widths, kind="per_layer")
        for model in (student, teacher):
            record_attention(model)

    def forward(self, batch: Batch) -> Tensor:
        """Return the sum over layers of the errors of scores and hidden states."""
        with torch.set_grad_enabled(self.keeps_graph):
            theirs = read_signals(
                self._teacher[0].train(), batch, attention=self.layers, hidden=True
            )
        ours = read_signals(
            self.student, batch, attention=range(1, len(self.layers) + 1), hidden=True
        )
        mask = batch["attention_mask"].bool()
        pairs = list(enumerate(self.layers, start=1))
        return torch.stack(
            [
                *(_scores_error(ours.attention[m], theirs.attention[n], mask) for m, n in pairs),
                *(self._hidden_error(ours, theirs, m, n) for m, n in pairs),
                F.mse_loss(self.projections.embedding(ours.hidden[0]), theirs.hidden[0]),
            ]
        ).sum()

    def _hidden_error(self, ours: Signals, theirs: Signals, m: int, n: int) -> Tensor:
        return F.mse_loss(self.projections.hidden(m, ours.hidden[m]), theirs.hidden[n])


def _scores_error(ours: QueryKey, theirs: QueryKey, mask_BL: Tensor) -> Tensor:
    def scores(of: QueryKey) -> Tensor:
        found = of.query @ of.key.mT * of.scaling + (~mask_BL)[:, None, None, :] * MASKED
        return torch.where(found <= THRESHOLD, 0.0, found)

    return F.mse_loss(scores(ours), scores(theirs))


class PlainPrediction(nn.Module):
    """A classifier that matches its teacher's probabilities, the teacher in every step.

    Args:
        student: A classifier.
        teacher: A classifier, whose dropout is on.
    """

    def __init__(self, student: PreTrainedModel, teacher: PreTrainedModel) -> None:
        super().__init__()
        self.student = student
        self._teacher = (teacher,)

    def forward(self, batch: Batch) -> Tensor:
        """Return the soft cross-entropy, divided by the number of classes too."""
        with torch.no_grad():
            theirs = read_signals(self._teacher[0].train(), batch).logits
        ours = read_signals(self.student, batch).logits
        assert ours is not None
        assert theirs is not None
        return -(F.softmax(theirs, -1) * F.log_softmax(ours, -1)).mean()


def train_plainly(
    model: nn.Module,
    rows: Rows,
    num_steps: int,
    learning_rate: float,
    length: int,
    batch_size: int,
    seed: int,
) -> None:
    """Train for some steps on shuffled batches, each row padded to full length.

    Args:
        model: Its forward pass gives the loss of a batch.
        rows: Training rows.
        num_steps: How many.
        learning_rate: At its height, after a tenth of the steps; it falls to 0 at the end.
        length: Tokens of each row with its padding.
        batch_size: Rows of a step.
        seed: Of the order.
    """
    torch.manual_seed(seed)
    order = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    warmup = int(WARMUP * num_steps)
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, num_steps)
    model.train()
    for _ in range(num_steps):
        chosen = order.choice(len(rows), batch_size, replace=len(rows) < batch_size)
        loss = model(padded([rows[int(row)] for row in chosen], length))
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
