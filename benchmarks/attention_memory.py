"""Memory of the attention and relation losses against row length, without maps of scores.

Each case is the most that tensors hold while the loss and its gradient are computed, for the same
number of tokens: what does not grow with L^2 stays flat. Beside them the attention loss with maps.
"""

import time

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import shapes
from benchmarks.machine import wait_for
from benchmarks.options import Options
from benchmarks.result import Result
from tinybert.distillation.losses import attention_loss, relations_loss
from tinybert.encoders.signals import QueryKey, QueryKeyValue

LENGTHS = (64, 128, 256, 512)
TOKENS, HEADS = 4096, 12


def measure(options: Options) -> list[Result]:
    """Measure 4,096 tokens in rows of four lengths."""
    results = []
    for length in LENGTHS:
        for case, loss in (
            ("without maps", attention_loss),
            ("with maps", _with_maps),
            ("relations", _relations),
        ):
            seconds, gigabytes = _measure(options, length, loss)
            results.append(
                Result(
                    "attention_memory",
                    f"{options.shapes} {TOKENS // length}x{length} {case}",
                    seconds,
                    tokens=TOKENS,
                    examples=TOKENS // length,
                    peak_gigabytes=gigabytes,
                )
            )
    return results


def _with_maps(attention_S: QueryKey, attention_T: QueryKey, mask: torch.Tensor) -> torch.Tensor:
    scores = [x.query @ x.key.mT * x.scaling for x in (attention_S, attention_T)]
    pairs = mask[:, None, :, None] & mask[:, None, None, :]
    difference = torch.where(pairs, scores[0] - scores[1], 0.0)
    return difference.square().sum() / (HEADS * pairs.sum())


def _relations(attention_S: QueryKey, attention_T: QueryKey, mask: torch.Tensor) -> torch.Tensor:
    """Return the relation loss, the keys standing for the values too."""
    joined = (
        [x.transpose(1, 2).flatten(2) for x in (of.query, of.key, of.key)]
        for of in (attention_S, attention_T)
    )
    ours, theirs = (QueryKeyValue(*parts) for parts in joined)
    return relations_loss(ours, theirs, mask, HEADS)


def _measure(options: Options, length: int, loss: object) -> tuple[float, float]:
    rows = TOKENS // length
    mask = torch.ones(rows, length, dtype=torch.bool, device=options.device)
    made = []
    for config in reversed(shapes.configs(options.shapes)):
        width = config.hidden_size // HEADS
        query, key = torch.randn(2, rows, HEADS, length, width, device=options.device)
        made.append(QueryKey(query, key, width**-0.5))
    student, teacher = made
    student.query.requires_grad_()
    student.key.requires_grad_()

    def step() -> None:
        loss(student, teacher, mask).backward()  # type: ignore[operator]
        student.query.grad = student.key.grad = None

    step()
    wait_for(options.device)
    started = time.perf_counter()
    step()
    wait_for(options.device)
    seconds = time.perf_counter() - started
    return seconds, _peak(options.device, step) / 1e9


def _peak(device: torch.device, step: object) -> int:
    """Return the most bytes that tensors of the step hold at once."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()  # type: ignore[operator]
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()  # type: ignore[operator]
    held = most = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most
