"""How fast a bundle's service answers, beside the same student under `mlflow models serve`.

python -m benchmarks.service SYSTEM TASK [--clients 1,8,32] [--seconds 5] [--no-mlflow]

Each client asks for one text of dev after the other, and waits for its answer. Clients run on the
same cores. Writes reports/benchmarks/service-SYSTEM-TASK.json.
"""

import argparse
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from tinybert.deployment.service import CLASSIFY, PATHS
from tinybert.runtime.errors import InputError, ends_with_its_lines
from tinybert.runtime.outputs import replace_file, write_json
from tinybert.tasks.task import DEV, read_named_info, read_split

MOST_SECONDS_TO_START = 120.0


class Served(NamedTuple):
    """A service that answers.

    Attributes:
        name: For the table.
        address: Its address.
        process: Its process.
        started: Seconds from its start to its first answer.
    """

    name: str
    address: str
    process: subprocess.Popen[bytes]
    started: float


class Load(NamedTuple):
    """What clients saw.

    Attributes:
        clients: How many asked at once.
        rows_per_second: Answers of all.
        median_ms: Of an answer.
        p95_ms: Its 95th percentile.
    """

    clients: int
    rows_per_second: float
    median_ms: float
    p95_ms: float


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def started(
    name: str, command: Sequence[str], port: int, path: str, **environment: str
) -> Iterator[Served]:
    """Start a service, wait for its first answer, and end it in the end.

    Raises:
        InputError: It ends, or does not answer in time.
    """
    begun = time.monotonic()
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        while not _answers(f"{address}{path}"):
            if process.poll() is not None or time.monotonic() - begun > MOST_SECONDS_TO_START:
                raise InputError(f"{name}: the service does not start; try `{' '.join(command)}`")
            time.sleep(0.05)
        yield Served(name, address, process, time.monotonic() - begun)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=1).status_code == 200
    except httpx.HTTPError:
        return False


def load(url: str, bodies: Sequence[dict[str, Any]], clients: int, seconds: float) -> Load:
    """Let clients ask for some seconds, each in a thread and over a connection of its own.

    Raises:
        InputError: An answer is no answer.
    """
    taken: list[float] = []
    refused: list[str] = []
    until = time.monotonic() + seconds

    def ask(number: int) -> None:
        with httpx.Client(timeout=60) as client:
            for body in itertools.islice(itertools.cycle(bodies), number, None):
                begun = time.monotonic()
                if begun > until or refused:
                    return
                answer = client.post(url, json=body)
                if answer.status_code != 200:
                    refused.append(answer.text[:200])
                taken.append(time.monotonic() - begun)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refused:
        raise InputError(f"{url}: a text of dev got no answer, got {refused[0]}")
    middle, high = np.quantile(taken, [0.5, 0.95])
    return Load(clients, len(taken) / (time.monotonic() - begun), 1000 * middle, 1000 * high)


def memory_mb(process: subprocess.Popen[bytes]) -> float:
    """Return the memory of a process and its children, in millions of bytes."""
    own = psutil.Process(process.pid)
    return sum(each.memory_info().rss for each in [own, *own.children(recursive=True)]) / 1e6


def measure(
    served: Served,
    path: str,
    bodies: Sequence[dict[str, Any]],
    clients: Sequence[int],
    seconds: float,
) -> dict[str, Any]:
    """Measure a service that answers; the first second is not counted."""
    load(f"{served.address}{path}", bodies, 1, min(1.0, seconds))
    loads = [load(f"{served.address}{path}", bodies, each, seconds) for each in clients]
    return {
        "service": served.name,
        "seconds_to_first_answer": served.started,
        "memory_mb": memory_mb(served.process),
        "loads": [each._asdict() for each in loads],
    }


def bodies_of(task: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of dev as each service takes them: the bundle's, and MLflow's."""
    folder = Path("data/tasks") / task
    frame = read_split(folder, DEV)
    info = read_named_info(folder, task)
    names = {"sentence1": "text", **({"sentence2": "text_pair"} if info.pair else {})}
    if info.kind == "span":
        names = {"sentence1": "question", "sentence2": "context"}
    texts = (frame[name] for name in names)
    rows = [dict(zip(names.values(), each, strict=True)) for each in zip(*texts, strict=True)]
    return rows, [{"dataframe_records": [row]} for row in rows]


def show(found: Sequence[dict[str, Any]]) -> None:
    """Print a line for each service and number of clients."""
    table = Table()
    for head in ("service", "first answer s", "MB", "clients", "rows/s", "median ms", "p95 ms"):
        table.add_column(head, justify="left" if head == "service" else "right")
    for each in found:
        for number, one in enumerate(each["loads"]):
            first = "" if number else each["service"]
            start = "" if number else f"{each['seconds_to_first_answer']:.1f}"
            memory = "" if number else f"{each['memory_mb']:.0f}"
            figures = (
                f"{one['rows_per_second']:.0f}",
                f"{one['median_ms']:.1f}",
                f"{one['p95_ms']:.1f}",
            )
            table.add_row(first, start, memory, str(one["clients"]), *figures)
    Console().print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("system")
    parser.add_argument("task")
    parser.add_argument("--clients", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each number of clients")
    parser.add_argument("--threads", type=int, default=0, help="of one pass; 0: as many as cores")
    parser.add_argument("--no-mlflow", action="store_true")
    chosen = parser.parse_args(arguments)
    name = f"{chosen.system}-{chosen.task}"
    bundle = Path("bundles") / name
    if not (bundle / "service.py").is_file():
        raise InputError(
            f"{bundle}: is missing, got no bundle to measure; run `make bundle "
            f"SYSTEM={chosen.system} TASK={chosen.task}`"
        )
    clients = [int(each) for each in chosen.clients.split(",")]
    ours, mlflows = bodies_of(chosen.task)
    kind = read_named_info(Path("data/tasks") / chosen.task, chosen.task).kind
    path = PATHS.get(kind, CLASSIFY)
    found = []
    for model in ("int8", "float32"):
        port = free_port()
        options = ["--port", str(port), "--model", model, "--threads", str(chosen.threads)]
        command = [sys.executable, str(bundle / "service.py"), *options]
        with started(f"bundle, {model}", command, port, "/health") as served:
            found.append(measure(served, path, ours, clients, chosen.seconds))
    if not chosen.no_mlflow and kind != "span":  # which MLflow keeps as files
        port = free_port()
        options = ["-m", f"models:/{name}@newest", "--env-manager", "local", "--port", str(port)]
        command = [sys.executable, "-m", "mlflow", "models", "serve", *options]
        store = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{Path.cwd() / 'mlflow.db'}")
        with started("mlflow", command, port, "/health", MLFLOW_TRACKING_URI=store) as served:
            found.append(measure(served, "/invocations", mlflows, clients, chosen.seconds))
    file = Path("reports/benchmarks") / f"service-{name}.json"
    with replace_file(file) as partial:
        write_json({"services": found}, partial)
    show(found)


if __name__ == "__main__":
    with ends_with_its_lines():
        main()
