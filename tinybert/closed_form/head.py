"""The head of a fitted student, by ridge: from its [CLS] states, or from those of its words."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN

from tinybert.closed_form.equations import principal_basis
from tinybert.closed_form.fit import Unexplained
from tinybert.closed_form.moments import Moments
from tinybert.closed_form.parts import head_layer, recorded
from tinybert.closed_form.signals import BATCH_TOKENS, batches_for
from tinybert.encoders.layers import last_layer
from tinybert.encoders.signals import read_signals
from tinybert.settings.heads import HEADS_OF, kind_of_head
from tinybert.text.batching import Batch, sorted_batches
from tinybert.text.encoded import SCORED, Rows

RIDGE = 1e-2  # of the mean diagonal: there are only as many rows as texts
POOLED_DEVIATION = 0.5  # of the pooled state before its activation, which it leaves nearly linear
LINEAR_AT = {"tanh": 0.0, "gelu": 2.0}  # where an activation is most so


class HeadTargets(NamedTuple):
    """What a teacher's head makes of some texts, in the order of `batches_for`.

    Attributes:
        rows: The texts.
        pooled: Pooled states before their activation, shape (rows, D); None where tokens have
            logits.
        logits: Shape (rows, outputs), or those of the tokens that count, shape (words, outputs).
    """

    rows: Rows
    pooled: Tensor | None
    logits: Tensor

    def of(self, rows: Rows) -> "HeadTargets":
        """Return the targets, a value a row, of the same texts in other tokens."""
        theirs, ours = (
            np.concatenate(sorted_batches(each, BATCH_TOKENS)) for each in (self.rows, rows)
        )
        places = torch.from_numpy(np.argsort(theirs)[ours]).to(self.logits.device)
        pooled = None if self.pooled is None else self.pooled[places]
        return HeadTargets(rows, pooled, self.logits[places])


HEADS = ("classifier", "qa_outputs")


def has_head(model: PreTrainedModel) -> bool:
    """Return whether a model has a task's head; a bare encoder has none."""
    return any(hasattr(model, name) for name in HEADS)


def labels_tokens(model: PreTrainedModel) -> bool:
    """Return whether each token has logits."""
    return kind_of_head([type(model).__name__]) in HEADS_OF


def counting(batch: Batch) -> Tensor:
    """Return which tokens' logits count, shape (batch, tokens): those of `SCORED`, or all."""
    return batch[SCORED] if SCORED in batch else batch["attention_mask"].bool()


def head_targets(teacher: PreTrainedModel, rows: Rows) -> HeadTargets:
    """Run a fine-tuned model, in eval mode, over some texts."""
    pooled, logits = [], []
    if labels_tokens(teacher):
        with torch.no_grad():
            for batch in batches_for(teacher, rows):
                scored = read_signals(teacher, batch).logits
                assert scored is not None
                logits.append(scored[counting(batch)])
        return HeadTargets(rows, None, torch.cat(logits))
    with torch.no_grad(), recorded({"pooled": head_layer(teacher)}, teacher) as found:
        for batch in batches_for(teacher, rows):
            scored = read_signals(teacher, batch).logits
            assert scored is not None
            theirs = found["pooled"]
            pooled.append(theirs if theirs.dim() == 2 else theirs[:, 0])
            logits.append(scored)
    return HeadTargets(rows, torch.cat(pooled), torch.cat(logits))


def head_targets_of(
    teacher: PreTrainedModel, rows: Rows, first: Tensor, logits: Tensor
) -> HeadTargets:
    """Return what `head_targets` does, from a pass that was made before.

    Args:
        teacher: A fine-tuned model with logits a row.
        rows: The texts.
        first: The last layer's state of each one's first token, shape (rows, D).
        logits: Shape (rows, outputs).
    """
    order = torch.from_numpy(np.concatenate(sorted_batches(rows, BATCH_TOKENS)))
    first, logits = (of[order].to(teacher.device) for of in (first, logits))
    with torch.no_grad():
        return HeadTargets(rows, head_layer(teacher)(first), logits)


def fit_head(student: PreTrainedModel, targets: HeadTargets, seed: int) -> list[Unexplained]:
    """Fit a head, in place, to the teacher's logits, and a pooler before it to its pooled state.

    The pooler's target is the teacher's pooled state before its activation, centred, in its
    leading directions under a random rotation; then the classifier from the student's own pooled
    state to the teacher's logits. Where tokens have logits there is no pooler: the head is fitted
    from the states of the tokens that count.

    Args:
        student: A BERT model with a head, and with a fitted encoder, on the device of the targets.
        targets: The teacher's.
        seed: Of the rotation.
    """
    last, states = student.config.num_hidden_layers, []
    if targets.pooled is None:
        with torch.no_grad():
            for batch in batches_for(student, targets.rows):
                state = read_signals(student.base_model, batch, hidden=True).hidden[last]
                states.append(state[counting(batch)])
        head = _fitted(last_layer(student), torch.cat(states), targets.logits)
        return [Unexplained(last + 1, "logits", head)]
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
    # ELECTRA's, or BERT's pooler.
    act = "gelu" if hasattr(student.classifier, "out_proj") else "tanh"
    to_pooled, dense = Moments(width, width, state.device), head_layer(student)
    to_pooled.add(state, target + LINEAR_AT[act])
    pooler = to_pooled.ridge(RIDGE, "pooled")
    pooler.put_into(dense)
    with torch.no_grad():
        activated = ACT2FN[act](dense(state))
    logits = _fitted(last_layer(student), activated, targets.logits)
    return [
        Unexplained(last + 1, "pooled", pooler.unexplained),
        Unexplained(last + 1, "logits", logits),
    ]


def _fitted(head: nn.Linear, states: Tensor, logits: Tensor) -> float:
    """Fit a linear head, in place; return the unexplained share."""
    to_logits = Moments(states.shape[1], logits.shape[1], states.device)
    to_logits.add(states, logits)
    found = to_logits.ridge(RIDGE, "logits")
    found.put_into(head)
    return found.unexplained
