"""What this machine can do: its matrix rate, measured; and what a process has taken."""

import os
import platform
import resource
import sys
import time
from statistics import median

import torch

SIZES = ((2048, 2048, 2048), (4096, 768, 3072), (4096, 3072, 768))
REPEATS = 5


class MatrixRate:
    """The rate of large matrix products, in floating-point operations a second.

    Machines are shared, so it is measured before and after what is compared with it.

    Args:
        dtype: Of the products.
        device: Where they are made.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype, self.device = dtype, device
        self.rates: list[float] = []
        self.measure()

    def measure(self) -> None:
        """Make some products more."""
        scale = 4 if self.device.type == "cuda" else 1
        for rows, inner, columns in SIZES:
            left = torch.randn(rows * scale, inner, device=self.device).to(self.dtype)
            right = torch.randn(inner, columns * scale, device=self.device).to(self.dtype)
            out = left @ right
            for _ in range(REPEATS):
                wait_for(self.device)
                started = time.perf_counter()
                torch.mm(left, right, out=out)
                wait_for(self.device)
                seconds = time.perf_counter() - started
                self.rates.append(2 * rows * inner * columns * scale**2 / seconds)

    @property
    def best(self) -> float:
        """The highest rate seen: the floor's."""
        return max(self.rates)

    @property
    def usual(self) -> float:
        """The median: what the machine did while others used it too."""
        return median(self.rates)


def wait_for(device: torch.device) -> None:
    """Return once the device has done all that it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gigabytes(device: torch.device) -> float:
    """Return the most memory (10^9 bytes) this process has held: the device's, or resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def describe(device: torch.device) -> dict[str, object]:
    """Name what the figures hold for."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": device.type,
        "name": name,
        "torch": torch.__version__,
        "num_threads": torch.get_num_threads(),
        "num_processors": os.cpu_count(),
    }
