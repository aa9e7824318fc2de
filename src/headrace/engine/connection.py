"""One connection of the HTTP/1.1 client: one request at a time, its answer parsed as it comes."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, cast

import httptools

from headrace.engine.errors import ConnectionDropped, MalformedResponse, PushFailed

HEAD_LIMIT = 64 * 1024
BODY_KEPT = 4 * 1024
BODY_LIMIT = 1024 * 1024
ANSWER_LIMIT = 16 * BODY_LIMIT
"""Bytes of a whole answer, with interim ones, chunk sizes and trailers: what bounds one that does not end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer as it came: header names in lower case, and the first BODY_KEPT bytes of the body."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


class Exchange:
    """One request and what becomes of it. `ended` is called once, with the answer or why there is none."""

    __slots__ = ("connection", "deadline", "ended", "is_head", "over", "payload")

    def __init__(
        self, payload: bytes, is_head: bool, deadline: float, ended: Callable[[Answer | PushFailed], None]
    ) -> None:
        self.payload = payload
        self.is_head = is_head
        self.deadline = deadline
        self.ended = ended
        self.connection: Connection | None = None
        self.over = False


class Owner(Protocol):
    """The pool that a connection belongs to."""

    def finish(self, exchange: Exchange, result: Answer | PushFailed) -> None: ...
    def opened(self, connection: "Connection") -> None: ...
    def freed(self, connection: "Connection") -> None: ...
    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.BufferedProtocol):
    """`buffer` may be shared by all connections of a loop: it is read out before the next one is filled."""

    __slots__ = (
        "_body", "_body_size", "_buffer", "_complete", "_exchange", "_head_size", "_headers", "_in_head",
        "_keeps_alive", "_owner", "_parser", "_received", "_sized", "_transport", "idle_since",
    )  # fmt: skip

    def __init__(self, owner: Owner, buffer: memoryview) -> None:
        self._owner = owner
        self._buffer = buffer
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._received = 0
        self.idle_since = 0.0
        self._expect()

    def _expect(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: bytes = b""
        self._body_size = 0
        self._head_size = 0
        self._in_head = True
        self._sized = False
        self._complete = False
        self._keeps_alive = False

    @property
    def usable(self) -> bool:
        """Whether a request may be sent on it now."""
        return self._transport is not None and not self._transport.is_closing() and self._exchange is None

    def send(self, exchange: Exchange) -> None:
        """Send a request; `usable` must hold."""
        assert self._transport is not None
        self._expect()
        self._received = 0
        self._exchange = exchange
        exchange.connection = self
        self._transport.write(exchange.payload)

    def abort(self) -> None:
        """Close at once and forget the exchange."""
        self._exchange = None
        if self._transport is not None:
            self._transport.abort()

    # What the loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.opened(self)

    def connection_lost(self, error: Exception | None) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            if error is None and not self._in_head and not self._sized:
                self._owner.finish(exchange, self._answer())
            else:
                self._owner.finish(exchange, ConnectionDropped("The target closed the connection before it answered."))
        self._owner.lost(self)

    def get_buffer(self, _sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, count: int) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        self._received += count
        if self._in_head:
            self._head_size += count
        try:
            self._parser.feed_data(self._buffer[:count])
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._complete:
                self._give_up(exchange, MalformedResponse(f"The answer is not HTTP/1.1: {error or 'an upgrade'}."))
                return
            self._transport_close()
        if self._complete:
            self._exchange = None
            assert self._transport is not None
            if not self._keeps_alive or self._transport.get_write_buffer_size():
                self._transport_close()
            self._owner.finish(exchange, self._answer())
            self._owner.freed(self)
        elif self._in_head and self._head_size > HEAD_LIMIT:
            self._give_up(exchange, MalformedResponse(f"The answer's head is longer than {HEAD_LIMIT} bytes."))
        elif self._received > ANSWER_LIMIT:
            self._give_up(exchange, MalformedResponse(f"The answer is longer than {ANSWER_LIMIT} bytes."))
        elif self._body_size > BODY_LIMIT:
            answer = self._answer()
            self.abort()
            self._owner.finish(exchange, answer)

    def _give_up(self, exchange: Exchange, reason: PushFailed) -> None:
        self.abort()
        self._owner.finish(exchange, reason)

    def _transport_close(self) -> None:
        assert self._transport is not None
        self._transport.close()

    def _answer(self) -> Answer:
        return Answer(self._parser.get_status_code(), self._headers, self._body[:BODY_KEPT])

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in (b"content-length", b"transfer-encoding"):
            self._sized = True
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            return
        self._in_head = False
        if self._exchange is not None and self._exchange.is_head:
            self._complete = True

    def on_body(self, data: bytes) -> None:
        self._body_size += len(data)
        if len(self._body) < BODY_KEPT:
            self._body += data

    def on_message_complete(self) -> None:
        if self._in_head:  # an interim answer (1xx); the final one follows
            self._expect()
        else:
            self._complete = True
            self._keeps_alive = self._parser.should_keep_alive()
