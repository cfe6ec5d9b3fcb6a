"""A real MLflow server for tests."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def start_server(uri: str, port: int) -> subprocess.Popen:
    """Start a server on a store, as `make ui` does; return once it answers."""
    return start(["server", "--workers", "1", "--backend-store-uri", uri], "/health", port)


def start(command: list[str], health: str, port: int, **environment: str) -> subprocess.Popen:
    """Start one of MLflow's servers in a process group of its own; return once it answers."""
    started = subprocess.Popen(
        [sys.executable, "-m", "mlflow", *command, "--host", "127.0.0.1", "--port", str(port)],
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{health}", timeout=1).close()
            return started
        except OSError:
            time.sleep(0.2)
    kill(started)
    raise AssertionError("the server did not start")


def kill(server: subprocess.Popen) -> None:
    """Kill a server and the workers it started."""
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()
