"""Which project files a stage imports, read from the source."""

import ast
from pathlib import Path

PACKAGES = ("tinybert", "stages")
# Imported by name at the start of every stage, to check params; it changes no output.
CHECKS_ONLY = Path("stages/_check_params.py")


def imported_files(file: Path, root: Path) -> set[Path]:
    """Return the project files that a file imports, directly or not, itself included."""
    found: set[Path] = set()
    waiting = [file]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        waiting.extend(_imports(current, root))
    return found


def _imports(file: Path, root: Path) -> list[Path]:
    tree = ast.parse((root / file).read_text(encoding="utf-8"))
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    files = []
    for name in names:
        if name.split(".")[0] in PACKAGES:
            files += _files_of(name, root)
    return files


def _files_of(name: str, root: Path) -> list[Path]:
    """Return a module's file and the `__init__.py` of every package on the way to it."""
    parts = name.split(".")
    files = [Path(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
    files.append(Path(*parts).with_suffix(".py"))
    return [file for file in files if (root / file).is_file()]
