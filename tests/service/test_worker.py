"""A worker takes new connections only while it has a thread for them."""

import logging
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]

from headrace.service.worker import Worker

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


class _Log(logging.Logger):
    """What gunicorn asks of a log beside `logging`'s own."""

    def access(self, *_what: object) -> None:
        """Write nothing."""


class _Application:
    """Answers each request once it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def __call__(self, _environ: Any, start_response: Any) -> list[bytes]:
        assert self.let_go.wait(10)
        start_response("204 No Content", [])
        return []


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture
def worker(listener: socket.socket) -> Iterator[Worker]:
    config = Config()
    config.set("threads", 1)
    made = Worker(1, os.getpid(), [listener], None, 30, config, _Log("worker"))
    made.wsgi = _Application()
    made.tpool = made.get_thread_pool()
    made.poller = selectors.DefaultSelector()
    made.method_queue.init()
    made.poller.register(made.method_queue.fileno(), selectors.EVENT_READ, made.method_queue.run_callbacks)
    made.set_accept_enabled(True)
    yield made
    made.wsgi.let_go.set()
    made.tpool.shutdown()
    made.murder_keepalived(force=True)
    made.wait_for_and_dispatch_events(0)
    made.murder_keepalived(force=True)
    made.poller.close()
    made.method_queue.close()
    made.tmp.close()


def _listens(worker: Worker, listener: socket.socket) -> bool:
    return listener in worker.poller.get_map()


def test_a_worker_whose_threads_are_all_at_work_takes_no_new_connection(
    worker: Worker, listener: socket.socket
) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(REQUEST)
        worker.wait_for_and_dispatch_events(10)

        assert not _listens(worker, listener)
        worker.set_accept_enabled(True)
        assert not _listens(worker, listener)


def test_a_worker_with_an_idle_thread_takes_connections_again(worker: Worker, listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        client.sendall(REQUEST)
        worker.wait_for_and_dispatch_events(10)
        worker.wsgi.let_go.set()
        worker.wait_for_and_dispatch_events(10)

        worker.set_accept_enabled(True)

        assert _listens(worker, listener)
        assert client.recv(12) == b"HTTP/1.1 204"
