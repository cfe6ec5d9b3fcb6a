"""A step without this project's levers, for comparison in the same run.

Rows are padded to full length, both models make attention maps, the teacher runs in every phase,
all in float32.
"""

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from transformers import PreTrainedModel

from benchmarks import shapes
from benchmarks.machine import wait_for
from benchmarks.options import Options
from tinybert.text.batching import Batch, collate
from tinybert.text.encoded import EncodedRows, Row

REPEATS = 3


def padded_batch(rows: EncodedRows, batch_size: int, length: int) -> Batch:
    """Return the first rows, padded to the full length."""
    return padded([rows[number % len(rows)] for number in range(batch_size)], length)


def padded(rows: Sequence[Row], length: int) -> Batch:
    """Return rows as a batch in which each has as many tokens."""
    batch = collate(rows, 0)
    short = length - batch["input_ids"].shape[1]
    names = ("input_ids", "attention_mask", "token_type_ids")
    return {name: F.pad(batch[name], (0, short)) for name in names}


def seconds_per_step(
    options: Options, rows: EncodedRows, batch_size: int, length: int, *, matches_layers: bool
) -> float:
    """Return the median time of a step; arguments as for `step_of`."""
    step = step_of(options, rows, batch_size, length, matches_layers=matches_layers)
    times = []
    for _ in range(REPEATS + 1):
        wait_for(options.device)
        started = time.perf_counter()
        step()
        wait_for(options.device)
        times.append(time.perf_counter() - started)
    return median(times[1:])


def step_of(
    options: Options,
    rows: EncodedRows,
    batch_size: int,
    length: int,
    *,
    matches_layers: bool,
    foreach: bool | None = None,
) -> Callable[[], None]:
    """Return a function that takes a step, always on the same rows.

    Args:
        options: Whose shapes and device are taken.
        rows: Of which the first ones are taken.
        batch_size: Rows of a step.
        length: Tokens that each row is padded to.
        matches_layers: Or else logits.
        foreach: Of AdamW, which torch takes on a GPU if nothing is said.
    """
    device, make = options.device, shapes.encoder if matches_layers else shapes.classifier
    layers = shapes.uniform_layers(options.shapes) if matches_layers else []
    teacher, student = map(make, shapes.configs(options.shapes))
    for model in (student, teacher):
        model.set_attn_implementation("eager")
        model.to(device)
    batch = {key: of.to(device) for key, of in padded_batch(rows, batch_size, length).items()}
    widths = (student.config.hidden_size, teacher.config.hidden_size)
    heads = nn.ModuleList(nn.Linear(*widths) for _ in range(len(layers) + 1)).to(device)
    weights = [*student.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-4, foreach=foreach)

    def step() -> None:
        loss = _loss(student.train(), teacher.eval(), layers, batch, heads)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def _loss(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    layers: list[int],
    batch: dict[str, Tensor],
    heads: nn.ModuleList,
) -> Tensor:
    maps = {"output_attentions": True, "output_hidden_states": True}
    with torch.no_grad():
        theirs = teacher(**batch, **maps)
    ours = student(**batch, **maps)
    if not layers:
        return -(F.softmax(theirs.logits, -1) * F.log_softmax(ours.logits, -1)).sum(-1).mean()
    pairs = [(0, 0), *enumerate(layers, start=1)]
    hidden = [
        F.mse_loss(heads[m](ours.hidden_states[m]), theirs.hidden_states[n]) for m, n in pairs
    ]
    maps_ = [F.mse_loss(ours.attentions[m - 1], theirs.attentions[n - 1]) for m, n in pairs[1:]]
    return torch.stack([*hidden, *maps_]).sum()
