"""Serve the deployments on this machine until stopped.

python -m flows.serve
"""

import os
import sys
from typing import Any

from prefect import serve

from flows.pipeline import FLOWS
from flows.server import wait_for_server
from flows.split import split
from tinybert.core.errors import InputError

NAME = "full"


def main() -> None:
    """Register `tinybert/full` and one deployment for each step, and run what is asked of them."""
    try:
        wait_for_server(os.environ)
    except InputError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    deployments: list[Any] = [
        # One workspace holds one run at a time; others wait for it.
        each.to_deployment(name=NAME, concurrency_limit=1)
        for each in (*FLOWS, split)
    ]
    serve(*deployments, limit=1)


if __name__ == "__main__":
    main()
