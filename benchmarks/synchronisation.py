"""A general step in several processes: its throughput, and what sending gradients costs.

OMP_NUM_THREADS=2 python -m benchmarks.synchronisation --shapes minilm
OMP_NUM_THREADS=1 accelerate launch --multi_gpu --num_processes 2 -m benchmarks.synchronisation ...
"""

import time
from statistics import median
from typing import Any

from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks import options, shapes, texts
from benchmarks.options import Options
from benchmarks.training_steps import WARMUP, time_steps
from tinybert.distillation import distillation
from tinybert.distillation.teacher import Teacher
from tinybert.runtime import processes
from tinybert.runtime.processes import num_processes, rank
from tinybert.training import phase_trainer

BATCH_SIZE, LENGTH = 32, 64  # rows of all processes together


class Clock:
    """Sends gradients in every second step only, and times the sums that each step waits for."""

    def __init__(self) -> None:
        self.num_steps, self.waited = 0, [0.0]

    def forward(self, model: Any, *args: Any, **kwargs: Any) -> Any:
        """Begin a step."""
        model.require_backward_grad_sync = self.num_steps % 2 == 0
        self.num_steps += 1
        self.waited.append(0.0)
        return FORWARD(model, *args, **kwargs)

    def sum_over_all(self, values: Tensor) -> Tensor:
        """Sum as the product does; whoever is first waits for the last."""
        started = time.perf_counter()
        total = processes.sum_over_all(values)
        self.waited[-1] += time.perf_counter() - started
        return total


FORWARD: Any = DistributedDataParallel.forward


def measure(chosen: Options) -> dict[str, float]:
    """Train for some steps in this process, one of several; return its figures."""
    clock = Clock()
    for module in (distillation, phase_trainer):
        vars(module)["sum_over_all"] = clock.sum_over_all
    wrapper: Any = DistributedDataParallel
    wrapper.forward = lambda *args, **kwargs: clock.forward(*args, **kwargs)
    teacher = Teacher(shapes.encoder(shapes.configs(chosen.shapes)[0]), chosen.dtype)
    rows = texts.block_rows(chosen, LENGTH, BATCH_SIZE * (chosen.steps + 3))
    steps = time_steps(
        shapes.layer_student(chosen.shapes, teacher), rows, chosen, BATCH_SIZE, "rows"
    )
    seconds, warmup = median(steps.seconds), WARMUP["cpu"]
    found = {"processes": num_processes(), "tokens/s": BATCH_SIZE * LENGTH / seconds}
    if num_processes() > 1:
        sent, kept = (median(steps.seconds[first::2]) for first in (warmup % 2, 1 - warmup % 2))
        found |= {
            "gradients' share of a step": 1 - kept / sent,
            "waiting's share of a step": median(clock.waited[warmup + 1 :]) / seconds,
        }
    return found


def main() -> None:
    """Print the first process's figures."""
    found = measure(options.read(options.parser().parse_args()))
    if rank() == 0:
        print(", ".join(f"{name} {value:.3g}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    main()
