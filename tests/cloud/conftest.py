"""A queue server in a process of its own, the official client for it, and a target that records pushes."""

import json
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic

import grpc
import pytest
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport

LOCATION = "projects/demo/locations/here"
WAIT = 15.0
"""Seconds that a test waits for what has to happen, before it fails."""

_PLAIN_QUEUES = 300
_QUEUE_FILE = """
queue:
- name: one-a-second
  rate: 1/s
  bucket_size: 5
- name: two-at-once
  rate: 500/s
  bucket_size: 100
  max_concurrent_requests: 2
- name: quick-retries
  rate: 500/s
  retry_parameters: {min_backoff_seconds: 0.02, max_backoff_seconds: 0.02}
- name: three-attempts
  rate: 500/s
  retry_parameters: {task_retry_limit: 2, min_backoff_seconds: 0.02, max_backoff_seconds: 0.02}
- name: both-limits
  rate: 500/s
  retry_parameters:
    {task_retry_limit: 1, task_age_limit: 1s, min_backoff_seconds: 0.1, max_backoff_seconds: 0.1}
""" + "".join(f"- {{name: plain-{number}, rate: 500/s}}\n" for number in range(_PLAIN_QUEUES))


@dataclass(frozen=True)
class Push:
    """One request that the target got. Header names are in lower case."""

    at: float
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Target:
    """An HTTP server that records what it is sent; `answer` decides the status of each push."""

    url: str = ""
    pushes: list[Push] = field(default_factory=list)
    answer: Callable[[Push], int] = lambda _push: 204
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    def receive(self, push: Push) -> int:
        with self._arrived:
            self.pushes.append(push)
            self._arrived.notify_all()
        return self.answer(push)

    def wait_for(self, count: int, timeout: float = WAIT) -> list[Push]:
        """The pushes so far, once there are `count`."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.pushes) >= count, timeout), self.pushes
            return list(self.pushes)


@pytest.fixture
def target() -> Iterator[Target]:
    with serving_target() as recorder:
        yield recorder


@contextmanager
def serving_target(tls: ssl.SSLContext | None = None) -> Iterator[Target]:
    """A target that serves on a port of its own, over TLS where a context is given."""
    recorder = Target()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status = recorder.receive(Push(monotonic(), self.command, self.path, headers, body))
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.serve)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorder.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield recorder
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass(frozen=True)
class Server:
    """A queue server that runs: its process and where it listens."""

    process: subprocess.Popen[str]
    grpc: str
    rest: str

    def client(self) -> tasks_v2.CloudTasksClient:
        return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=grpc.insecure_channel(self.grpc)))


EMULATOR = [sys.executable, "-c", "from headrace.cli.emulator import command; command()"]


def start_server(*options: str) -> Server:
    """Run `headrace emulator` on free ports, up to the line that says where it listens."""
    process = subprocess.Popen(
        [*EMULATOR, "--grpc-port=0", "--rest-port=0", "--json", "--project=demo", "--location=here", *options],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    return Server(process, ready["grpc"], ready["rest"])


def stop_server(server: Server) -> int:
    """Stop it as a platform does, and give its exit status."""
    server.process.terminate()
    status = server.process.wait(WAIT)
    assert server.process.stdout is not None
    server.process.stdout.close()
    return status


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("queues")
    (folder / "queue.yaml").write_text(_QUEUE_FILE)
    running = start_server("--data", str(folder / "data"), "--queues", str(folder / "queue.yaml"))
    yield running
    assert stop_server(running) == 0


@pytest.fixture(scope="session")
def client(server: Server) -> Iterator[tasks_v2.CloudTasksClient]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="session")
def _unused_queues() -> Iterator[str]:
    return iter([f"{LOCATION}/queues/plain-{number}" for number in range(_PLAIN_QUEUES)])


@pytest.fixture
def queue(_unused_queues: Iterator[str]) -> str:
    """The full name of a queue that no other test uses: 500/s, no limit on attempts."""
    return next(_unused_queues)


@pytest.fixture
def paused_queue(queue: str, client: tasks_v2.CloudTasksClient) -> str:
    """The same, paused: its tasks stay."""
    client.pause_queue(name=queue)
    return queue


def http_task(url: str, **fields: object) -> dict[str, object]:
    """A task that posts to `url`; `name` or other fields may be added."""
    return {"http_request": {"url": url}, **fields}
