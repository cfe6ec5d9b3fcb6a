"""Prepare corpora of several sizes, each in a process of its own, and kill one in the middle.

python -m benchmarks.corpus_size --corpus FOLDER --megabytes 16,64,256 [--kill]

Text that is too short for a size is read again from its beginning.
"""

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from benchmarks import texts
from benchmarks.machine import peak_gigabytes
from tinybert.runtime.errors import ends_with_its_lines
from tinybert.runtime.precision import computing_device
from tinybert.text.corpus import write_corpus
from tinybert.text.files import find_text_files, read_text_files
from tinybert.text.shards import Document

BLOCK_LENGTH = 128
NOTICED_SECONDS = 0.02


def documents(corpus: Path, megabytes: float) -> Iterator[Document]:
    """Read so much text, again and again where there is less."""
    size = 0
    for file in cycle(find_text_files(corpus)):
        for document in read_text_files(file):
            size += sum(len(line.encode()) + 1 for line in document) + 1
            yield document
            if size >= megabytes * 1e6:
                return


def prepare(corpus: Path, megabytes: float, folder: Path) -> None:
    """Prepare a corpus in this process; leave its figures in a file."""
    for name in ("out", "shards"):
        (folder / name).mkdir(exist_ok=True)
    found = len(list((folder / "shards").glob("*.npz")))
    started = time.perf_counter()
    some = documents(corpus, megabytes)
    places = (folder / "out", folder / "shards")
    counts = write_corpus(some, texts.tokenizer(), BLOCK_LENGTH, 0, *places)
    seconds = time.perf_counter() - started
    written = {place.name: sum(f.stat().st_size for f in place.iterdir()) for place in places}
    figures = {
        "MB/s": megabytes / seconds,
        "seconds": seconds,
        "peak GB": peak_gigabytes(computing_device()),
        "tokens": counts["num_tokens"],
        "shards": len(list((folder / "shards").glob("*.npz"))),
        "shards found": found,
        "output bytes a byte of text": written["out"] / megabytes / 1e6,
        "shards' bytes a byte of text": written["shards"] / megabytes / 1e6,
    }
    (folder / "figures.json").write_text(json.dumps(figures))


def start(given: argparse.Namespace, megabytes: float, folder: Path) -> subprocess.Popen[bytes]:
    """Start a process that prepares a corpus."""
    command = [sys.executable, "-m", "benchmarks.corpus_size", "--corpus", str(given.corpus)]
    command += ["--megabytes", str(megabytes), "--here", str(folder)]
    return subprocess.Popen(command)


def read_figures(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Wait for a process; return its figures as a line."""
    if process.wait():
        sys.exit(process.returncode)
    found = json.loads((folder / "figures.json").read_text())
    return ", ".join(f"{name} {value:.4g}" for name, value in found.items())


def hashes(folder: Path) -> dict[str, str]:
    """Hash what was prepared."""
    files = sorted((folder / "out").iterdir())
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def kill_in_the_middle(given: argparse.Namespace, megabytes: float, whole: Path) -> None:
    """Kill a process once half of the shards are there, start again, compare with a whole run."""
    half = len(list((whole / "shards").glob("*.npz"))) // 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = start(given, megabytes, folder)
        while len(list((folder / "shards").glob("*.npz"))) < half:
            time.sleep(NOTICED_SECONDS)
        process.send_signal(signal.SIGKILL)
        process.wait()
        line = read_figures(folder, start(given, megabytes, folder))
        same = hashes(folder) == hashes(whole)
    print(f"{megabytes:g} MB killed and begun again: {line}, same files: {same}", flush=True)


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.corpus_size")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--megabytes", default="16,64,256")
    parser.add_argument("--kill", action="store_true", help="the last size once more, killed")
    parser.add_argument("--here", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = [float(each) for each in given.megabytes.split(",")]
    if given.here:
        prepare(given.corpus, sizes[0], given.here)
        return
    for megabytes in sizes:
        with tempfile.TemporaryDirectory() as name:
            line = read_figures(Path(name), start(given, megabytes, Path(name)))
            print(f"{megabytes:g} MB: {line}", flush=True)
            if given.kill and megabytes == sizes[-1]:
                kill_in_the_middle(given, megabytes, Path(name))


if __name__ == "__main__":
    with ends_with_its_lines():
        main()
