"""Run this machine's servers until stopped: Prefect and MLflow, or MLflow alone; or wait for one.

python -m flows.servers [--only mlflow] [--prefect-port 4200] [--mlflow-port 5000]
python -m flows.servers --wait
"""

import argparse
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.processes import die_with_parent

HOST = "127.0.0.1"
SCHEMES = ("http://", "https://")
PROBE_SECONDS = 3.0
START_SECONDS = 120.0
STOP_SECONDS = 5.0
NEXT_LOOK_SECONDS = 0.3
NEXT_PROBE_SECONDS = 0.5


def require_server(environment: Mapping[str, str]) -> str:
    """Return the address of the Prefect API.

    Raises:
        InputError: PREFECT_API_URL is no address, or no Prefect server is there; without it Prefect
            would start a temporary server that knows no deployment.
    """
    address = environment.get("PREFECT_API_URL", "")
    if not address.startswith(SCHEMES):
        raise InputError(
            f"PREFECT_API_URL: is no address, got {address or 'nothing'}; run `make server` in "
            "another terminal and export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    if reason := _missing(address):
        raise InputError(
            f"PREFECT_API_URL: no Prefect server at {address}, got {reason}; start it with "
            "`make server`, or set PREFECT_API_URL to where it is"
        )
    return address


def wait_for_server(environment: Mapping[str, str], seconds: float = START_SECONDS) -> str:
    """Return the address of the Prefect API once it answers: a server needs a while to start.

    Raises:
        InputError: PREFECT_API_URL is no address, or no server answered in time.
    """
    deadline = time.monotonic() + seconds
    said = False
    while True:
        try:
            return require_server(environment)
        except InputError as error:
            if not environment.get("PREFECT_API_URL", "").startswith(SCHEMES):
                raise
            if time.monotonic() >= deadline:
                raise InputError(
                    *(f"{problem} (waited {seconds:.0f} s)" for problem in error.problems)
                ) from None
        if not said:
            address = environment["PREFECT_API_URL"]
            print(
                f"waiting for the server at {address}: it needs up to a minute to start", flush=True
            )
            said = True
        time.sleep(NEXT_PROBE_SECONDS)


def get(host: str, port: int, path: str) -> tuple[int, bytes]:
    """Ask a server for a page, past any proxy; return the status and the start of its answer."""
    connection = http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(100)
    finally:
        connection.close()


def _missing(address: str) -> str:
    """Return why this is no Prefect API; empty where it may be one."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        if parts.scheme != "http":  # an encrypted one may ask for a key first
            socket.create_connection((host, port), timeout=PROBE_SECONDS).close()
            return ""
        status, _ = get(host, port, f"{parts.path.rstrip('/')}/health")
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "strerror", None) or error or type(error).__name__)
    return f"another program's answer {status}" if status == http.client.NOT_FOUND else ""


class Server(NamedTuple):
    """A server, how it is started, and the page that answers once it is ready."""

    name: str
    port: int
    health: str
    command: Sequence[str]
    environment: Mapping[str, str]

    @property
    def address(self) -> str:
        """Where its pages are."""
        return f"http://{HOST}:{self.port}"

    def answers(self) -> bool:
        """Return whether this kind of server answers at the port."""
        try:
            status, text = get(HOST, self.port, self.health)
        except (OSError, http.client.HTTPException):
            return False
        return status == http.client.OK and text.strip().lower() in (b"true", b"ok")


def prefect_server(port: int) -> Server:
    """Return Prefect's server, its state in `.prefect` unless PREFECT_HOME says otherwise."""
    command = ("prefect", "server", "start", "--host", HOST, "--port", str(port))
    home = {"PREFECT_HOME": os.environ.get("PREFECT_HOME") or str(Path.cwd() / ".prefect")}
    return Server("Prefect", port, "/api/health", command, home)


def mlflow_server(port: int) -> Server:
    """Return MLflow's server; without its job runner it starts in seconds and leaves no process."""
    command = ("mlflow", "server", "--workers", "1", "--host", HOST, "--port", str(port))
    environment = {  # a store's password would be seen in a command line
        "MLFLOW_BACKEND_STORE_URI": os.environ.get("MLFLOW_BACKEND_STORE_URI")
        or "sqlite:///mlflow.db",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    return Server("MLflow", port, "/health", command, environment)


def require_free_port(server: Server) -> None:
    """Raise InputError where the server's port is taken, and say by whom."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, server.port))
            return
        except OSError as error:
            reason = error.strerror
    if server.answers():
        raise InputError(
            f"port {server.port}: taken, got a {server.name} server that answers at "
            f"{server.address}; use that one, or stop it first"
        )
    raise InputError(
        f"port {server.port}: {server.name} cannot listen there, got {reason} (another program, or "
        f"a server that is starting); see who with `ss -ltnp sport = :{server.port}` and stop it"
    )


def run_servers(servers: Sequence[Server]) -> None:
    """Start servers, say in one line when all answer, and end them when this process is stopped.

    Each has a session of its own, so that Ctrl-C reaches this process alone: it ends
    them, with whatever they started, and nobody dies half-way.

    Raises:
        InputError: A port is taken, or a server ended or did not answer in time.
    """
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stopped.set())
    for server in servers:
        require_free_port(server)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for server in servers:
            running.append(_start(server, stopped))
        _wait_for_all(servers, running, stopped)
        while not stopped.wait(NEXT_LOOK_SECONDS):
            _require_alive(servers, running)
    finally:
        _end(running)


def _start(server: Server, stopped: threading.Event) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        server.command,
        env=os.environ | server.environment | {"PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=partial(die_with_parent, os.getpid()),  # also where this one is killed
    )
    assert process.stdout is not None
    threading.Thread(target=relay, args=(process.stdout, stopped), daemon=True).start()
    return process


def relay(lines: Iterable[bytes], stopped: threading.Event) -> None:
    """Print what a server says until it is to end.

    A busy Prefect that ends prints the tracebacks of what it broke off.
    """
    for line in lines:
        if not stopped.is_set():
            os.write(sys.stderr.fileno(), line)


def _wait_for_all(
    servers: Sequence[Server], running: Sequence[subprocess.Popen[bytes]], stopped: threading.Event
) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not stopped.wait(NEXT_LOOK_SECONDS):
        _require_alive(servers, running)
        silent = [server for server in servers if not server.answers()]
        if not silent:
            pages = ", ".join(f"{server.name} {server.address}" for server in servers)
            print(f"ready: {pages} (Ctrl-C stops)", flush=True)
            return
        if time.monotonic() > deadline:
            raise InputError(
                f"{silent[0].name}: did not answer at {silent[0].address}, got nothing in "
                f"{START_SECONDS:.0f} s; its last lines are above, start it again"
            )


def _require_alive(servers: Sequence[Server], running: Sequence[subprocess.Popen[bytes]]) -> None:
    for server, process in zip(servers, running, strict=True):
        if process.poll() is not None:
            raise InputError(
                f"{server.name}: its server ended, got exit code {process.returncode}; its last "
                "lines are above, mend what they say and start it again"
            )


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask each to end, and end with its group whoever has not in time."""
    for process in running:
        with suppress(ProcessLookupError):
            process.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    for process in running:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main(arguments: Sequence[str]) -> None:
    """Read the command line, make MLflow's store, and run the servers; or wait for Prefect's."""
    parser = argparse.ArgumentParser(prog="python -m flows.servers")
    parser.add_argument("--only", choices=["mlflow"])
    parser.add_argument("--wait", action="store_true", help="for the server of PREFECT_API_URL")
    parser.add_argument("--prefect-port", type=int, default=4200)
    parser.add_argument("--mlflow-port", type=int, default=5000)
    given = parser.parse_args(arguments)
    if given.wait:
        wait_for_server(os.environ)
        return
    if "MAKELEVEL" in os.environ:  # a make that is killed tells nobody
        die_with_parent(os.getppid())
    servers = [mlflow_server(given.mlflow_port)]
    if given.only is None:
        servers.insert(0, prefect_server(given.prefect_port))
    for server in servers:  # before the store, which takes seconds to make
        require_free_port(server)
    made = subprocess.run((sys.executable, "-m", "stages.track", "store"), check=False)
    if made.returncode:
        sys.exit(made.returncode)
    run_servers(servers)


if __name__ == "__main__":
    with ends_with_its_lines():
        main(sys.argv[1:])
