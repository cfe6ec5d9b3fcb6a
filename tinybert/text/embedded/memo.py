"""Keep extracted documentation on disk, since several stages read it and it takes a minute."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from tinybert.core.outputs import replace_file

SourceFile = tuple[str, Path, Path]  # library, folder the library lies in, file


def memo_file(files: Iterable[SourceFile]) -> Path:
    """Name the place by the source files, as they stand, and by this package's own code.

    It lies beside the checkpoints, outside every output: removing it costs time only.
    """
    digest = hashlib.sha256()
    for code in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(code.read_bytes())
    for library, parent, file in files:
        stat = file.stat()
        place = file.relative_to(parent).as_posix()
        digest.update(f"{library} {place} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    root = Path(os.environ.get("DVC_ROOT", "."))
    return root / "checkpoints" / "embedded" / f"{digest.hexdigest()[:16]}.jsonl"


def read_memo(file: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return library, name and paragraphs of each document."""
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [(row["library"], row["name"], tuple(row["paragraphs"])) for row in rows]


def write_memo(file: Path, documents: Iterable[object]) -> None:
    """Write documents, dataclasses with the fields that `read_memo` returns."""
    with replace_file(file) as partial, partial.open("w", encoding="utf-8") as stream:
        for document in documents:
            row = dataclasses.asdict(document)  # type: ignore[call-overload]
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")
