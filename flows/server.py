"""Say whether a Prefect server answers, before anything waits for one.

python -m flows.server
"""

import os
import socket
import sys
from collections.abc import Mapping
from urllib.parse import urlsplit

from tinybert.errors import InputError

PROBE_SECONDS = 3.0


def require_server(environment: Mapping[str, str]) -> str:
    """Return the address of the Prefect API.

    Raises:
        InputError: PREFECT_API_URL is not set, or nobody listens there; Prefect itself would start
            a temporary server that knows no deployment.
    """
    address = environment.get("PREFECT_API_URL", "")
    if not address:
        raise InputError(
            "PREFECT_API_URL: is not set, got nothing; run `make server` in another terminal and "
            "export PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    parts = urlsplit(address)
    place = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(place, timeout=PROBE_SECONDS).close()
    except OSError as error:
        raise InputError(
            f"PREFECT_API_URL: no server at {address}, got {error.strerror or error}; start it "
            "with `make server`"
        ) from None
    return address


if __name__ == "__main__":
    try:
        require_server(os.environ)
    except InputError as error:
        sys.exit(str(error))
