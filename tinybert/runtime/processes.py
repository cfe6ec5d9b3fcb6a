"""Several processes that train one model together: who is first, and sums over all of them.

`accelerate launch` and `torchrun` say it in the environment; without them there is one process and
nothing here costs anything. torch is imported late, for the stages that need none.
"""

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Loaded here: between fork and exec nothing may be.
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Ask Linux to end this process when its parent dies, lest a second run starts beside it.

    Args:
        parent: The parent's number when this process began: it may have died since.
    """
    if LIBC is not None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            signal.raise_signal(signal.SIGTERM)


def num_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def rank() -> int:
    """Return this process's number, 0 for the one that writes and prints."""
    return int(os.environ.get("RANK", "0"))


def num_processes() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def wait_for_all() -> None:
    """Return once every process has come here."""
    if num_processes() > 1:
        import torch.distributed as dist

        dist.barrier()


def sum_over_all(values: "Tensor") -> "Tensor":
    """Return the sum of a tensor over all processes."""
    if num_processes() == 1:
        return values
    import torch.distributed as dist

    total = values.detach().clone()
    dist.all_reduce(total)
    return total


def of_the_first(values: dict[str, float]) -> dict[str, float]:
    """Return the first process's values, in every process."""
    if num_processes() == 1:
        return values
    import torch.distributed as dist

    holder = [values]
    dist.broadcast_object_list(holder, src=0)
    return holder[0]


def shares(counts: "Tensor", totals: "Tensor", num_parts: int) -> "Tensor":
    """Return the factors that turn means over parts into means over the whole.

    Gradients and logged values are averaged over processes, each counting the same. A part's mean
    times its factor, so averaged, is the mean over all that was counted.

    Args:
        counts: What this part's means are taken over, one number per mean.
        totals: The sums of the counts over the parts.
        num_parts: The number of parts.
    """
    return (counts.double() * num_parts / totals.double()).float()
