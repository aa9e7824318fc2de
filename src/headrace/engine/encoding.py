"""Targets, a task's own retry limits and a queue's overrides as the store keeps them: JSON in one column each."""

from typing import Any

import orjson

from headrace.engine.model import (
    AppEngineRouting,
    AppEngineTarget,
    Authorization,
    HttpOverrides,
    HttpTarget,
    OAuthToken,
    OidcToken,
    Queue,
    Target,
    UriOverride,
)
from headrace.retries import RetryLimits


def encode_target(target: Target) -> bytes:
    """All but the body. Raises TypeError for text that is not Unicode."""
    if isinstance(target, HttpTarget):
        return orjson.dumps((target.url, target.method, target.headers, _encode_token(target.authorization)))
    routing = target.routing
    place = (routing.service, routing.version, routing.instance)
    return orjson.dumps((target.relative_uri, target.method, target.headers, place, "app engine"))


def decode_target(encoded: bytes, body: bytes) -> Target:
    """The target that was encoded, with its body."""
    address, method, headers, last, *kind = orjson.loads(encoded)
    pairs = tuple((name, value) for name, value in headers)
    if kind:
        return AppEngineTarget(address, method, pairs, body, AppEngineRouting(*last))
    return HttpTarget(address, method, pairs, body, _decode_token(last))


def encode_retry(limits: RetryLimits | None) -> bytes | None:
    """None for a task that goes by its queue's limits."""
    return None if limits is None else orjson.dumps(limits)


def decode_retry(encoded: bytes | None) -> RetryLimits | None:
    """What `encode_retry` wrote."""
    return None if encoded is None else RetryLimits(**orjson.loads(encoded))


def encode_overrides(queue: Queue) -> bytes | None:
    """What a queue puts over its tasks, and its log sampling; None for a queue that has none of it."""
    http = queue.http_overrides
    if http is None and queue.routing is None and queue.log_sampling is None:
        return None
    token = None if http is None else _encode_token(http.authorization)
    return orjson.dumps({"http": http, "token": token, "routing": queue.routing, "sampling": queue.log_sampling})


def decode_overrides(encoded: bytes | None) -> tuple[HttpOverrides | None, AppEngineRouting | None, float | None]:
    """What `encode_overrides` wrote."""
    if encoded is None:
        return None, None, None
    document = orjson.loads(encoded)
    http, routing = document["http"], document["routing"]
    return (
        None if http is None else _decode_http(http, document["token"]),
        None if routing is None else AppEngineRouting(**routing),
        document["sampling"],
    )


def _decode_http(http: dict[str, Any], token: list[str] | None) -> HttpOverrides:
    return HttpOverrides(
        uri=None if http["uri"] is None else UriOverride(**http["uri"]),
        method=http["method"],
        headers=tuple((name, value) for name, value in http["headers"]),
        authorization=_decode_token(token),
    )


def _encode_token(token: Authorization | None) -> tuple[str, ...] | None:
    """An OAuth token is told from an identity token by its third part."""
    if token is None:
        return None
    if isinstance(token, OidcToken):
        return token.service_account_email, token.audience
    return token.service_account_email, token.scope, "oauth"


def _decode_token(encoded: list[str] | None) -> Authorization | None:
    if encoded is None:
        return None
    account, of, *kind = encoded
    return OAuthToken(account, of) if kind else OidcToken(account, of)
