"""The HTTP/1.1 client that pushes: kept connections by origin, one timer for all deadlines, no redirects.

A request is never sent twice once bytes of it went out. A kept connection that closes before the answer has
ended therefore counts as a push without an answer (ConnectionDropped). To make that rare, a connection that was
idle for IDLE_LIMIT seconds is not used again: common servers keep theirs for 2 s and more.
"""

import asyncio
import errno
import ipaddress
import resource
import socket
import ssl
from asyncio import AbstractEventLoop, TimerHandle
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from headrace.engine.address import Address, Origin, parse_address
from headrace.engine.connection import Answer, Connection, Exchange
from headrace.engine.errors import PushFailed, TargetForbidden, TargetTimedOut, TargetUnreachable
from headrace.engine.reach import TargetRules
from headrace.engine.transport import Ended, Response

IDLE_LIMIT = 1.5
CONNECT_TIMEOUT = 10.0
DNS_TTL = 30.0
# Connections are opened freely up to this many an origin. More are opened only while the requests that wait would
# need more than BACKLOG_SECONDS at the pace of the last TICK: a fast target is served best by few connections,
# a slow one gets as many as there are requests.
FREE_CONNECTIONS = 32
TICK = 0.01
BACKLOG_SECONDS = 0.5
OPENED_A_TICK = 64
_BUFFER_SIZE = 64 * 1024
_SPARE_FILES = 256
_MOST_CONNECTIONS = 100_000
_CLIENT_SETS = frozenset((b"host", b"content-length", b"transfer-encoding", b"connection"))
_LINE_BREAKS = bytes.maketrans(b"\r\n\0", b"   ")


def encode_headers(headers: Sequence[tuple[str, str]]) -> bytes:
    """Header lines, without those that the client sets itself; a line break in a value becomes a space."""
    lines = []
    for name, value in headers:
        key = name.encode("utf-8").translate(_LINE_BREAKS).strip()
        if key.lower() not in _CLIENT_SETS:
            lines.append(b"%s: %s\r\n" % (key, value.encode("utf-8").translate(_LINE_BREAKS).strip()))
    return b"".join(lines)


def encode_request_line(method: str, address: Address) -> bytes:
    """The request line and the Host header."""
    return f"{method} {address.path} HTTP/1.1\r\nHost: {address.host}\r\n".encode("ascii")


def encode_request(method: str, address: Address, headers: Sequence[tuple[str, str]], body: bytes) -> bytes:
    """A whole request."""
    lines = [encode_request_line(method, address), encode_headers(headers)]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(b"Content-Length: %d\r\n" % len(body))
    return b"".join((*lines, b"\r\n", body))


def as_response(result: Answer | PushFailed) -> Response:
    """The answer with its headers as text. Raises the PushFailed that came in its place."""
    if isinstance(result, PushFailed):
        raise result
    named = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in result.headers)
    return Response(result.status, named, result.body)


def raise_file_limit() -> None:
    """Allow this process as many open files, so connections, as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        # macOS names a limit that it then refuses; the soft one stays.
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _connection_limit() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(64, soft - _SPARE_FILES)


class Client:
    """Sends requests over HTTP/1.1. Belongs to the event loop that first uses it; `close` ends everything.

    `connections` bounds the open connections of all origins together; requests beyond it wait their turn. `reach`
    says what it may connect to; None: everything.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        connections: int | None = None,
        reach: TargetRules | None = None,
    ) -> None:
        self._tls = tls
        self._reach = reach
        self._limit = connections or _connection_limit()
        self._loop: AbstractEventLoop | None = None
        self._buffer = memoryview(bytearray(_BUFFER_SIZE))
        self._pools: dict[Origin, _Pool] = {}
        self._active: set[Exchange] = set()
        self._addresses: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._look_ups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._sweep_at = float("inf")
        self._sweep_timer: TimerHandle | None = None
        self.open_connections = 0

    @property
    def loop(self) -> AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        return self._loop

    async def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout: float
    ) -> Response:
        """Send one request and wait for its answer, at most `timeout` seconds. Raises PushFailed."""
        address = parse_address(url)
        future: asyncio.Future[Answer | PushFailed] = self.loop.create_future()
        payload = encode_request(method, address, headers, body)
        exchange = self.send(address.origin, payload, method == "HEAD", timeout, future.set_result)
        try:
            answer = await future
        finally:
            self._withdraw(exchange)
        return as_response(answer)

    def send(self, origin: Origin, payload: bytes, is_head: bool, timeout: float, ended: Ended) -> Exchange:
        """Send a whole request; `ended` gets its answer, or why there is none. Never calls it before returning."""
        deadline = self.loop.time() + timeout
        exchange = Exchange(payload, is_head, deadline, ended)
        self._active.add(exchange)
        self._sweep_by(deadline)
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = _Pool(self, origin)
        pool.take(exchange)
        return exchange

    async def close(self) -> None:
        """Close all connections; exchanges under way are dropped without a word."""
        if self._sweep_timer is not None:
            self._sweep_timer.cancel()
        self._active.clear()
        tasks: list[asyncio.Task[Any]] = list(self._look_ups.values())
        for pool in list(self._pools.values()):
            tasks.extend(pool.close())
        self._pools.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What pools call.

    def finish(self, exchange: Exchange, result: Answer | PushFailed) -> None:
        """End an exchange, once."""
        if not exchange.over:
            exchange.over = True
            self._active.discard(exchange)
            exchange.ended(result)

    def new_connection(self, pool: "_Pool") -> Connection:
        return Connection(pool, self._buffer)

    def may_open(self) -> bool:
        """Whether one more connection may be opened; an idle one of another origin gives way."""
        if self.open_connections < self._limit:
            return True
        return any(pool.drop_idle() for pool in self._pools.values())

    def forget(self, pool: "_Pool") -> None:
        self._pools.pop(pool.origin, None)

    def keeps_idle(self) -> None:
        self._sweep_by(self.loop.time() + IDLE_LIMIT)

    async def reachable(self, host: str, port: int) -> list[str]:
        """The host's addresses that may be connected to. Raises OSError, or TargetForbidden when none may."""
        found = await self._resolve(host, port)
        if self._reach is None:
            return found
        allowed = [address for address in found if self._reach.allows(host, port, address)]
        if found and not allowed:
            raise TargetForbidden(f"{host}:{port} is at {found[0]}, which pushes may not reach.")
        return allowed

    async def _resolve(self, host: str, port: int) -> list[str]:
        """The host's addresses, kept for DNS_TTL seconds. Raises OSError."""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        key = (host, port)
        until, addresses = self._addresses.get(key, (0.0, []))
        if self.loop.time() < until:
            return addresses
        task = self._look_ups.get(key)
        if task is None:
            task = self._look_ups[key] = self.loop.create_task(self._look_up(key))
            task.add_done_callback(lambda _: self._look_ups.pop(key, None))
        return await asyncio.shield(task)

    async def _look_up(self, key: tuple[str, int]) -> list[str]:
        found = await self.loop.getaddrinfo(*key, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        now = self.loop.time()
        self._addresses = {kept: entry for kept, entry in self._addresses.items() if entry[0] > now}
        self._addresses[key] = (now + DNS_TTL, addresses)
        return addresses

    def tls_for(self, origin: Origin) -> ssl.SSLContext | None:
        if not origin.tls:
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    # Deadlines.

    def _withdraw(self, exchange: Exchange) -> None:
        if not exchange.over:
            exchange.over = True
            self._active.discard(exchange)
            if exchange.connection is not None:
                exchange.connection.abort()

    def _sweep_by(self, when: float) -> None:
        if when < self._sweep_at:
            if self._sweep_timer is not None:
                self._sweep_timer.cancel()
            self._sweep_at = when
            self._sweep_timer = self.loop.call_at(when, self._sweep)

    def _sweep(self) -> None:
        now = self.loop.time()
        self._sweep_at = float("inf")
        for exchange in [exchange for exchange in self._active if exchange.deadline <= now]:
            self._withdraw(exchange)
            exchange.ended(TargetTimedOut("The target did not answer within the dispatch deadline."))
        kept = [pool.drop_stale(now) for pool in list(self._pools.values())]
        following = min((exchange.deadline for exchange in self._active), default=float("inf"))
        if any(kept):
            following = min(following, now + IDLE_LIMIT)
        # At most four sweeps a second, so that many deadlines close together do not make many sweeps.
        if following != float("inf"):
            self._sweep_by(max(following, now + 0.25))


class _Pool:
    """The connections of one origin and the requests that wait for one."""

    def __init__(self, client: Client, origin: Origin) -> None:
        self.origin = origin
        self._client = client
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Exchange] = deque()
        self._answered = 0
        self._timer: TimerHandle | None = None

    def take(self, exchange: Exchange) -> None:
        connection = self._idle_connection()
        if connection is not None:
            connection.send(exchange)
            return
        self._waiting.append(exchange)
        if len(self._connections) + len(self._opening) < FREE_CONNECTIONS:
            self._open()
        self._keep_ticking()

    def _idle_connection(self) -> Connection | None:
        oldest = self._client.loop.time() - IDLE_LIMIT
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and connection.idle_since > oldest:
                return connection
            connection.abort()
        return None

    def finish(self, exchange: Exchange, result: Answer | PushFailed) -> None:
        self._answered += 1
        self._client.finish(exchange, result)

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def freed(self, connection: Connection) -> None:
        if not connection.usable:
            return
        exchange = self._next_waiting()
        if exchange is not None:
            connection.send(exchange)
            return
        connection.idle_since = self._client.loop.time()
        if not self._idle:
            self._client.keeps_idle()
        self._idle.append(connection)

    def lost(self, connection: Connection) -> None:
        self._connections.discard(connection)
        self._client.open_connections -= 1
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting and not self._connections and not self._opening:
            self._open()
        self._leave_if_empty()

    def drop_idle(self) -> bool:
        """Close one idle connection, if there is one."""
        if not self._idle:
            return False
        self._idle.pop(0).abort()
        return True

    def drop_stale(self, now: float) -> bool:
        """Close connections that were idle for too long; says whether idle ones are left."""
        for connection in [kept for kept in self._idle if kept.idle_since <= now - IDLE_LIMIT]:
            self._idle.remove(connection)
            connection.abort()
        return bool(self._idle)

    def close(self) -> list[asyncio.Task[None]]:
        """Close everything; returns the tasks that were opening connections."""
        if self._timer is not None:
            self._timer.cancel()
        self._waiting.clear()
        for connection in list(self._connections):
            connection.abort()
        return list(self._opening)

    def _next_waiting(self) -> Exchange | None:
        while self._waiting:
            exchange = self._waiting.popleft()
            if not exchange.over:
                return exchange
        return None

    def _keep_ticking(self) -> None:
        if self._timer is None:
            self._timer = self._client.loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        self._timer = None
        while self._waiting and self._waiting[0].over:
            self._waiting.popleft()
        if not self._waiting:
            self._leave_if_empty()
            return
        room = FREE_CONNECTIONS - len(self._connections)
        if len(self._waiting) * TICK > self._answered * BACKLOG_SECONDS:
            room = max(room, OPENED_A_TICK)
        for _ in range(min(len(self._waiting), room) - len(self._opening)):
            self._open()
        self._answered = 0
        self._keep_ticking()

    def _leave_if_empty(self) -> None:
        if not (self._connections or self._opening or self._waiting):
            self._client.forget(self)

    def _open(self) -> None:
        if self._client.may_open():
            self._client.open_connections += 1
            task = self._client.loop.create_task(self._connect())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect(self) -> None:
        """Open one connection and give it work; a failure is the answer to the request that waited longest."""
        try:
            connection = await self._reach()
        except (OSError, ValueError) as error:  # the second of names that no look-up and no certificate can hold
            self._client.open_connections -= 1
            if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
                return
            reason = str(error) or "no answer to the connection"
            self._refuse_next(TargetUnreachable(f"{self.origin.host}:{self.origin.port}: {reason}"))
        except TargetForbidden as error:
            self._client.open_connections -= 1
            self._refuse_next(error)
        else:
            self.freed(connection)

    def _refuse_next(self, reason: PushFailed) -> None:
        exchange = self._next_waiting()
        if exchange is not None:
            self.finish(exchange, reason)
        self._keep_ticking()

    async def _reach(self) -> Connection:
        """A connection to the first of the host's addresses that takes one. Raises OSError or TargetForbidden."""
        origin, client = self.origin, self._client
        failure: OSError = OSError(f"no address for {origin.host}")
        async with asyncio.timeout(CONNECT_TIMEOUT):
            for address in await client.reachable(origin.host, origin.port):
                try:
                    _, connection = await client.loop.create_connection(
                        lambda: client.new_connection(self),
                        address,
                        origin.port,
                        ssl=client.tls_for(origin),
                        server_hostname=origin.host if origin.tls else None,
                    )
                except OSError as error:
                    failure = error
                else:
                    return connection
        raise failure
