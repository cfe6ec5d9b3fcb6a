"""What every subject is told: shapes, data, number format."""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch

from tinybert.runtime.errors import InputError
from tinybert.runtime.precision import autocast_dtype, computing_device


@dataclass(frozen=True)
class Options:
    """Choices of the command line."""

    shapes: str
    glue: Path | None
    corpus: Path | None
    dtype: torch.dtype | None
    steps: int
    out: Path
    graphs: bool = True
    compiled: bool = False

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        return computing_device()

    @property
    def matrix_dtype(self) -> torch.dtype:
        """What matrix products are made in."""
        return self.dtype or torch.float32


def parser() -> argparse.ArgumentParser:
    """Return the options that all subjects share."""
    found = argparse.ArgumentParser(prog="python -m benchmarks")
    found.add_argument("--shapes", choices=["bert", "minilm"], default="bert")
    found.add_argument("--glue", type=Path, help="folder with MRPC, CoLA, ...; else embedded tasks")
    found.add_argument("--corpus", type=Path, help="folder of .txt files; else embedded text")
    found.add_argument("--precision", choices=["auto", "bf16", "fp32"], default="auto")
    found.add_argument("--steps", type=int, default=8, help="measured training steps")
    found.add_argument("--no-graphs", action="store_true", help="launch kernels one by one: CUDA")
    found.add_argument("--compile", action="store_true", help="compiled layers")
    found.add_argument("--out", type=Path, default=Path("reports/benchmarks"))
    return found


def read(given: argparse.Namespace) -> Options:
    """Check the choices.

    Raises:
        InputError: A folder is missing, or there is nothing to measure.
    """
    for name in ("glue", "corpus"):
        folder = getattr(given, name)
        if folder is not None and not folder.exists():
            raise InputError(f"--{name}: no such folder, got {folder}; name one, or leave it out")
    if given.steps < 2:
        raise InputError(f"--steps: at least 2 are needed, got {given.steps}; write --steps 8")
    return Options(
        given.shapes,
        given.glue,
        given.corpus,
        autocast_dtype(given.precision),
        given.steps,
        given.out,
        not given.no_graphs,
        given.compile,
    )
