"""Let a process that has imported the libraries already run this stage (`flows.preloaded`)."""

import json
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

from tinybert.runtime.processes import die_with_parent

ADDRESS = "TINYBERT_PRELOADED"  # where the path of the process's socket is
NUM_STREAMS = 3
LOST = 1


def run_preloaded() -> None:
    """Have this command run there and end as it ends; return where there is no such process."""
    address = os.environ.pop(ADDRESS, "")
    if not address or not Path(address).exists() or "RANK" in os.environ:
        return  # processes that train together are started, and ended, by their launcher
    die_with_parent(os.getppid())
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(address)
    except OSError:
        return
    asked = {
        "module": sys.orig_argv[sys.orig_argv.index("-m") + 1],
        "arguments": sys.argv[1:],
        "command": sys.orig_argv,
        "path": sys.path,
        "folder": str(Path.cwd()),
        "environment": dict(os.environ),
    }
    message = json.dumps(asked).encode() + b"\n"
    sent = socket.send_fds(connection, [message], list(range(NUM_STREAMS)))
    connection.sendall(message[sent:])
    answer = connection.recv(16)
    if not answer:  # killed from outside
        print(f"{asked['module']}: the process that ran it was killed", file=sys.stderr)
        os._exit(LOST)
    code = int(answer)
    if code < 0:
        with suppress(OSError):  # of SIGKILL there is nothing to set
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
