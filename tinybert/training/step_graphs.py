"""A step's forward and backward pass as a CUDA graph: captured once for each shape, then replayed.

A step of BERT-base to TinyBERT4 is some 600 kernels, which a GPU runs faster than a host launches
them where a batch is small. A graph is launched by one call.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tinybert.runtime.seeds import seed_step
from tinybert.text.batching import Batch

MAX_SHAPES = 64
TOLERANCE = 0.02  # share of the norm by which bfloat16 may differ from itself
WARM_UP = 3  # passes before a capture, in which libraries choose and allocate

Passes = Callable[[Batch], Tensor]
Replay = Callable[[], None]
# Runs the first some times, then makes the second one that can be run again.
Capture = Callable[[Callable[[], None], Callable[[], Tensor]], tuple[Tensor, Replay]]


class Captured(NamedTuple):
    """Passes that can be made again.

    Attributes:
        inputs: Where they read their batch.
        values: Where they leave what they return; the next replay writes over it.
        replay: Makes them.
    """

    inputs: Batch
    values: Tensor
    replay: Replay


class StepGraphs:
    """The captured passes of one training, by the shapes of a batch.

    All graphs leave gradients in the same tensors, which an optimizer's step reads.

    Args:
        weights: What is trained.
        capture: Of a device.
    """

    def __init__(self, weights: Sequence[nn.Parameter], capture: Capture | None = None) -> None:
        self.weights, self.capture = list(weights), capture or CudaCapture()
        self.captured: dict[tuple[tuple[str, torch.Size], ...], Captured] = {}
        self.gradients: dict[nn.Parameter, Tensor] = {}

    def run(self, passes: Passes, batch: Batch, seed: int) -> Tensor:
        """Do what `passes` does, with a step's random numbers; what comes out holds until the next.

        Args:
            passes: Forward and backward, from weights without gradients; what it returns must be
                alike in shape for all batches, and nothing in it may be read by the host.
            batch: Of any shape; beyond MAX_SHAPES of them `passes` is simply called.
            seed: Of the step.
        """
        key = tuple((name, of.shape) for name, of in batch.items())
        if key not in self.captured:
            if len(self.captured) == MAX_SHAPES:
                seed_step(seed)
                return passes(batch)
            self.captured[key] = self._captured(passes, batch, seed)
        found = self.captured[key]
        for name, value in found.inputs.items():
            value.copy_(batch[name], non_blocking=True)
        seed_step(seed)
        found.replay()
        self._attach()
        return found.values

    def _captured(self, passes: Passes, batch: Batch, seed: int) -> Captured:
        inputs, expected = {name: of.clone() for name, of in batch.items()}, list[Tensor]()

        def warm_up() -> None:
            for weight in self.weights:
                weight.grad = None
            seed_step(seed)
            values = passes(inputs)
            of = {weight: weight.grad for weight in self.weights}
            found = {weight: grad for weight, grad in of.items() if grad is not None}
            expected[:] = [values, *found.values()]
            if not self.gradients:  # a pooler has no part in a layer's term
                self.gradients = {weight: grad.clone() for weight, grad in found.items()}

        def run() -> Tensor:
            torch._foreach_zero_(list(self.gradients.values()))
            self._attach()
            return passes(inputs)

        values, replay = self.capture(warm_up, run)
        seed_step(seed)
        replay()
        require_alike("loss", [values], expected[:1])
        require_alike("gradients", list(self.gradients.values()), expected[1:])
        return Captured(inputs, values, replay)

    def _attach(self) -> None:
        for weight, gradient in self.gradients.items():
            weight.grad = gradient


def require_alike(what: str, found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Check that a replay left what the passes gave, but for the order of their sums.

    Raises:
        RuntimeError: It did not.
    """
    if [of.shape for of in found] != [of.shape for of in expected]:
        raise RuntimeError(f"a replay leaves other {what} than a plain pass")
    pairs = list(zip(found, expected, strict=True))
    off = sum(float((ours - theirs).double().square().sum()) for ours, theirs in pairs)
    whole = sum(float(theirs.double().square().sum()) for theirs in expected)
    if not math.sqrt(off) <= TOLERANCE * math.sqrt(whole):
        share = math.sqrt(off / whole) if whole else math.inf
        raise RuntimeError(f"a replay's {what} differ from a plain pass's by {share:.1%}")


class CudaCapture:
    """Captures on CUDA; all graphs share one pool of memory, since no two run at once."""

    def __init__(self) -> None:
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(
        self, warm_up: Callable[[], None], run: Callable[[], Tensor]
    ) -> tuple[Tensor, Replay]:
        """Return what the passes return, and their replay; see `Capture`."""
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                warm_up()
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
            values = run()
        return values, graph.replay
