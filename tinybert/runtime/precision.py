"""Choose the number format of matrix products."""

import os
import time
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # imported late, since settings are checked without it
    import torch

Precision = Literal["auto", "bf16", "fp32"]

WORTH_IT = 1.2  # times as fast as float32
PRODUCT, ROUNDS = 512, 15  # rows and columns; the least of so many times counts


def autocast_dtype(precision: Precision) -> "torch.dtype | None":
    """Return the dtype to autocast to, or None for float32.

    "auto" takes bfloat16 on CUDA since Ampere, and on CPUs that have AVX-512 BF16 or AMX and
    multiply at least WORTH_IT times as fast with it. Elsewhere bfloat16 is emulated, and some
    processors have the instruction at half of float32's rate (Sapphire Rapids without its tiles).
    """
    if precision == "fp32":
        return None
    import torch

    return torch.bfloat16 if precision == "bf16" or _bf16_pays() else None


@cache
def _bf16_pays() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    if not any(bool(getattr(torch.cpu, name, bool)()) for name in probes):
        return False
    float32, bfloat16 = _seconds([torch.float32, torch.bfloat16])
    return float32 >= WORTH_IT * bfloat16


def _seconds(dtypes: "Sequence[torch.dtype]") -> list[float]:
    """Return the least time that a product of matrices took in each; draw no random numbers.

    Formats take turns: the first products wait for threads that begin.
    """
    import torch

    least = [float("inf")] * len(dtypes)
    matrices = [torch.ones(PRODUCT, PRODUCT, dtype=dtype) for dtype in dtypes]
    for _ in range(ROUNDS):
        for of, matrix in enumerate(matrices):
            begun = time.perf_counter()
            torch.nn.functional.linear(matrix, matrix)
            least[of] = min(least[of], time.perf_counter() - begun)
    return least


def computing_device() -> "torch.device":
    """Return the device that models compute on: CUDA's first, or this process's, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def reads_at_once(device: "torch.device") -> bool:
    """Return whether a value on a device can be read without waiting for what it has to do yet."""
    return device.type == "cpu"
