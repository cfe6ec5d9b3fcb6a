"""Random numbers of a step by its seed."""

from hashlib import blake2b

import torch

RANKS = 2**10
STEPS = 2**32


def step_seed(seed: int, step: int, rank: int) -> int:
    """Return a step's seed, of 64 bits, in a process of a run.

    Args:
        seed: The run's, below 2^32.
        step: The number of the step, below 2^32.
        rank: The number of the process, below 2^10.
    """
    number = (seed * STEPS + step) * RANKS + rank
    if number < 2**64:
        return number
    return int.from_bytes(blake2b(number.to_bytes(10), digest_size=8).digest())  # seeds from 2^22


def seed_step(seed: int) -> None:
    """Do what torch.manual_seed does, for the processor and this process's GPU.

    Where CUDA has not begun, torch.manual_seed keeps each call, with its stack, for when it does:
    2 ms a step, and memory that grows.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
