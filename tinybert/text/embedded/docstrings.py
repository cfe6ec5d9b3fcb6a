"""Collect the English documentation inside the installed, locked packages.

The sources are parsed, never imported. The text depends on the installed versions alone: files are
read in sorted order, and of sentences that are near copies the first one stays. So one lock file
gives one corpus. It is kept on disk, since several stages read it and it takes a minute.
"""

import ast
import dataclasses
import gc
import hashlib
import inspect
import json
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from filelock import FileLock
from rich.progress import track

from tinybert.runtime.errors import InputError
from tinybert.runtime.outputs import disk_space_guard, replace_file
from tinybert.text.embedded.copies import CopyFilter
from tinybert.text.embedded.prose import sentence_runs

# Packages, or folders in them that are worth their reading time. All are in the dependency tree
# that requirements.lock pins. The order decides which of two keeps a sentence that both have: those
# documented best come first.
LIBRARIES = (
    *("numpy", "scipy", "pandas", "sklearn", "torch/nn", "torch/optim", "torch/distributions"),
    *("torch/utils", "matplotlib", "sympy", "networkx", "transformers/generation"),
    *("transformers/pipelines", "transformers/utils", "sentence_transformers", "sqlalchemy"),
    *("alembic", "werkzeug", "flask", "websockets", "aiohttp", "urllib3", "starlette"),
    *("fastapi", "requests", "httpx", "h2", "gensim", "huggingface_hub"),
)
# Folders that document nothing, or another package.
SKIPPED_FOLDERS = frozenset(
    "test tests testing _testing conftest _vendor vendor externals _internal_testing".split()
)
# Functions that attach a docstring, given as a string, to something written in C.
ATTACHING = ("add_newdoc", "add_docstr", "add_newdoc_for_scalar_type")
NUM_PROCESSES = 2
FILES_PER_PARCEL = 40

SourceFile = tuple[str, Path, Path]  # library, folder the library lies in, file
Extracted = tuple[str, str, list[list[str]]]  # library, name, runs of sentences


@dataclasses.dataclass(frozen=True)
class Document:
    """The prose of one docstring.

    Args:
        library: Import name of the package.
        name: `<file>:<object>`, the file relative to the package's parent folder.
        paragraphs: Sentences that follow each other, joined by spaces.
    """

    library: str
    name: str
    paragraphs: tuple[str, ...]

    @property
    def file(self) -> str:
        """Return the source file, relative to the package's parent folder."""
        return self.name.split(":")[0]


@lru_cache(maxsize=1)
def documents() -> tuple[Document, ...]:
    """Return the prose of every docstring, each sentence once, in a fixed order.

    Side effects: keeps the result on disk for the next process (`memo_file`).

    Raises:
        InputError: One of `LIBRARIES` is not installed; all missing ones are named.
    """
    files = source_files()
    memo = memo_file(files)
    if memo.is_file():
        return read_memo(memo)
    with disk_space_guard(memo):
        memo.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(memo.with_suffix(".lock")):  # another stage may be at it
            if not memo.is_file():
                write_memo(memo, _kept(files))
    return read_memo(memo)


def _kept(files: list[SourceFile]) -> Iterator[Document]:
    """Yield the prose of every docstring, less the sentences that one before has."""
    copies = CopyFilter()
    for library, name, runs in _extract(files):
        if kept := copies.keep(runs):
            yield Document(library, name, tuple(" ".join(run) for run in kept))


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


def read_memo(file: Path) -> tuple[Document, ...]:
    """Read documents that `write_memo` wrote."""
    with file.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return tuple(Document(row["library"], row["name"], tuple(row["paragraphs"])) for row in rows)


def write_memo(file: Path, found: Iterable[Document]) -> None:
    """Write documents, one a line."""
    with replace_file(file) as partial, partial.open("w", encoding="utf-8") as stream:
        for document in found:
            row = dataclasses.asdict(document)
            stream.write(json.dumps(row, ensure_ascii=False) + "\n")


def source_files() -> list[SourceFile]:
    """Return (library, folder the library lies in, file) of every source file, sorted.

    Raises:
        InputError: As for `documents`.
    """
    folders = {library: _folder(library) for library in LIBRARIES}
    missing = [library for library, folder in folders.items() if folder is None]
    if missing:
        problems = (
            f"embedded corpus: package {name!r} is missing, got no such package installed; "
            "run `pip install -r requirements.lock`"
            for name in missing
        )
        raise InputError(*problems)
    return [
        (library.split("/")[0], folder.parents[library.count("/")], file)
        for library, folder in folders.items()
        if folder
        for file in sorted(folder.rglob("*.py"), key=lambda file: file.as_posix())
        if SKIPPED_FOLDERS.isdisjoint(file.relative_to(folder).parts[:-1])
    ]


def _folder(library: str) -> Path | None:
    package, *inside = library.split("/")
    spec = find_spec(package)  # of a top-level name: locates the package without running it
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations)), *inside)
    return folder if folder.is_dir() else None


def _extract(files: list[SourceFile]) -> Iterator[Extracted]:
    """Yield the runs of each docstring, in the order of the files."""
    parcels = [files[i : i + FILES_PER_PARCEL] for i in range(0, len(files), FILES_PER_PARCEL)]
    # spawn: a fork of a process in which torch has started threads may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(NUM_PROCESSES, context, _start_worker) as pool:
        results = pool.map(_extract_parcel, parcels)
        for parcel in track(results, "reading documentation", total=len(parcels), transient=True):
            yield from parcel


def _start_worker() -> None:
    """Have the worker end with its parent: if that is killed, it would wait for work for ever.

    Side effects: switches cyclic garbage collection off, which halves the time ast.parse takes;
    syntax trees have no cycles.
    """
    gc.disable()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _extract_parcel(files: list[SourceFile]) -> list[Extracted]:
    found = []
    for library, parent, file in files:
        place = file.relative_to(parent).as_posix()
        for name, text in docstrings(file):
            runs = sentence_runs(text)
            if runs:
                found.append((library, f"{place}:{name}", runs))
    return found


def docstrings(file: Path) -> Iterator[tuple[str, str]]:
    """Yield (name of the object, docstring without its indentation), in the file's order.

    A file in another encoding, or in another version's syntax, documents nothing: packages carry
    such files for other interpreters.
    """
    source = file.read_bytes()
    if b'"""' not in source and b"'''" not in source:
        return  # parsing takes most of the time, and prose stands in triple quotes
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from _walk(tree, "")


Documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = ("body", "orelse", "handlers", "finalbody")  # where a statement holds statements


def _walk(node: ast.AST, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, Documented):
        text = ast.get_docstring(node)
        if text:
            yield path or "module", text
    value = getattr(node, "value", None)
    if isinstance(value, ast.Call):
        yield from _attached(value)
    for block in BLOCKS:
        for child in getattr(node, block, ()):
            name = child.name if isinstance(child, Documented[1:]) else ""
            yield from _walk(child, f"{path}.{name}".strip("."))


def _attached(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name.lstrip("_") not in ATTACHING:
        return
    texts = [
        node.value
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    subject = " ".join(text for text in texts if "\n" not in text) or ast.unparse(call.args[0])
    body = "\n\n".join(inspect.cleandoc(text) for text in texts if "\n" in text)
    yield subject, body
