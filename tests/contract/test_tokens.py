"""Tokens are verified against the issuer's keys, once; what is wrong with one is said, the token never."""

import http.server
import threading
from collections.abc import Iterator
from typing import Any, ClassVar

import jwt
import pytest

from headrace.clock import ManualClock
from headrace.contract.tokens import LEEWAY, KeysUnavailable, TokenVerifier, fetch_json
from headrace.errors import Unauthenticated
from tests.contract.issuer import ISSUER, Issuer

NOW = 1_790_000_000.0
AUDIENCE = "https://service.test"
EMAIL = "tasks@project.iam.gserviceaccount.com"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def verifier(issuer: Issuer, clock: ManualClock) -> TokenVerifier:
    return TokenVerifier(ISSUER, clock, issuer.fetch)


def good(issuer: Issuer, **changes: Any) -> str:
    return issuer.token(account=EMAIL, audience=AUDIENCE, now=NOW, **changes)


def verify(verifier: TokenVerifier, token: str) -> None:
    verifier.verify(token, audience=AUDIENCE, email=EMAIL)


def reason(verifier: TokenVerifier, token: str) -> str:
    with pytest.raises(Unauthenticated) as raised:
        verify(verifier, token)
    assert token not in str(raised.value)
    return str(raised.value)


def test_a_sound_token_is_accepted(verifier: TokenVerifier, issuer: Issuer) -> None:
    verify(verifier, good(issuer))


def test_nothing_is_fetched_before_the_first_token(verifier: TokenVerifier, issuer: Issuer) -> None:
    assert issuer.fetched == []

    verify(verifier, good(issuer))

    assert issuer.fetched == [f"{ISSUER}/.well-known/openid-configuration", f"{ISSUER}/jwks"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aud": "https://other.test"}, f"its audience is not {AUDIENCE}"),
        ({"aud": [AUDIENCE]}, "its claims are incomplete"),
        ({"email": "other@project.iam.gserviceaccount.com"}, f"it is not a token of {EMAIL}"),
        ({"email": None}, "its claims are incomplete"),
        ({"email_verified": False}, "is not verified"),
        ({"email_verified": "true"}, "is not verified"),
        ({"exp": int(NOW) - int(LEEWAY)}, "it has expired"),
        ({"iss": "https://evil.test"}, f"its issuer is not {ISSUER}"),
    ],
)
def test_a_claim_that_is_wrong_is_named(
    verifier: TokenVerifier, issuer: Issuer, changes: dict[str, Any], said: str
) -> None:
    assert said in reason(verifier, good(issuer, **changes))


def test_clocks_may_be_a_few_seconds_apart(verifier: TokenVerifier, issuer: Issuer) -> None:
    verify(verifier, good(issuer, exp=int(NOW) - int(LEEWAY) + 1))


def test_a_token_that_is_not_signed_is_refused(verifier: TokenVerifier) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "email": EMAIL, "email_verified": True, "exp": NOW + 60}

    assert "not signed with RS256" in reason(verifier, jwt.encode(claims, "", algorithm="none"))


def test_a_token_signed_with_a_secret_is_refused(verifier: TokenVerifier, issuer: Issuer) -> None:
    claims = {"iss": ISSUER, "aud": AUDIENCE, "email": EMAIL, "email_verified": True, "exp": NOW + 60}
    token = jwt.encode(claims, "x" * 32, algorithm="HS256", headers={"kid": issuer.key_id})

    assert "not signed with RS256" in reason(verifier, token)


def test_a_signature_of_somebody_else_is_refused(verifier: TokenVerifier, issuer: Issuer) -> None:
    stranger = Issuer()

    assert "its signature is not the issuer's" in reason(verifier, good(stranger))


def test_what_is_no_token_is_refused(verifier: TokenVerifier) -> None:
    assert "not a JSON Web Token" in reason(verifier, "not.a.token")


def test_a_verified_token_is_remembered_until_it_expires(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = good(issuer)
    verify(verifier, token)

    def no_decoding(*_arguments: Any, **_options: Any) -> None:
        raise AssertionError("the token was decoded again")

    with monkeypatch.context() as patch:
        patch.setattr(jwt, "decode", no_decoding)
        verify(verifier, token)
        clock.advance(3600 + LEEWAY)
        assert "it has expired" in reason(verifier, token)


def test_a_remembered_token_is_still_refused_for_another_account_or_audience(
    verifier: TokenVerifier, issuer: Issuer
) -> None:
    token = good(issuer)
    verify(verifier, token)

    with pytest.raises(Unauthenticated):
        verifier.verify(token, audience="https://other.test", email=EMAIL)
    with pytest.raises(Unauthenticated):
        verifier.verify(token, audience=AUDIENCE, email="other@project.iam.gserviceaccount.com")


def test_a_new_key_of_the_issuer_is_found(clock: ManualClock) -> None:
    issuer = Issuer()
    verifier = TokenVerifier(ISSUER, clock, issuer.fetch)
    verify(verifier, good(issuer))
    issuer.rotate()
    clock.advance(60)

    verify(verifier, good(issuer))

    assert len(issuer.fetched) == 4


def test_unknown_key_ids_do_not_make_the_service_flood_the_issuer(verifier: TokenVerifier, issuer: Issuer) -> None:
    verify(verifier, good(issuer))
    fetched = len(issuer.fetched)
    claims = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW + 60}

    for number in range(5):
        forged = jwt.encode(claims, issuer.key, algorithm="RS256", headers={"kid": f"forged-{number}"})
        assert "has no key of its key id" in reason(verifier, forged)

    assert len(issuer.fetched) == fetched


def test_an_issuer_that_is_away_is_the_reason_and_is_asked_again_later(
    verifier: TokenVerifier, issuer: Issuer, clock: ManualClock
) -> None:
    issuer.reachable = False
    assert "the issuer is away" in reason(verifier, good(issuer))
    assert "could not be fetched a moment ago" in reason(verifier, good(issuer))
    issuer.reachable = True
    clock.advance(10)

    verify(verifier, good(issuer))


def test_old_keys_serve_while_the_issuer_is_away(verifier: TokenVerifier, issuer: Issuer, clock: ManualClock) -> None:
    verify(verifier, good(issuer))
    issuer.reachable = False
    clock.advance(90_000)

    verify(verifier, issuer.token(account=EMAIL, audience=AUDIENCE, now=clock.now()))

    assert len(issuer.fetched) == 3


class _Pages(http.server.BaseHTTPRequestHandler):
    """A web server that knows a few pages."""

    pages: ClassVar[dict[str, tuple[int, bytes]]] = {
        "/object": (200, b'{"keys": []}'),
        "/list": (200, b"[]"),
        "/text": (200, b"keys"),
        "/error": (500, b"{}"),
        "/huge": (200, b'{"keys": "' + b"x" * 2 * 1024 * 1024 + b'"}'),
    }

    def do_GET(self) -> None:
        status, body = self.pages[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def web() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_keys_are_fetched_over_http(web: str) -> None:
    assert fetch_json(f"{web}/object") == {"keys": []}


@pytest.mark.parametrize("path", ["/list", "/text", "/error", "/huge"])
def test_an_answer_that_is_no_json_object_gives_no_keys(web: str, path: str) -> None:
    with pytest.raises(KeysUnavailable):
        fetch_json(web + path)


@pytest.mark.parametrize("url", ["file:///etc/hostname", "http://127.0.0.1:1/keys", "data:,{}"])
def test_what_is_no_web_server_that_answers_gives_no_keys(url: str) -> None:
    with pytest.raises(KeysUnavailable):
        fetch_json(url)
