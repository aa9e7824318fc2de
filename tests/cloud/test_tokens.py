"""Pushes carry tokens that verify as Google's do: discovery document, keys, signature, claims."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import jwt
import pytest
from google.cloud.tasks_v2 import CloudTasksClient

from headrace.clock import ManualClock
from headrace.cloud.tokens import LIFETIME, TokenIssuer, load_key, make_key
from headrace.engine.model import OAuthToken, OidcToken
from headrace.errors import StartError
from tests.cloud.conftest import Server, Target

ACCOUNT = "tasks@demo.iam.gserviceaccount.com"


def _fetch(url: str) -> dict[str, object]:
    with urlopen(url) as answer:
        document: dict[str, object] = json.load(answer)
        return document


def test_a_push_verifies_by_discovery_and_keys(
    client: CloudTasksClient, server: Server, queue: str, target: Target
) -> None:
    request = {"url": target.url, "oidc_token": {"service_account_email": ACCOUNT, "audience": "the-service"}}
    client.create_task(parent=queue, task={"http_request": request})
    scheme, token = target.wait_for(1)[0].headers["authorization"].split(" ")
    assert scheme == "Bearer"

    discovery = _fetch(f"{server.rest}/.well-known/openid-configuration")
    assert discovery["issuer"] == server.rest
    keys = jwt.PyJWKSet.from_dict(_fetch(str(discovery["jwks_uri"])))
    key = keys[jwt.get_unverified_header(token)["kid"]]
    claims = jwt.decode(token, key, algorithms=["RS256"], audience="the-service", issuer=server.rest)
    assert claims["email"] == ACCOUNT
    assert claims["email_verified"] is True
    assert claims["exp"] == claims["iat"] + 3600
    assert claims["azp"] == claims["sub"]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(token, key, algorithms=["RS256"], audience="another-service", issuer=server.rest)


def test_an_access_token_is_told_of_at_tokeninfo_and_is_no_identity_token(
    client: CloudTasksClient, server: Server, queue: str, target: Target
) -> None:
    token = {"service_account_email": ACCOUNT, "scope": "https://www.googleapis.com/auth/pubsub"}
    client.create_task(parent=queue, task={"http_request": {"url": target.url, "oauth_token": token}})
    pushed = target.wait_for(1)[0].headers["authorization"].removeprefix("Bearer ")
    told = _fetch(f"{server.rest}/oauth2/v3/tokeninfo?access_token={pushed}")
    assert (told["email"], told["email_verified"]) == (ACCOUNT, "true")
    assert told["scope"] == "https://www.googleapis.com/auth/pubsub"
    assert 1800 <= int(str(told["expires_in"])) <= 3600
    assert _token_error(f"{server.rest}/oauth2/v3/tokeninfo?id_token={pushed}") == "invalid_token"
    keys = jwt.PyJWKSet.from_dict(_fetch(f"{server.rest}/oauth2/v3/certs"))
    key = keys[jwt.get_unverified_header(pushed)["kid"]]
    with pytest.raises(jwt.InvalidAudienceError):
        jwt.decode(pushed, key, algorithms=["RS256"], audience=target.url)


def test_an_identity_token_is_told_of_at_tokeninfo(
    client: CloudTasksClient, server: Server, queue: str, target: Target
) -> None:
    request = {"url": target.url, "oidc_token": {"service_account_email": ACCOUNT}}
    client.create_task(parent=queue, task={"http_request": request})
    token = target.wait_for(1)[0].headers["authorization"].removeprefix("Bearer ")
    told = _fetch(f"{server.rest}/oauth2/v3/tokeninfo?id_token={token}")
    assert (told["aud"], told["email"], told["iss"], told["alg"]) == (target.url, ACCOUNT, server.rest, "RS256")
    assert _token_error(f"{server.rest}/oauth2/v3/tokeninfo?access_token={token}") == "invalid_token"


@pytest.mark.parametrize("query", ["", "?access_token=nonsense", "?id_token=a.b.c"])
def test_tokeninfo_tells_nothing_of_what_is_no_token(query: str, server: Server) -> None:
    assert _token_error(f"{server.rest}/oauth2/v3/tokeninfo{query}") == "invalid_token"


def _token_error(url: str) -> str:
    with pytest.raises(HTTPError) as caught:
        urlopen(url)
    with caught.value as answer:
        assert answer.code == 400
        word: str = json.load(answer)["error"]
        return word


def test_tokens_are_told_of_until_they_expire(issuer: TokenIssuer, clock: ManualClock) -> None:
    token = issuer.token(OAuthToken(ACCOUNT, "scope"))
    assert issuer.describe_access_token(token) is not None
    assert TokenIssuer("https://other.example", make_key(), clock).describe_access_token(token) is None
    clock.advance(LIFETIME)
    assert issuer.describe_access_token(token) is None


def test_a_push_without_an_account_carries_no_token(client: CloudTasksClient, queue: str, target: Target) -> None:
    client.create_task(parent=queue, task={"http_request": {"url": target.url}})
    assert "authorization" not in target.wait_for(1)[0].headers


@pytest.fixture(scope="module")
def clock() -> ManualClock:
    return ManualClock(1_700_000_000.0)


@pytest.fixture(scope="module")
def issuer(clock: ManualClock) -> Iterator[TokenIssuer]:
    return TokenIssuer("https://issuer.example", make_key(), clock)


def test_a_token_is_kept_for_its_account_and_audience_and_renewed_well_before_its_end(
    issuer: TokenIssuer, clock: ManualClock
) -> None:
    first = issuer.token(OidcToken(ACCOUNT, "a"))
    assert issuer.token(OidcToken(ACCOUNT, "a")) == first
    assert issuer.token(OidcToken(ACCOUNT, "b")) != first
    assert issuer.token(OidcToken("other@example.com", "a")) != first
    clock.advance(LIFETIME / 2)
    renewed = jwt.decode(issuer.token(OidcToken(ACCOUNT, "a")), options={"verify_signature": False})
    assert renewed["exp"] - clock.now() == LIFETIME


def test_an_account_has_one_number_of_21_digits(issuer: TokenIssuer) -> None:
    def subject(email: str) -> str:
        token = issuer.token(OidcToken(email, "a"))
        claims: dict[str, str] = jwt.decode(token, options={"verify_signature": False})
        return claims["sub"]

    assert subject(ACCOUNT) == subject(ACCOUNT)
    assert subject(ACCOUNT) != subject("other@example.com")
    assert len(subject(ACCOUNT)) == 21
    assert subject(ACCOUNT).isdecimal()


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "token-key.pem"
    made = load_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(path).private_numbers() == made.private_numbers()


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "token-key.pem"
    path.write_text("not a key")
    with pytest.raises(StartError, match="holds no private key"):
        load_key(path)


@pytest.mark.parametrize(("path", "status"), [("/nothing-here", 404), ("/healthz", 200)])
def test_the_rest_side_answers_json(path: str, status: int, server: Server) -> None:
    try:
        with urlopen(f"{server.rest}{path}") as answer:
            found, document = answer.status, json.load(answer)
    except HTTPError as refusal:
        with refusal:
            found, document = refusal.code, json.load(refusal)
    assert found == status
    assert document == ({"status": "ok"} if status == 200 else document)
    if status == 404:
        assert document["error"]["status"] == "NOT_FOUND"
