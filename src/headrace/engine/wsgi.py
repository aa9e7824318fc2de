"""Requests to a WSGI application in this process (PEP 3333), made of the bytes that would go over the network."""

import asyncio
import logging
import sys
from asyncio import Future, TimerHandle
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication

from headrace.engine.address import Origin, parse_address
from headrace.engine.connection import BODY_KEPT, Answer
from headrace.engine.errors import PushFailed, TargetTimedOut
from headrace.engine.http import as_response, encode_request
from headrace.engine.transport import Ended, Response

_log = logging.getLogger(__name__)


class WsgiTransport:
    """Carries requests to `application`, so many at once as there are `threads`; more wait their turn.

    A thread cannot be stopped: a request that is out of time counts as one without an answer, while its thread
    goes on. `mount` is the path that the URLs of requests have before the application's own, without a slash at
    its end.
    """

    def __init__(self, application: WSGIApplication, threads: int, mount: str = "") -> None:
        self._application = application
        self._mount = mount
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headrace-push")
        self._under_way: set[Future[Answer]] = set()

    async def request(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout: float
    ) -> Response:
        """See `Transport.request`."""
        address = parse_address(url)
        future: Future[Answer | PushFailed] = asyncio.get_running_loop().create_future()
        payload = encode_request(method, address, headers, body)
        sent = self.send(address.origin, payload, method == "HEAD", timeout, future.set_result)
        try:
            return as_response(await future)
        finally:
            self._drop(sent)

    def send(
        self,
        origin: Origin,
        payload: bytes,
        is_head: bool,  # noqa: ARG002 - the answer says where it ends
        timeout: float,
        ended: Ended,
    ) -> Future[Answer]:
        """See `Transport.send`."""
        loop = asyncio.get_running_loop()
        sent = loop.run_in_executor(self._pool, call, self._application, origin, payload, self._mount)
        self._under_way.add(sent)
        sent.add_done_callback(partial(self._ended, ended, loop.call_later(timeout, sent.cancel)))
        return sent

    async def close(self) -> None:
        """See `Transport.close`. Requests that a thread has begun go on, and nobody waits for them."""
        for sent in list(self._under_way):
            self._drop(sent)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _drop(self, sent: Future[Answer]) -> None:
        self._under_way.discard(sent)
        sent.cancel()

    def _ended(self, ended: Ended, deadline: TimerHandle, sent: Future[Answer]) -> None:
        deadline.cancel()
        if sent not in self._under_way:
            return
        self._under_way.discard(sent)
        if sent.cancelled():
            ended(TargetTimedOut("The target did not answer within the dispatch deadline."))
        else:
            ended(sent.result())


def call(application: WSGIApplication, origin: Origin, payload: bytes, mount: str = "") -> Answer:
    """The application's answer to a whole HTTP/1.1 request, made in this thread; the start of its body is kept."""
    head, _, body = payload.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    whole = answer(application, make_environ(origin, method, target, headers, body, mount))
    return replace(whole, body=whole.body[:BODY_KEPT])


def answer(application: WSGIApplication, environ: dict[str, Any]) -> Answer:
    """The application's whole answer to a request, made in this thread; 500 where it raised."""
    begun: list[tuple[str, list[tuple[str, str]]]] = []
    body = bytearray()

    def start_response(status: str, headers: list[tuple[str, str]], *_error: object) -> Callable[[bytes], None]:
        begun[:] = [(status, headers)]
        return body.extend

    try:
        chunks = application(environ, start_response)
        try:
            for chunk in chunks:
                body.extend(chunk)
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        ((status, headers),) = begun
    except Exception:  # noqa: BLE001 - whatever it raises, the request has failed, as behind any server
        _log.exception("the application raised")
        return Answer(500, [], b"")
    named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    return Answer(int(status.split(" ", 1)[0]), named, bytes(body))


def make_environ(
    origin: Origin, method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes, mount: str = ""
) -> dict[str, Any]:
    """The environment of a request (PEP 3333); `target` is that of its first line, `mount` the path before it."""
    path, _, query = target.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": mount,
        "PATH_INFO": unquote_to_bytes(path.removeprefix(mount)).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": origin.host,
        "SERVER_PORT": str(origin.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if origin.tls else "http",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ
