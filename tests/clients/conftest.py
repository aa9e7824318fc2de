"""A queue server for clients of other languages, in the location that their commands name."""

from collections.abc import Iterator

import pytest

from tests.cloud.conftest import Server, start_server, stop_server, target
from tests.examples.fences import fences_of

__all__ = ["server", "target"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start_server("--memory", "--location=us-central1")
    yield running
    assert stop_server(running) == 0


@pytest.fixture
def documented_server() -> Iterator[Server]:
    """A server as docs/emulator.md starts it, but for its ports."""
    running = start_server("--memory", "--project=headrace-dev", "--location=local")
    yield running
    assert stop_server(running) == 0


def documented(heading: str, language: str, server: Server) -> str:
    """The block of docs/emulator.md under a heading, with the ports of a server."""
    (block,) = (each for each in fences_of("docs/emulator.md") if (each.heading, each.language) == (heading, language))
    host, port = server.grpc.split(":")
    own_port = block.text.replace("port: 8123", f"port: {port}")
    return own_port.replace("127.0.0.1:8123", f"{host}:{port}").replace("http://127.0.0.1:8124", server.rest)
