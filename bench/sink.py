"""A fast HTTP sink in a process of its own: answers 200 to everything and notes when each task arrived."""

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import cast

import httptools
import uvloop

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Sink(asyncio.BufferedProtocol):
    """GET gives the arrivals since the last GET, as JSON: pairs of task name and monotonic seconds; HEAD their count.

    The count is the Content-Length of the answer to HEAD.
    """

    arrivals: list[tuple[str, float]] = []  # noqa: RUF012 - one list for all connections of the process
    buffer = memoryview(bytearray(256 * 1024))

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._name = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self._parser.feed_data(self.buffer[:count])

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"X-CloudTasks-TaskName":
            self._name = value.decode()

    def on_message_complete(self) -> None:
        assert self._transport is not None
        if self._parser.get_method() == b"GET":
            body = json.dumps(self.arrivals).encode()
            self.arrivals.clear()
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        elif self._parser.get_method() == b"HEAD":
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.arrivals))
        else:
            self.arrivals.append((self._name, time.monotonic()))
            self._transport.write(_OK)


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Sink, "127.0.0.1", 0)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    uvloop.run(serve())


@contextmanager
def sink() -> Iterator[str]:
    """Run a sink; gives its base URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()
