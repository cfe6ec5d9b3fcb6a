"""Change params files for one run, as `dvc exp run -S` takes the changes, and put them back."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from flows.graph import apply_overrides
from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import replace_file
from tinybert.settings.reader import PARAMS, read_yaml

KEPT = Path(".dvc/tmp/params_before_run")  # survives a killed run, and is put back by the next


@contextmanager
def params_changed(root: Path, overrides: Sequence[str]) -> Iterator[None]:
    """Change the params files during the block.

    Args:
        root: The workspace.
        overrides: `key=value` for params.yaml, `file:key=value` for another params file.

    Raises:
        InputError: A file, a key or a value is wrong; nothing is changed then.
    """
    put_back(root)
    by_file: dict[str, list[str]] = {}
    for override in overrides:
        file, change = _split(override)
        by_file.setdefault(file, []).append(change)
    for file in by_file:
        if not _is_params_file(file) or not (root / file).is_file():
            raise InputError(
                f"overrides: unknown params file, got {file!r}; known: {', '.join(_files(root))}"
            )
    try:
        for file, changes in by_file.items():
            with replace_file(root / KEPT / file) as partial:
                shutil.copy2(root / file, partial)
            _require_known_keys(root / file, file, changes)
            apply_overrides(root / file, changes)
        yield
    finally:
        put_back(root)


def change_params(root: Path, overrides: Sequence[str]) -> None:
    """Change the params files for good; arguments and errors as of `params_changed`."""
    with params_changed(root, overrides):
        shutil.rmtree(root / KEPT, ignore_errors=True)  # so that nothing is put back


def put_back(root: Path) -> list[str]:
    """Undo what an earlier run changed, if it was killed before it could; return the files."""
    kept = root / KEPT
    files = [file for file in kept.rglob("*.yaml") if file.is_file()]
    for file in files:
        shutil.copy2(file, root / file.relative_to(kept))
    shutil.rmtree(kept, ignore_errors=True)
    return [file.relative_to(kept).as_posix() for file in files]


def _split(override: str) -> tuple[str, str]:
    name, equals, _ = override.partition("=")
    if not equals:
        raise InputError(
            f"overrides: got {override!r}; right is key=value, as in loss.attn_weight=0.5"
        )
    if ":" in name:
        file, _, change = override.partition(":")
        return file, change
    return PARAMS.as_posix(), override


def _is_params_file(file: str) -> bool:
    path = Path(file)
    inside = not path.is_absolute() and ".." not in path.parts
    return inside and (path == PARAMS or path.parts[0] == "params") and path.suffix == ".yaml"


def _files(root: Path) -> list[str]:
    found = sorted((root / "params").rglob("*.yaml"))
    return [PARAMS.as_posix(), *(file.relative_to(root).as_posix() for file in found)]


def _require_known_keys(path: Path, file: str, changes: list[str]) -> None:
    """Refuse a misspelt key with the known ones; `+key=` adds and `~key` removes, as in Hydra."""
    values = read_yaml(path)
    for change in changes:
        key = change.partition("=")[0]
        if key.startswith(("+", "~")):
            continue
        section: object = values
        for part in key.split("."):
            if not isinstance(section, dict) or part not in section:
                known = ", ".join(map(str, section)) if isinstance(section, dict) else "none"
                elsewhere = _where(path, key) if file == str(PARAMS) else None
                cure = f"write {elsewhere}" if elsewhere else f"known: {known}"
                raise InputError(f"overrides: unknown key in {file}, got {key!r}; {cure}")
            section = section[part]


def _where(params: Path, key: str) -> str | None:
    """Return a key that params.yaml lacks with the file that has it, if its profile does."""
    profile = f"params/profiles/{read_yaml(params).get('profile')}.yaml"
    file = params.parent / profile
    known = file.is_file() and select(read_yaml(file), key) is not None
    return f"{profile}:{key}" if known else None


def select(values: Any, dotted: str) -> Any:
    """Return the value at a dotted key; None where there is none."""
    for part in dotted.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
