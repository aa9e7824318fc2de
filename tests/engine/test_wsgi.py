"""Requests to a WSGI application in the same process."""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from headrace.engine.address import Origin
from headrace.engine.connection import Answer
from headrace.engine.errors import PushFailed, TargetTimedOut, TargetUnreachable
from headrace.engine.http import encode_request, parse_address
from headrace.engine.transport import Response
from headrace.engine.wsgi import WsgiTransport, call

ORIGIN = Origin(False, "service.test", 80)
WAIT = 30.0


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    words = ("REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE", "HTTP_X_NAME", "HTTP_HOST")
    write = start_response("202 Accepted", [("X-Seen", "yes")])
    write("|".join(environ.get(word, "-") for word in words).encode("latin-1"))
    return [b"|", environ["wsgi.input"].read()]


def carry(
    application: Callable[..., Any],
    use: Callable[[WsgiTransport], Awaitable[Any]],
    *,
    threads: int = 2,
    mount: str = "",
) -> Any:
    async def run() -> Any:
        transport = WsgiTransport(application, threads, mount)
        try:
            return await use(transport)
        finally:
            await transport.close()

    return asyncio.run(run())


def get(transport: WsgiTransport, url: str = "http://service.test/", timeout: float = WAIT) -> Awaitable[Response]:
    return transport.request("GET", url, [], b"", timeout)


def test_the_application_gets_the_request_and_its_answer_comes_back() -> None:
    headers = [("Content-Type", "application/json"), ("X-Name", "a\r\nb"), ("X-Name", "c")]
    url = "http://service.test:81/mounted/caf%C3%A9/x?q=1&r=%20"
    answer = carry(echo, lambda transport: transport.request("POST", url, headers, b"body", WAIT), mount="/mounted")
    assert (answer.status, answer.headers) == (202, (("x-seen", "yes"),))
    assert answer.body.decode() == "POST|/mounted|/café/x|q=1&r=%20|application/json|a  b,c|service.test:81|body"


def test_an_application_that_raises_has_answered_500(caplog: pytest.LogCaptureFixture) -> None:
    def broken(*_: object) -> Iterable[bytes]:
        raise LookupError("no such thing")

    with caplog.at_level(logging.CRITICAL):
        assert carry(broken, get).status == 500


def test_an_answer_that_is_never_begun_counts_as_500(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.CRITICAL):
        assert carry(lambda *_: [b"text"], get).status == 500


def test_what_the_application_gives_back_is_closed() -> None:
    closed = []

    class Chunks(list[bytes]):
        def close(self) -> None:
            closed.append(True)

    def application(_environ: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        return Chunks([b"a", b"b"])

    payload = encode_request("GET", parse_address("http://service.test/"), [], b"")
    assert call(application, ORIGIN, payload) == Answer(200, [], b"ab")
    assert closed == [True]


def test_a_request_that_is_out_of_time_has_no_answer_and_one_that_waits_is_not_begun() -> None:
    begun, go_on = [], threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        begun.append(environ["PATH_INFO"])
        go_on.wait(WAIT)
        start_response("200 OK", [])
        return []

    async def use(transport: WsgiTransport) -> list[Any]:
        requests = [get(transport, f"http://service.test/{number}", 0.05) for number in range(2)]
        ended = await asyncio.gather(*requests, return_exceptions=True)
        go_on.set()
        assert (await get(transport, "http://service.test/last")).status == 200
        return ended

    ended = carry(slow, use, threads=1)
    assert [type(each) for each in ended] == [TargetTimedOut] * 2
    assert begun == ["/0", "/last"]


def test_a_transport_that_closes_drops_what_is_under_way_without_a_word() -> None:
    begun, go_on, ended = threading.Event(), threading.Event(), []

    def slow(_environ: object, start_response: Callable[..., Any]) -> Iterable[bytes]:
        begun.set()
        go_on.wait(WAIT)
        start_response("200 OK", [])
        return []

    async def use(transport: WsgiTransport) -> None:
        payload = encode_request("GET", parse_address("http://service.test/"), [], b"")
        transport.send(ORIGIN, payload, False, WAIT, ended.append)
        await asyncio.to_thread(begun.wait, WAIT)
        await transport.close()
        go_on.set()

    carry(slow, use)
    assert ended == []


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(PushFailed) as refused:
        carry(echo, lambda transport: get(transport, "ftp://service.test/"))
    assert isinstance(refused.value, TargetUnreachable)
