"""What this machine can do at most: its matrix rate, measured; and what a process has taken."""

import os
import platform
import resource
import sys
import time

import torch

SIZES = ((2048, 2048, 2048), (4096, 768, 3072), (4096, 3072, 768))
REPEATS = 5


def matrix_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Return the best rate of large matrix products, in floating-point operations a second."""
    scale = 4 if device.type == "cuda" else 1
    best = 0.0
    for rows, inner, columns in SIZES:
        left = torch.randn(rows * scale, inner, device=device).to(dtype)
        right = torch.randn(inner, columns * scale, device=device).to(dtype)
        out = left @ right
        for _ in range(REPEATS):
            wait_for(device)
            started = time.perf_counter()
            torch.mm(left, right, out=out)
            wait_for(device)
            seconds = time.perf_counter() - started
            best = max(best, 2 * rows * inner * columns * scale**2 / seconds)
    return best


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
