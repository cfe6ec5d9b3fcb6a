"""Keep a process that has imported what stages need, and fork each stage from it.

python -m flows.preloaded SOCKET

Importing torch, transformers and their kin takes a stage seven to ten seconds of processor time,
of a pipeline of 37 stages a tenth. `tinybert.runtime.preloaded` asks this process, over a Unix
socket, for a fork, which becomes the stage: it has the asking process's arguments, folder,
environment and standard streams. It holds libraries alone, no code of this project, which may
change meanwhile.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from tinybert.runtime.preloaded import ADDRESS, NUM_STREAMS
from tinybert.runtime.processes import die_with_parent, num_processors

# What most stages load, sooner or later.
LIBRARIES = (
    *("torch", "torch.profiler", "transformers.trainer", "transformers.generation.utils"),
    *("transformers.models.bert.modeling_bert", "transformers.models.bert.tokenization_bert"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.convert_slow_tokenizer", "safetensors.torch", "accelerate", "datasets"),
    *("pandas", "pyarrow.parquet", "scipy.stats", "sklearn.metrics", "pydantic", "rich.progress"),
)
# Read when a library is loaded, so here; the first three as `stages` has them.
ENVIRONMENT = {
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    # A process of several threads cannot be forked safely: numpy's products, pyarrow's memory.
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # nor can one that has started a GPU's driver
}
OWN = ("flows", "stages", "tinybert")  # loaded anew by each stage: they may have changed
LONGEST_FOLDER = 70  # characters: a socket's path may have 107
ENDING_SECONDS = 5.0  # for a stage whose asking process is gone


@contextmanager
def preloaded(root: Path, *, wanted: bool = True) -> Iterator[dict[str, str]]:
    """Start the process; yield the variable by which stages find it, none where it cannot be.

    It says that it is ready by its socket: stages that begin earlier import for themselves.

    Args:
        root: The workspace.
        wanted: Whether any stage will run.
    """
    if not wanted or not _can_serve():
        yield {}
        return
    with tempfile.TemporaryDirectory(prefix="stages-") as folder:
        address = str(Path(folder) / "socket")
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.preloaded", address],
            cwd=root,
            env={**os.environ, **ENVIRONMENT},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )
        try:
            yield {ADDRESS: address}
        finally:
            process.terminate()
            process.wait()


def _can_serve() -> bool:
    """Return whether this system lets a process be waited for, and has a place for a socket."""
    try:
        os.close(os.pidfd_open(os.getpid()))  # Linux 5.3; some sandboxes forbid it
        return len(tempfile.gettempdir()) < LONGEST_FOLDER
    except (AttributeError, OSError):
        return False


def serve(address: str) -> None:
    """Import the libraries, then fork a stage for each that asks, until this process is ended."""
    for name in LIBRARIES:
        with suppress(ImportError):  # a stage that needs it says so
            importlib.import_module(name)
    gc.freeze()  # else each fork's first search for garbage would copy all of it
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(f"{address}.new")
    listener.listen()
    Path(f"{address}.new").rename(address)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the keepers
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _keep(connection)
        connection.close()


def _keep(connection: socket.socket) -> None:
    """Fork a stage and end with it: tell its exit to who asked, or end it when nobody asks."""
    die_with_parent(os.getppid())
    message, streams, _, _ = socket.recv_fds(connection, 1 << 16, NUM_STREAMS)
    while not message.endswith(b"\n"):
        more = connection.recv(1 << 16)
        if not more:  # who asked is gone
            os._exit(0)
        message += more
    asked, keeper = json.loads(message), os.getpid()
    stage = os.fork()
    if stage == 0:
        die_with_parent(keeper)
        connection.close()
        _become(asked, streams)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(stage)
    if ended not in select.select([ended, connection.fileno()], [], [])[0]:
        os.kill(stage, signal.SIGTERM)
        if not select.select([ended], [], [], ENDING_SECONDS)[0]:
            os.kill(stage, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(stage, 0)[1])
    with suppress(OSError):
        connection.sendall(str(code).encode())
    os._exit(0)


def _become(asked: dict[str, Any], streams: list[int]) -> None:
    """Run the module as `python -m` would, in this process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    sys.path[:] = asked["path"]
    sys.argv, sys.orig_argv = ["-m", *asked["arguments"]], asked["command"]
    _set_threads(asked["environment"].get("OMP_NUM_THREADS", ""))
    for name in [each for each in sys.modules if each.split(".")[0] in OWN]:
        del sys.modules[name]
    runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
    sys.exit(0)


def _set_threads(wanted: str) -> None:
    """Set what OMP_NUM_THREADS, a number for each level, says when libraries are loaded."""
    first = wanted.split(",")[0].strip()
    number = int(first) if first.isdecimal() else 0
    if number:
        importlib.import_module("torch").set_num_threads(number)
    importlib.import_module("threadpoolctl").threadpool_limits(number or num_processors(), "blas")


if __name__ == "__main__":
    serve(sys.argv[1])
