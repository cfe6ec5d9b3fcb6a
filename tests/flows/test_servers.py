"""The servers of `make server`, started for real, and who waits for them."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest

from flows.servers import (
    mlflow_server,
    prefect_server,
    relay,
    require_free_port,
    require_server,
    wait_for_server,
)
from tests.fixtures.mlflow_server import free_port
from tests.fixtures.workspace import ROOT
from tinybert.runtime.errors import InputError


class Page(BaseHTTPRequestHandler):
    """A program that knows one page, Prefect's health, and no other."""

    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
        self.wfile.write(b"true")

    def log_message(self, *_):
        pass


@pytest.fixture
def program():
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


def test_a_server_that_starts_late_is_waited_for(capsys):
    port = free_port()

    def start() -> None:
        with HTTPServer(("127.0.0.1", port), Page) as server:
            server.handle_request()

    threading.Timer(1.0, start).start()
    address = f"http://127.0.0.1:{port}/api"
    assert wait_for_server({"PREFECT_API_URL": address}, seconds=20) == address
    assert capsys.readouterr().out == (
        f"waiting for the server at {address}: it needs up to a minute to start\n"
    )


def test_a_server_that_never_starts_is_named_with_what_starts_it():
    address = f"http://127.0.0.1:{free_port()}/api"
    with pytest.raises(
        InputError, match=r"Connection refused; start it with `make server`.*waited"
    ):
        wait_for_server({"PREFECT_API_URL": address}, seconds=0.1)


@pytest.mark.parametrize("setting", [{}, {"PREFECT_API_URL": ""}, {"PREFECT_API_URL": "4200"}])
def test_what_is_no_address_is_not_waited_for(setting):
    started = time.monotonic()
    with pytest.raises(InputError, match="is no address, got"):
        wait_for_server(setting)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("path", ["/api", "/api/"])
def test_a_prefect_server_is_taken(program, path):
    require_server({"PREFECT_API_URL": f"http://127.0.0.1:{program}{path}"})


def test_another_program_is_no_prefect_server(program):
    with pytest.raises(InputError, match="another program's answer 404"):
        require_server({"PREFECT_API_URL": f"http://127.0.0.1:{program}/other"})


@pytest.mark.parametrize("address", ["http://127.0.0.1:99999/api", "http://[/api", "http://"])
def test_half_an_address_is_refused(address):
    with pytest.raises(InputError, match="no Prefect server at"):
        require_server({"PREFECT_API_URL": address})


def test_a_taken_port_names_our_own_server_or_another_program(program):
    with pytest.raises(InputError, match=f"port {program}: taken, got a Prefect server"):
        require_free_port(prefect_server(program))
    with pytest.raises(InputError, match=rf"port {program}: MLflow cannot listen there.*another"):
        require_free_port(mlflow_server(program))


def test_what_a_server_says_once_it_is_to_end_is_not_printed(capfd):
    stopped = threading.Event()

    def lines():
        yield b"serving\n"
        stopped.set()
        yield b"Traceback (most recent call last):\n"

    relay(lines(), stopped)
    assert capfd.readouterr().err == "serving\n"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_servers_say_when_both_answer_and_leave_nothing_when_stopped(tmp_path, number):
    ports = free_port(), free_port()
    command = [sys.executable, "-m", "flows.servers"]
    command += [f"--prefect-port={ports[0]}", f"--mlflow-port={ports[1]}"]
    environment = os.environ | {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlflow.db'}",
        "PYTHONPATH": str(ROOT),
    }
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 240
        while "ready:" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        assert process.wait(20) == 0
    finally:
        process.kill()
    text = log.read_text()
    assert f"ready: Prefect http://127.0.0.1:{ports[0]}, MLflow http://127.0.0.1:{ports[1]}" in text
    assert not re.search("Segmentation|Terminated|Traceback", text)
    assert children and not [each for each in children if each.is_running()]
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_a_stores_password_is_in_no_command_line(monkeypatch):
    store = "postgresql://me:secret@127.0.0.1/mlflow"
    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", store)
    server = mlflow_server(5000)
    assert not any("secret" in word for word in server.command)
    assert server.environment["MLFLOW_BACKEND_STORE_URI"] == store
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    assert mlflow_server(5000).environment["MLFLOW_BACKEND_STORE_URI"] == "sqlite:///mlflow.db"
