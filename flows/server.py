"""Say whether a Prefect server answers, and wait for one that is starting.

python -m flows.server
"""

import http.client
import os
import socket
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from tinybert.core.errors import InputError, ends_with_its_lines

PROBE_SECONDS = 3.0
START_SECONDS = 120.0
NEXT_PROBE_SECONDS = 0.5
SCHEMES = ("http://", "https://")


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


if __name__ == "__main__":
    with ends_with_its_lines():
        wait_for_server(os.environ)
