"""Pooler and classifier of a fitted student, by ridge from its [CLS] states."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tinybert.closed_form.equations import principal_basis
from tinybert.closed_form.fit import Unexplained
from tinybert.closed_form.moments import Moments
from tinybert.closed_form.parts import head_layer, recorded
from tinybert.closed_form.signals import batches_for
from tinybert.encoders.signals import read_signals
from tinybert.text.encoded import Rows

RIDGE = 1e-2  # of the mean diagonal: there are only as many rows as texts
POOLED_DEVIATION = 0.5  # of the pooled state before tanh, which it leaves nearly linear


class HeadTargets(NamedTuple):
    """What a teacher's head makes of some texts, in the order of `batches_for`.

    Attributes:
        rows: The texts.
        pooled: Pooled states before their activation, shape (rows, D).
        logits: Shape (rows, outputs).
    """

    rows: Rows
    pooled: Tensor
    logits: Tensor


def head_targets(teacher: PreTrainedModel, rows: Rows) -> HeadTargets:
    """Run a fine-tuned classifier, in eval mode, over some texts."""
    pooled, logits = [], []
    with torch.no_grad(), recorded({"pooled": head_layer(teacher)}) as found:
        for batch in batches_for(teacher, rows):
            scored = read_signals(teacher, batch).logits
            assert scored is not None
            theirs = found["pooled"]
            pooled.append(theirs if theirs.dim() == 2 else theirs[:, 0])
            logits.append(scored)
    return HeadTargets(rows, torch.cat(pooled), torch.cat(logits))


def fit_head(student: PreTrainedModel, targets: HeadTargets, seed: int) -> list[Unexplained]:
    """Fit pooler and classifier, in place, to the teacher's pooled state and logits.

    The pooler's target is the teacher's pooled state before its activation, centred, in its
    leading directions under a random rotation; then the classifier from the student's own pooled
    state to the teacher's logits.

    Args:
        student: A BERT classifier with a fitted encoder, on the device of the targets.
        targets: The teacher's.
        seed: Of the rotation.
    """
    ours: Any = student
    last, states = student.config.num_hidden_layers, []
    with torch.no_grad():
        for batch in batches_for(student, targets.rows):
            states.append(read_signals(student.base_model, batch, hidden=True).hidden[last][:, 0])
    target, state = targets.pooled.double(), torch.cat(states)
    target = target - target.mean(0)
    width = state.shape[1]
    generator = torch.Generator().manual_seed(seed)
    basis = principal_basis(target.mT @ target / len(target), width, generator)
    target = target @ basis
    target = target * POOLED_DEVIATION / target.std().clamp(min=1e-12)
    to_pooled = Moments(width, width, state.device)
    to_pooled.add(state, target)
    pooler = to_pooled.ridge(RIDGE)
    pooler.put_into(ours.base_model.pooler.dense)
    with torch.no_grad():
        activated = torch.tanh(ours.base_model.pooler.dense(state))
    to_logits = Moments(width, targets.logits.shape[1], state.device)
    to_logits.add(activated, targets.logits)
    classifier = to_logits.ridge(RIDGE)
    classifier.put_into(ours.classifier)
    return [
        Unexplained(last + 1, "pooled", pooler.unexplained),
        Unexplained(last + 1, "logits", classifier.unexplained),
    ]
