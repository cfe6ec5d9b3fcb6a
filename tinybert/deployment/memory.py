"""How much memory a process needs that does nothing but run a classifier.

python -m tinybert.deployment.memory ENGINE PATH ROWS TOKENS DEVICE

Prints MB of 10^6 bytes. A process of its own for each engine: what one has loaded cannot be told
apart from what another has. ONNX is run without PyTorch, as in service.
"""

import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tinybert.runtime.errors import InputError

STATUS = Path("/proc/self/status")
ROOT = Path(__file__).parents[2]  # where the package lies, whatever the working directory


def peak_megabytes(
    engines: Mapping[str, tuple[str, Path]], rows: int, tokens: int, device: str
) -> dict[str, float]:
    """Run each engine on one batch in a process of its own, all at the same time.

    Args:
        engines: By a name of its own each: an `EngineName`, and the checkpoint's folder or the
            ONNX file.
        rows: Of the batch.
        tokens: Of each row.
        device: `cpu`, or `cuda`: then the GPU's memory is what counts, weights included.

    Raises:
        InputError: A process failed; its last line.
    """
    command = [sys.executable, "-m", "tinybert.deployment.memory"]
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    running = {
        name: subprocess.Popen(
            [*command, engine, str(path), str(rows), str(tokens), device],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": paths},
        )
        for name, (engine, path) in engines.items()
    }
    found = {}
    try:
        for name, process in running.items():
            out, errors = process.communicate()
            if process.returncode:
                said = (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
                raise InputError(
                    f"memory of {name}: its process failed, got {said}; it needs the memory of one "
                    "more model, and files that nobody changes meanwhile"
                )
            found[name] = float(out)
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    return found


def _run_torch(engine: str, folder: Path, rows: int, tokens: int, device: str) -> float | None:
    import torch

    from tinybert.deployment.engines import torch_engine
    from tinybert.encoders.checkpoints import load_classifier

    model = load_classifier(folder)
    made = torch_engine(model, engine, torch.device(device))  # type: ignore[arg-type]
    del model
    ids = torch.ones(rows, tokens, dtype=torch.int64)
    made.run(made.prepare({"input_ids": ids, "attention_mask": torch.ones_like(ids)}))
    return torch.cuda.max_memory_allocated() / 1e6 if device == "cuda" else None


def _run_onnx(file: Path, rows: int, tokens: int) -> None:
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    ones = np.ones((rows, tokens), dtype=np.int64)
    session.run(None, {each.name: ones for each in session.get_inputs()})


def _own_peak() -> float:
    """Return the most memory this process has held; Linux counts its parent's in `getrusage`."""
    if STATUS.is_file():
        lines = STATUS.read_text(encoding="utf-8").splitlines()
        peak = next(line for line in lines if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


def main(engine: str, path: str, rows: str, tokens: str, device: str) -> float:
    """Run one engine once; return the peak."""
    size = int(rows), int(tokens)
    if engine.startswith("onnx"):
        _run_onnx(Path(path), *size)
        return _own_peak()
    return _run_torch(engine, Path(path), *size, device) or _own_peak()


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
