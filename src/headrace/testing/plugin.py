"""The pytest plugin: a service in the test's process, and one queue server, started by the first test that asks.

It is loaded in every run of pytest where headrace is installed, so it imports nothing before a fixture is used.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import pytest

if TYPE_CHECKING:
    from headrace.testing.pushes import Body, Pushed
    from headrace.testing.server import QueueServer, Ran
    from headrace.testing.service import ServiceUnderTest


class Advance(Protocol):
    """See `QueueServer.advance`."""

    def __call__(self, seconds: float) -> "Ran": ...


class Drain(Protocol):
    """See `QueueServer.drain`."""

    def __call__(self, queue: str | None = None, *, within: float = 86_400.0) -> "Ran": ...


class AssertPushed(Protocol):
    """See `QueueServer.assert_pushed`."""

    def __call__(
        self,
        queue: str,
        count: int | None = None,
        *,
        body: "Body | None" = None,
        headers: dict[str, str] | None = None,
        url: str | None = None,
    ) -> "list[Pushed]": ...


def pytest_addoption(parser: pytest.Parser) -> None:
    """Two settings: options of `headrace emulator`, and the folder of an application."""
    words = "Options of `headrace emulator` for the queue server of the tests, such as --queues queue.yaml."
    parser.addini("headrace_emulator", words, type="args", default=[])
    words = "The folder with the openapi.yaml of the service that is tested, from pytest's root."
    parser.addini("headrace_app", words, default=".")


@pytest.fixture(scope="session")
def _queue_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[QueueServer]":
    from headrace.testing.server import QueueServer

    folder, config = tmp_path_factory.mktemp("headrace"), request.config
    server = QueueServer(folder, config.getini("headrace_emulator"), root=config.rootpath)
    yield server
    server.close()


@pytest.fixture
def queue_server(_queue_server: "QueueServer", monkeypatch: pytest.MonkeyPatch) -> "QueueServer":
    """A queue server in a process of its own, as new for each test; CLOUD_TASKS_EMULATOR_HOST names it."""
    _queue_server.reset()
    monkeypatch.setenv("CLOUD_TASKS_EMULATOR_HOST", _queue_server.grpc)
    return _queue_server


@pytest.fixture
def advance(queue_server: "QueueServer") -> Advance:
    """`advance(seconds)` lets time pass: everything that falls due runs, in order, and what it causes."""
    return queue_server.advance


@pytest.fixture
def drain(queue_server: "QueueServer") -> Drain:
    """`drain(queue=None)` lets time pass until no task is left."""
    return queue_server.drain


@pytest.fixture
def assert_pushed(queue_server: "QueueServer") -> AssertPushed:
    """`assert_pushed(queue, count, body=…, headers=…, url=…)`: tasks like this were pushed onto the queue."""
    return queue_server.assert_pushed


@pytest.fixture
def headrace_service(request: pytest.FixtureRequest, tmp_path: Path) -> "Iterator[ServiceUnderTest]":
    """The service of `headrace_app` in this process, as new: what it pushes waits until the test has it delivered."""
    from headrace.testing.service import ServiceUnderTest

    folder = request.config.rootpath / request.config.getini("headrace_app")
    service = ServiceUnderTest(folder, tmp_path, now=time.time())
    yield service
    service.close()
