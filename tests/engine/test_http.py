"""The HTTP client against real connections, well-behaved and not."""

import asyncio
import datetime
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headrace.engine.address import parse_address
from headrace.engine.errors import (
    ConnectionDropped,
    MalformedResponse,
    PushFailed,
    TargetTimedOut,
    TargetUnreachable,
)
from headrace.engine.http import Client, Response
from tests.engine.sink import OK, Request, Sink, status


@asynccontextmanager
async def client(**options: object) -> AsyncIterator[Client]:
    made = Client(**options)  # type: ignore[arg-type]
    try:
        yield made
    finally:
        await made.close()


def answering(answer: bytes | None) -> Sink:
    async def reply(_: Request) -> bytes | None:
        return answer

    return Sink(reply)


async def ask(answer: bytes | None, method: str = "POST", timeout: float = 10.0) -> Response:
    async with answering(answer) as sink, client() as made:
        return await made.request(method, sink.url, (), b"", timeout)


async def never(_: Request) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_a_request_arrives_as_it_was_made() -> None:
    async with Sink() as sink, client() as made:
        headers = (("X-Mixed-Case", "a"), ("host", "other"), ("Content-Length", "99"), ("X-Bad", "a\r\nX-More: b"))
        response = await made.request("PUT", f"{sink.url}/a%zz b?q=ü#part", headers, b"body", 10.0)
        (request,) = sink.requests
    assert response == Response(200, (("content-length", "0"),), b"")
    assert (request.method, request.path, request.body) == ("PUT", "/a%zz%20b?q=%C3%BC", b"body")
    assert request.headers == {
        "Host": sink.url.removeprefix("http://"),
        "X-Mixed-Case": "a",
        "X-Bad": "a  X-More: b",
        "Content-Length": "4",
    }


async def test_requests_one_after_the_other_share_a_connection() -> None:
    async with Sink() as sink, client() as made:
        for _ in range(3):
            await made.request("POST", sink.url, (), b"x", 10.0)
        assert {request.connection for request in sink.requests} == {0}


async def test_a_connection_that_the_target_closes_is_not_used_again() -> None:
    async with answering(status(200, "Connection: close\r\n")) as sink, client() as made:
        for _ in range(2):
            await made.request("POST", sink.url, (), b"x", 10.0)
        assert [request.connection for request in sink.requests] == [0, 1]


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n0\r\n\r\n", b"ab"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nab", b"ab"),
        (b"HTTP/1.0 200 OK\r\nConnection: close\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab", b"ab"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000, b"x" * 4096),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 2_000_000, b"x" * 4096),
    ],
    ids=["sized", "chunked", "until-close", "http-1.0", "interim", "no-content", "long", "longer-than-read"],
)
async def test_answers_of_every_framing_are_read(answer: bytes, body: bytes) -> None:
    response = await ask(answer)
    assert response.status in (200, 204)
    assert response.body == body


async def test_a_redirect_is_an_answer_and_is_not_followed() -> None:
    response = await ask(status(302, "Location: /elsewhere\r\n"))
    assert (response.status, dict(response.headers)["location"]) == (302, "/elsewhere")


async def test_the_answer_to_a_head_has_no_body_though_it_names_a_length() -> None:
    assert (await ask(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n", method="HEAD")).status == 200


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 80_000,
        b"HTTP/1.1 101 Up\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
    ids=["not-http", "endless-head", "upgrade"],
)
async def test_what_is_not_an_answer_is_malformed(answer: bytes) -> None:
    with pytest.raises(MalformedResponse):
        await ask(answer)


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n",
    ],
    ids=["nothing", "half-a-body", "half-a-head"],
)
async def test_a_connection_closed_before_the_whole_answer_is_dropped_and_nothing_is_sent_twice(
    answer: bytes | None,
) -> None:
    async with answering(answer) as sink, client() as made:
        with pytest.raises(ConnectionDropped):
            await made.request("POST", sink.url, (), b"x", 10.0)
        assert len(sink.requests) == 1


@pytest.mark.parametrize(
    ("start", "endless"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 10_000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000),
    ],
    ids=["trailers", "interim answers"],
)
async def test_an_answer_that_does_not_end_is_given_up_long_before_the_deadline(start: bytes, endless: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(start)
        with suppress(ConnectionError):
            while True:
                writer.write(endless)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server, client() as made:
        host, port = server.sockets[0].getsockname()
        with pytest.raises(MalformedResponse, match="longer"):
            await made.request("GET", f"http://{host}:{port}", (), b"", 3600.0)


async def test_a_target_that_does_not_answer_times_out_and_others_go_on() -> None:
    async with Sink(never) as dead, Sink() as alive, client() as made:
        slow = asyncio.ensure_future(made.request("POST", dead.url, (), b"x", 0.05))
        await dead.received(1)
        assert (await made.request("POST", alive.url, (), b"x", 10.0)).status == 200
        with pytest.raises(TargetTimedOut):
            await slow


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with client() as made:
            results = await asyncio.gather(
                *(made.request("POST", url, (), b"x", 10.0) for _ in range(100)), return_exceptions=True
            )
    assert {type(result) for result in results} == {TargetUnreachable}


@pytest.mark.parametrize("url", ["ftp://host/", "http://", "http://host:99999/", "nonsense", "http://a b/"])
async def test_what_is_not_an_http_url_is_unreachable(url: str) -> None:
    async with client() as made:
        with pytest.raises(PushFailed):
            await made.request("POST", url, (), b"", 10.0)


async def test_a_name_that_cannot_be_looked_up_is_unreachable_and_takes_no_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise UnicodeError("label empty or too long")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", refuse)
    async with client(connections=1) as made:
        for _ in range(3):
            with pytest.raises(TargetUnreachable):
                await made.request("POST", "http://somewhere.example", (), b"", 10.0)
        assert made.open_connections == 0


async def test_a_slow_target_gets_as_many_connections_as_requests() -> None:
    async with Sink(never) as sink, client() as made:
        requests = [asyncio.ensure_future(made.request("POST", sink.url, (), b"x", 30.0)) for _ in range(200)]
        await sink.received(200)
        for request in requests:
            request.cancel()
        await asyncio.gather(*requests, return_exceptions=True)


async def test_requests_beyond_the_bound_of_connections_wait_their_turn() -> None:
    turn = asyncio.Event()

    async def reply(request: Request) -> bytes:
        await turn.wait()
        return OK

    async with Sink(reply) as sink, client(connections=3) as made:
        requests = [asyncio.ensure_future(made.request("POST", sink.url, (), b"x", 30.0)) for _ in range(20)]
        await sink.received(3)
        turn.set()
        assert {response.status for response in await asyncio.gather(*requests)} == {200}
        assert sink.most_under_way == 3


async def test_an_idle_connection_gives_way_when_another_origin_needs_one() -> None:
    async with Sink() as first, Sink() as second, client(connections=1) as made:
        await made.request("POST", first.url, (), b"x", 10.0)
        assert (await made.request("POST", second.url, (), b"x", 10.0)).status == 200


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file


# asyncio's own server leaves the stream of a refused handshake to the collector, which Python 3.13 tells.
@pytest.mark.filterwarnings("ignore:.*unclosed <StreamWriter")
@pytest.mark.filterwarnings("ignore:.*StreamWriter:pytest.PytestUnraisableExceptionWarning")
async def test_a_certificate_must_be_trusted(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server, client() as stranger, client(tls=ssl.create_default_context(cafile=certificate)) as friend:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(TargetUnreachable, match="certificate"):
            await stranger.request("POST", url, (), b"", 10.0)
        assert (await friend.request("POST", url, (), b"", 10.0)).status == 200


@pytest.mark.parametrize(
    ("url", "host", "path", "port"),
    [
        ("http://h", "h", "/", 80),
        ("https://h/a?b", "h", "/a?b", 443),
        ("HTTP://H:80/", "h", "/", 80),
        ("http://h:8080/x", "h:8080", "/x", 8080),
        ("http://[::1]:8080/x", "[::1]:8080", "/x", 8080),
        ("http://user:word@h/x", "h", "/x", 80),
        ("http://bücher.example/", "xn--bcher-kva.example", "/", 80),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, path: str, port: int) -> None:
    address = parse_address(url)
    assert (address.host, address.path, address.origin.port) == (host, path, port)


@pytest.mark.parametrize("host", ["a..b", ".localhost", "a" * 64 + ".example", "local\0host", "a\x01b", "ü" * 64])
def test_a_host_that_no_look_up_can_hold_is_refused(host: str) -> None:
    with pytest.raises(TargetUnreachable):
        parse_address(f"https://{host}/")
