"""Who may call a queue server: everybody on loopback; with a token set, whoever brings it."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import grpc
import pytest
from google.api_core.exceptions import Unauthenticated

from headrace.cloud.errors import ApiError, Code
from headrace.cloud.fronts.access import TOKEN_VARIABLE, Access, check_host, read_token
from headrace.errors import StartError
from tests.cloud.conftest import LOCATION, Server, start_server, stop_server

TOKEN = "sixteen-or-more-characters"


@pytest.fixture(scope="module")
def guarded() -> Iterator[Server]:
    """A server on all addresses of the machine, which asks for the token."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(TOKEN_VARIABLE, TOKEN)
        server = start_server("--memory", "--host=0.0.0.0")
    yield server
    assert stop_server(server) == 0


def get(url: str, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    try:
        with urlopen(Request(url, headers=headers), timeout=15) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


@pytest.mark.parametrize("token", [None, "another-token-altogether", TOKEN + "x", TOKEN.upper()])
def test_a_call_without_the_token_is_refused_on_both_sides(token: str | None, guarded: Server) -> None:
    metadata = [] if token is None else [("authorization", f"Bearer {token}")]
    with guarded.client() as client, pytest.raises(Unauthenticated, match="no valid token"):
        client.list_queues(parent=LOCATION, metadata=metadata)
    status, document = get(f"{guarded.rest}/v2/{LOCATION}/queues", token)
    assert (status, document["error"]["status"]) == (401, "UNAUTHENTICATED")


def test_a_call_with_the_token_is_served_on_both_sides(guarded: Server) -> None:
    with guarded.client() as client:
        assert list(client.list_queues(parent=LOCATION, metadata=[("authorization", f"Bearer {TOKEN}")])) == []
    assert get(f"{guarded.rest}/v2/{LOCATION}/queues", TOKEN) == (200, {})


def test_an_unknown_method_is_not_shown_to_strangers(guarded: Server) -> None:
    with grpc.insecure_channel(guarded.grpc) as channel:
        call = channel.unary_unary("/no.such.Service/Method")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"")
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as missing:
            call(b"", metadata=[("authorization", f"Bearer {TOKEN}")])
        assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "no.such.Service/Method" in missing.value.details()


@pytest.mark.parametrize("path", ["/healthz", "/.well-known/openid-configuration", "/oauth2/v3/certs"])
def test_health_and_keys_are_public(path: str, guarded: Server) -> None:
    assert get(guarded.rest + path, None)[0] == 200


def test_off_loopback_a_token_is_needed() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "queues.example.com"):
        with pytest.raises(StartError, match=TOKEN_VARIABLE):
            check_host(host, None)
        check_host(host, TOKEN)
    for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost"):
        check_host(host, None)


@pytest.mark.parametrize("token", ["short", "x" * 15, "long enough but with spaces", "long-enough-but-ümlaut"])
def test_a_token_that_is_short_or_cannot_be_sent_stops_the_start(token: str) -> None:
    with pytest.raises(StartError, match="16 or more printable ASCII characters"):
        read_token({TOKEN_VARIABLE: token})


def test_an_empty_variable_is_no_token() -> None:
    assert read_token({TOKEN_VARIABLE: ""}) is None
    assert read_token({}) is None
    Access(None).check(None)


def test_the_token_stands_after_the_word_bearer() -> None:
    Access(TOKEN).check(f"Bearer {TOKEN}")
    for authorization in (TOKEN, f"bearer{TOKEN}", f"Basic {TOKEN}", "", "Bearer ", "Bearer ü"):
        with pytest.raises(ApiError) as refused:
            Access(TOKEN).check(authorization)
        assert refused.value.rpc_code is Code.UNAUTHENTICATED


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "https://localhost.evil.example", "null", "http://192.168.0.1:8124", "http://a@b"]
)
def test_a_web_page_of_another_host_may_not_call(origin: str) -> None:
    with pytest.raises(ApiError) as refused:
        Access(None).check_page(origin, "127.0.0.1:8124")
    assert refused.value.rpc_code is Code.PERMISSION_DENIED
    Access(TOKEN).check_page(origin, "127.0.0.1:8124")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8124", "localhost.evil.example", "a/b", "x:y"]
)
def test_a_public_name_that_leads_here_may_not_be_called(host: str) -> None:
    with pytest.raises(ApiError) as refused:
        Access(None).check_page(None, host)
    assert refused.value.rpc_code is Code.PERMISSION_DENIED
    Access(TOKEN).check_page(None, host)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:8124", "LOCALHOST:8124", "[::1]:8124", "192.0.2.7", "queues:8124", "host.docker.internal:8124", ""],
)
def test_programs_and_pages_of_this_machine_may_call(host: str) -> None:
    Access(None).check_page(None, host)
    Access(None).check_page("http://localhost:3000", host)
    Access(None).check_page("https://[::1]", host)


@pytest.mark.parametrize("header", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/headrace/v1:reset"), ("POST", f"/v2/{LOCATION}/queues/q/tasks"), ("GET", "/headrace/v1/queues")],
)
def test_no_call_of_a_foreign_page_is_served(method: str, path: str, header: dict[str, str], server: Server) -> None:
    headers = {"Content-Type": "text/plain", **header}
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(server.rest + path, method=method, headers=headers, data=b"{}"), timeout=15)
    with refused.value as answer:
        assert (answer.code, json.load(answer)["error"]["status"]) == (403, "PERMISSION_DENIED")
