"""The process: what it imports, how gunicorn runs it, how it stops."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.application import Files

ROOT = Path(__file__).parents[2]

WAITING = """

def show_thing(thing_id, status=200):
    import socket

    with socket.create_connection(("127.0.0.1", thing_id)) as test:
        test.sendall(b"begun")
        test.recv(1)
    return {"thing_id": thing_id}
"""

WSGI = """
import os
from dataclasses import replace
from pathlib import Path

from headrace.service import create_app
from tests.contract.application import Rooms


def assemble(settings, clock, contract):
    given_back = Path(os.environ["HEADRACE_APP"], "given_back")
    return replace(Rooms().assemble(settings, clock, contract), give_back=given_back.touch)


app = create_app(assemble=assemble)
"""


def test_importing_the_service_imports_neither_grpc_nor_google() -> None:
    code = """
    import sys
    import headrace.service
    print([name for name in sys.modules if name.partition(".")[0] in {"grpc", "google"}])
    """

    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True, timeout=60
    )

    assert result.stdout.strip() == "[]"


class Server:
    """A gunicorn process with the product's own settings."""

    def __init__(self, files: Files, *lines: str) -> None:
        self.folder = files.folder
        (files.folder / "wsgi_of_tests.py").write_text(WSGI)
        conf = files.folder / "gunicorn.conf.py"
        conf.write_text("\n".join(["from headrace.service.gunicorn_conf import *", *lines, ""]))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "-c", str(conf), "wsgi_of_tests:app"],
            cwd=files.folder,
            env={
                **os.environ,
                "PORT": str(self.port),
                "HEADRACE_APP": str(files.folder),
                "PYTHONPATH": str(ROOT),
            },
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if "Booting worker" in line:
                break

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.wait()
        assert server.process.stderr is not None
        server.process.stderr.close()


def test_gunicorn_serves_on_loopback_with_threads(files: Files, servers: list[Server]) -> None:
    server = Server(files)
    servers.append(server)

    assert server.get("/healthz")[0] == 200
    said = "".join(server.said)
    assert f"http://127.0.0.1:{server.port}" in said
    assert "headrace.service.worker.Worker" in said
    assert server.stop() == 0


def test_an_attempt_that_runs_ends_after_sigterm_and_the_process_with_it(files: Files, servers: list[Server]) -> None:
    files.edit("MODULE.py", "\ndef show_thing(", WAITING + "\n\ndef old_show_thing(")
    server = Server(files)
    servers.append(server)
    answers: list[tuple[int, bytes]] = []

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        port = listener.getsockname()[1]
        caller = threading.Thread(target=lambda: answers.append(server.get(f"/api/v1/things/{port}")))
        caller.start()
        handler, _ = listener.accept()
        with handler:
            assert handler.recv(5) == b"begun"
            server.process.send_signal(signal.SIGTERM)
            handler.sendall(b"!")
        caller.join(30)

    assert [status for status, _ in answers] == [200]
    assert server.process.wait(30) == 0
    assert not (files.folder / "given_back").exists()


def test_leases_are_given_back_when_an_attempt_does_not_end_in_time(files: Files, servers: list[Server]) -> None:
    files.edit("MODULE.py", "\ndef show_thing(", WAITING + "\n\ndef old_show_thing(")
    server = Server(files, "graceful_timeout = 1")
    servers.append(server)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        port = listener.getsockname()[1]
        caller = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        caller.request("GET", f"/api/v1/things/{port}")
        handler, _ = listener.accept()
        with handler:
            assert handler.recv(5) == b"begun"
            server.stop()
        caller.close()

    assert (files.folder / "given_back").exists()
