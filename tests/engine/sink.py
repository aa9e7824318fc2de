"""A real HTTP/1.1 target on loopback, for tests: it notes what it is sent and answers as it is told."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def status(code: int, headers: str = "") -> bytes:
    """A whole answer without a body; `headers` are lines with their ends."""
    return f"HTTP/1.1 {code} Word\r\n{headers}Content-Length: 0\r\n\r\n".encode()


@dataclass(frozen=True, slots=True)
class Request:
    """`number` counts the sink's requests from 0, `connection` its connections. Header names as they came."""

    number: int
    connection: int
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Reply = Callable[[Request], Awaitable[bytes | None]]
"""Gives the bytes of the answer; None closes the connection."""


async def always_ok(_: Request) -> bytes:
    return OK


class Sink:
    """`async with Sink(reply) as sink`; the connection is closed after an answer that says so."""

    def __init__(self, reply: Reply = always_ok) -> None:
        self.reply = reply
        self.requests: list[Request] = []
        self.under_way = 0
        self.most_under_way = 0
        self.url = ""
        self._changed = asyncio.Condition()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def received(self, count: int) -> list[Request]:
        """Wait until at least `count` requests have come."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.requests) >= count)
        return self.requests

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection, self._connections = self._connections, self._connections + 1
        try:
            while request := await self._read(reader, connection):
                async with self._changed:
                    self.requests.append(request)
                    self.under_way += 1
                    self.most_under_way = max(self.most_under_way, self.under_way)
                    self._changed.notify_all()
                try:
                    answer = await self.reply(request)
                finally:
                    self.under_way -= 1
                if answer is None:
                    break
                writer.write(answer)
                await writer.drain()
                if b"connection: close" in answer.lower():
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request | None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("Content-Length", 0)))
        return Request(len(self.requests), connection, method, path, headers, body)
