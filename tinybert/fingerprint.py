"""Name a training run by what determines it, so that a checkpoint only continues the same run."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def checkpoints_folder(stage: str, settings: dict[str, Any], inputs: list[Path]) -> Path:
    """Return `checkpoints/<stage>/<fingerprint>` under the DVC root, outside every output.

    Args:
        stage: The stage's name.
        settings: Everything that was read of params, as JSON-able values.
        inputs: Files and folders that were read.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    code = sorted(Path(__file__).parent.glob("*.py"))
    for path in [*code, *inputs]:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.name).encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    root = Path(os.environ.get("DVC_ROOT", "."))
    return root / "checkpoints" / stage / digest.hexdigest()[:16]
