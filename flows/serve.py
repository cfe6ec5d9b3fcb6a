"""Serve the deployments on this machine until stopped.

python -m flows.serve
"""

import os
from typing import Any

from prefect import serve

from flows.pipeline import FLOWS
from flows.servers import wait_for_server
from flows.split import split
from tinybert.runtime.errors import ends_with_its_lines

NAME = "full"


def main() -> None:
    """Register `tinybert/full` and one deployment for each step, and run what is asked of them."""
    with ends_with_its_lines():
        wait_for_server(os.environ)
    deployments: list[Any] = [
        # One workspace holds one run at a time; others wait for it.
        each.to_deployment(name=NAME, concurrency_limit=1)
        for each in (*FLOWS, split)
    ]
    serve(*deployments, limit=1)


if __name__ == "__main__":
    main()
