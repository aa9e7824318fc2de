"""A queue server for clients of other languages, in the location that their commands name."""

from collections.abc import Iterator

import pytest

from tests.cloud.conftest import Server, start_server, stop_server, target

__all__ = ["server", "target"]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = start_server("--memory", "--location=us-central1")
    yield running
    assert stop_server(running) == 0
