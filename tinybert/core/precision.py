"""Choose the number format of matrix products."""

import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # imported late, since settings are checked without it
    import torch

Precision = Literal["auto", "bf16", "fp32"]


def autocast_dtype(precision: Precision) -> "torch.dtype | None":
    """Return the dtype to autocast to, or None for float32.

    "auto" takes bfloat16 where the processor computes in it: on CUDA since Ampere, on CPUs with
    AVX-512 BF16 or AMX. Elsewhere bfloat16 on a CPU is emulated and slower than float32.
    """
    if precision == "fp32":
        return None
    import torch

    if precision == "bf16" or _computes_in_bf16():
        return torch.bfloat16
    return None


def _computes_in_bf16() -> bool:
    import torch

    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in probes)


def computing_device() -> "torch.device":
    """Return the device that models compute on: CUDA's first, or this process's, else the CPU."""
    import torch

    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def reads_at_once(device: "torch.device") -> bool:
    """Return whether a value on a device can be read without waiting for what it has to do yet."""
    return device.type == "cpu"
