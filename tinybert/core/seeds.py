"""Random numbers of a step by its seed."""

import torch


def seed_step(seed: int) -> None:
    """Do what torch.manual_seed does, for the processor and this process's GPU.

    Where CUDA has not begun, torch.manual_seed keeps each call, with its stack, for when it does:
    2 ms a step, and memory that grows.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
