"""A teacher's pass as a CUDA graph: captured once for each shape of a batch, replayed by one call.

A pass of BERT-base is some 160 kernels, and a GPU waits for the host to launch them where a batch
is small. Off unless asked for: what is around the capture is tested on a CPU, the capture on none.
"""

from collections.abc import Callable, Hashable
from typing import NamedTuple

import torch

from tinybert.encoders.signals import Signals
from tinybert.text.batching import Batch

READ = ("input_ids", "attention_mask", "token_type_ids")  # of a batch, by a pass
MAX_SHAPES = 32  # each holds the signals of its shape
WARM_UP = 3  # passes before a capture, in which libraries choose and allocate

Pass = Callable[[Batch], Signals]


class Captured(NamedTuple):
    """A pass that can be made again.

    Attributes:
        inputs: Where it reads its batch.
        signals: Where it leaves what it found; the next replay writes over it.
        replay: Makes it.
    """

    inputs: Batch
    signals: Signals
    replay: Callable[[], None]


class PassGraphs:
    """The captured passes of one teacher, by shape and by what is read.

    Args:
        capture: Makes a pass one that can be made again.
    """

    def __init__(self, capture: Callable[[Pass, Batch], Captured] | None = None) -> None:
        self.capture, self.captured = capture or capture_on_cuda, dict[Hashable, Captured]()

    def signals(self, run: Pass, batch: Batch, read: Hashable) -> Signals:
        """Return what `run` does; it holds until the next call.

        Args:
            run: The pass.
            batch: Of any shape; beyond so many shapes `run` is simply called.
            read: What it reads; another capture for each.
        """
        key = (batch["input_ids"].shape, read)
        if key not in self.captured:
            if len(self.captured) >= MAX_SHAPES:
                return run(batch)
            inputs = {name: batch[name].clone() for name in READ if name in batch}
            self.captured[key] = self.capture(run, inputs)
        found = self.captured[key]
        for name, value in found.inputs.items():
            value.copy_(batch[name])
        found.replay()
        return found.signals


def capture_on_cuda(run: Pass, inputs: Batch) -> Captured:
    """Capture a pass over inputs that stay where they are."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(WARM_UP):
            run(inputs)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        signals = run(inputs)
    return Captured(inputs, signals, graph.replay)
