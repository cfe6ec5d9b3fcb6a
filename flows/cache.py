"""Find and remove objects of DVC's cache whose content is not what their name says.

python -m flows.cache
"""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from flows.graph import local_cache
from tinybert.runtime.errors import ends_with_its_lines
from tinybert.settings.reader import read_yaml


@dataclass(frozen=True)
class Corrupted:
    """An object of the cache with another content than its name says.

    Attributes:
        stage: Whose output it is.
        out: The output's path.
        file: The object's file in the cache.
    """

    stage: str
    out: str
    file: Path

    def __str__(self) -> str:
        return f"{self.stage}: the cached copy of {self.out} is corrupted, got {self.file}"


def corrupted_objects(root: Path, stages: Iterable[str] | None = None) -> list[Corrupted]:
    """Hash the cached outputs of dvc.lock's stages.

    Args:
        root: The workspace.
        stages: Which; none: all.
    """
    cache, lock = local_cache(root), root / "dvc.lock"
    known = read_yaml(lock).get("stages", {}) if lock.is_file() else {}
    wanted = known if stages is None else [stage for stage in stages if stage in known]
    return [
        Corrupted(stage, str(out["path"]), file)
        for stage in wanted
        for out in known[stage].get("outs", [])
        for file in _objects(cache, out)
        if file.is_file() and not _is_whole(file)
    ]


def forget_objects(root: Path, corrupted: Iterable[Corrupted]) -> None:
    """Remove corrupted objects and the outputs they were checked out to."""
    for found in corrupted:
        found.file.unlink(missing_ok=True)
        out = root / found.out
        if out.is_dir():
            shutil.rmtree(out)
        else:
            out.unlink(missing_ok=True)


def _objects(cache: Path, out: dict[str, str]) -> Iterator[Path]:
    name = out.get("md5")
    if name is None:
        return
    file = _object(cache, name)
    yield file
    if name.endswith(".dir") and file.is_file():
        try:
            entries = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            return  # its own hash is wrong then
        for entry in entries:
            yield _object(cache, entry["md5"])


def _object(cache: Path, name: str) -> Path:
    return cache / name[:2] / name[2:]


def _is_whole(file: Path) -> bool:
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "md5").hexdigest()
    return f"{file.parent.name}{file.name}".removesuffix(".dir") == digest


def main() -> None:
    """Check the outputs of every stage in dvc.lock; exit with 1 if one was corrupted."""
    root = Path.cwd()
    corrupted = corrupted_objects(root)
    for found in corrupted:
        print(found)
    forget_objects(root, corrupted)
    if corrupted:
        sys.exit(f"{len(corrupted)} corrupted files removed; `dvc repro` makes them anew")
    print("every cached output is whole")


if __name__ == "__main__":
    with ends_with_its_lines():
        main()
