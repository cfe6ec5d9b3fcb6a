"""Tensors of a pass, kept on disk batch by batch: memory stays flat in the number of tokens."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class Spool:
    """Named tensors of numbered batches in a temporary folder, removed with the object.

    Args:
        device: Where tensors are put when they are read again.
    """

    def __init__(self, device: torch.device) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="closed_form_")
        self._device = device

    def put(self, number: int, **tensors: Tensor) -> None:
        """Keep tensors of a batch; those of the same name are replaced."""
        for name, tensor in tensors.items():
            np.save(self._file(number, name), tensor.detach().cpu().numpy())

    def get(self, number: int, name: str) -> Tensor:
        """Return a tensor of a batch."""
        found = np.load(self._file(number, name), allow_pickle=False)
        return torch.from_numpy(found).to(self._device)

    def _file(self, number: int, name: str) -> Path:
        return Path(self._folder.name) / f"{number}_{name}.npy"
