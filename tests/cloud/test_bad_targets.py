"""Targets that are dead, slow, endless or malformed hold up no other queue."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from time import monotonic

from google.cloud import tasks_v2

from tests.cloud.conftest import LOCATION, Target, http_task, start_server, stop_server

BAD_TASKS = 40
GOOD_TASKS = 50


@contextmanager
def served(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a target that takes every connection and answers as `answer` does."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener, ExitStack() as connections:

        def take() -> None:
            with suppress(OSError):
                while True:
                    connection = listener.accept()[0]
                    connections.callback(hang_up, connection)
                    threading.Thread(target=speak, args=(connection,), daemon=True).start()

        def speak(connection: socket.socket) -> None:
            with suppress(OSError):
                answer(connection)

        thread = threading.Thread(target=take, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def say_nothing(connection: socket.socket) -> None:
    """Slow: the request is read, and that is all."""
    while connection.recv(65536):
        pass


def go_on_for_ever(connection: socket.socket) -> None:
    """Endless: a body of any length."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")


def talk_nonsense(connection: socket.socket) -> None:
    """Malformed: no HTTP."""
    connection.recv(65536)
    connection.sendall(b"\x00\xff no HTTP at all \r\n\r\n" * 10)


def test_bad_targets_hold_up_no_other_queue(target: Target) -> None:
    server = start_server("--memory")
    try:
        with ExitStack() as stack:
            urls = [stack.enter_context(served(answer)) for answer in (say_nothing, go_on_for_ever, talk_nonsense)]
            client = stack.enter_context(server.client())
            for name, url in zip(("slow", "endless", "malformed", "dead"), [*urls, "http://127.0.0.1:1/"], strict=True):
                fill(client, name, url, BAD_TASKS)
            started = monotonic()
            fill(client, "good", target.url, GOOD_TASKS)
            target.wait_for(GOOD_TASKS)
            assert monotonic() - started < 5
            # It still pushes what is slow, and shows nothing as done that was not.
            assert len(list(client.list_tasks(parent=f"{LOCATION}/queues/slow"))) == BAD_TASKS
            assert len(list(client.list_tasks(parent=f"{LOCATION}/queues/dead"))) == BAD_TASKS
            for name in ("slow", "endless", "malformed", "dead"):
                client.delete_queue(name=f"{LOCATION}/queues/{name}")
    finally:
        assert stop_server(server) == 0


def fill(client: tasks_v2.CloudTasksClient, name: str, url: str, count: int) -> None:
    queue = client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/{name}"}).name
    requests = [{"parent": queue, "task": http_task(url)} for _ in range(count)]
    client.batch_create_tasks(request={"parent": queue, "requests": requests})
