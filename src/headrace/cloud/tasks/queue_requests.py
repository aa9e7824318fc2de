"""Queues as callers ask for them, checked and made into the engine's.

Texts about limits are real Cloud Tasks' own. Those about `http_target` and the sampling ratio are not recorded:
what the reference forbids is refused in words of ours.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from math import ceil
from typing import TypeVar

from headrace.cloud.descriptors import Message
from headrace.cloud.errors import invalid
from headrace.cloud.headers import check_headers
from headrace.cloud.masks import copy_field
from headrace.cloud.routing import read_routing
from headrace.cloud.tasks.messages import METHOD_NAMES
from headrace.cloud.tasks.queue_answers import queue_message
from headrace.cloud.tasks.retry_requests import DEFAULT_RETRY, read_retry
from headrace.engine.address import parse_address
from headrace.engine.errors import TargetUnreachable
from headrace.engine.model import (
    Authorization,
    HttpOverrides,
    OAuthToken,
    OidcToken,
    Queue,
    QueueState,
    RateLimits,
    UriOverride,
)
from headrace.retries import RetryLimits

T = TypeVar("T", RateLimits, RetryLimits)

MAX_RATE = 500
MAX_CONCURRENCY = 5000
TASK_TTL = 31 * 86400.0
"""Seconds that a task may live in a queue that the API made (CreateQueue)."""

_DEFAULT_RATE = 500.0
_DEFAULT_CONCURRENCY = 1000
"""What a queue gets that says nothing."""
_RETRY_FIELDS = {
    "max_attempts": "max_attempts",
    "max_retry_duration": "max_duration",
    "min_backoff": "min_backoff",
    "max_backoff": "max_backoff",
    "max_doublings": "max_doublings",
}
_RATE_FIELDS = {"max_dispatches_per_second": "per_second", "max_concurrent_dispatches": "concurrency"}
_ALL_FIELDS = (
    "app_engine_routing_override",
    "http_target",
    "rate_limits",
    "retry_config",
    "stackdriver_logging_config",
)

_SCHEMES = {1: "http", 2: "https"}
_IF_NOT_EXISTS = 1
_HOST = re.compile(r"[^\s/?#@\\:\[\]]+|\[[0-9A-Fa-f:.]+\]")
_PATH = re.compile(r"[^\s?#]*")
_QUERY = re.compile(r"[^\s#]*")


def pick_burst(per_second: float) -> int:
    """The burst of a queue whose burst nobody chose.

    A fifth of the rate, at least 10: it fits the two values known of the real service, 100 at 500/s and 10 at
    1/s. The service's own rule is not published.
    """
    return max(10, ceil(per_second / 5))


def default_queue(name: str, name_memory: float) -> Queue:
    """The queue that CreateQueue makes of a name alone; names of finished tasks stay taken for `name_memory`."""
    rate = RateLimits(_DEFAULT_RATE, pick_burst(_DEFAULT_RATE), _DEFAULT_CONCURRENCY)
    return Queue(name, rate, DEFAULT_RETRY, QueueState.RUNNING, None, name_memory, TASK_TTL)


def read_queue(message: Message, base: Queue) -> Queue:
    """Check a Queue message; limits that it leaves unset come from `base`, and so do its name, state and memory.

    The burst always follows from the rate. ApiError says what is wrong.
    """
    return replace(
        base,
        rate=_read_rate(message.rate_limits, base.rate),
        retry=read_retry(message.retry_config, base.retry),
        http_overrides=_read_overrides(message.http_target) if message.HasField("http_target") else None,
        routing=read_routing(message.app_engine_routing_override)
        if message.HasField("app_engine_routing_override")
        else None,
        log_sampling=_read_sampling(message),
    )


def read_update(message: Message, mask: Iterable[str], current: Queue) -> Queue:
    """`current` with the fields of `mask` as in `message`; an empty mask means all of them.

    A field of the mask that the message leaves unset gets its default. What is output only is passed over.
    """
    merged = queue_message(current)
    defaults = default_queue(current.name, current.name_memory)
    base = current
    for path in tuple(mask) or _ALL_FIELDS:
        copy_field(message, merged, path)
        base = _reset(base, defaults, path)
    return read_queue(merged, base)


def _reset(queue: Queue, defaults: Queue, path: str) -> Queue:
    """The queue with the limits that a path of a mask covers at their defaults."""
    section, _, leaf = path.partition(".")
    if section == "retry_config":
        return replace(queue, retry=_take(defaults.retry, queue.retry, _RETRY_FIELDS, leaf))
    if section == "rate_limits":
        return replace(queue, rate=_take(defaults.rate, queue.rate, _RATE_FIELDS, leaf))
    return queue


def _take(source: T, target: T, fields: dict[str, str], leaf: str) -> T:
    """`target` with one field of `source`, or with all of them when no leaf is named."""
    taken = fields.values() if not leaf else [fields[leaf]] if leaf in fields else []
    return replace(target, **{name: getattr(source, name) for name in taken})


def _read_rate(limits: Message, base: RateLimits) -> RateLimits:
    per_second, concurrency = limits.max_dispatches_per_second, limits.max_concurrent_dispatches
    if per_second < 0:
        raise invalid("RateLimits.maxDispatchesPerSecond cannot be negative.")
    if not per_second <= MAX_RATE:  # what is no number is above it, too
        raise invalid(f"RateLimits.maxDispatchesPerSecond must be less than or equal to {MAX_RATE}.")
    if concurrency < 0:
        raise invalid("RateLimits.maxConcurrentDispatches cannot be negative.")
    if concurrency > MAX_CONCURRENCY:
        raise invalid(f"RateLimits.maxConcurrentDispatches must be less than or equal to {MAX_CONCURRENCY}.")
    rate = per_second or base.per_second
    return RateLimits(rate, pick_burst(rate), concurrency or base.concurrency)


def _read_sampling(message: Message) -> float | None:
    if not message.HasField("stackdriver_logging_config"):
        return None
    ratio: float = message.stackdriver_logging_config.sampling_ratio
    if not 0.0 <= ratio <= 1.0:
        raise invalid("StackdriverLoggingConfig.samplingRatio must be between 0.0 and 1.0.")
    return ratio


def _read_overrides(target: Message) -> HttpOverrides:
    method = METHOD_NAMES.get(target.http_method)
    if target.http_method and method is None:
        raise invalid(f"HttpTarget.httpMethod {target.http_method} is not known.")
    return HttpOverrides(
        uri=_read_uri(target.uri_override) if target.HasField("uri_override") else None,
        method=method,
        headers=_read_headers(target.header_overrides),
        authorization=_read_authorization(target),
    )


def _read_uri(uri: Message) -> UriOverride:
    scheme = _SCHEMES.get(uri.scheme) if uri.HasField("scheme") and uri.scheme else None
    if uri.scheme and scheme is None:
        raise invalid(f"UriOverride.scheme {uri.scheme} is not known.")
    if uri.HasField("host") and not _is_host(uri.host):
        raise invalid("UriOverride.host must be the name or address of a host.")
    if not 0 <= uri.port <= 65535:
        raise invalid("UriOverride.port must be between 0 and 65535.")
    path, query = uri.path_override.path, uri.query_override.query_params
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
        raise invalid("UriOverride.pathOverride and UriOverride.queryOverride must be a path and a query of a URL.")
    return UriOverride(
        scheme=scheme,
        host=uri.host if uri.HasField("host") else None,
        port=uri.port if uri.HasField("port") else None,
        path=path if uri.HasField("path_override") else None,
        query=query if uri.HasField("query_override") else None,
        only_if_missing=uri.uri_override_enforce_mode == _IF_NOT_EXISTS,
    )


def _is_host(text: str) -> bool:
    try:
        parse_address(f"http://{text}")
    except TargetUnreachable:
        return False
    return _HOST.fullmatch(text) is not None


def _read_headers(overrides: Message) -> tuple[tuple[str, str], ...]:
    pairs = tuple((override.header.key, override.header.value) for override in overrides)
    check_headers(pairs, "HttpTarget.headerOverrides")
    return pairs


def _read_authorization(target: Message) -> Authorization | None:
    """Whose token pushes carry; a queue has to name its audience or its scope (HttpTarget in the reference)."""
    kind = target.WhichOneof("authorization_header")
    if kind is None:
        return None
    token = getattr(target, kind)
    of, word = (token.audience, "audience") if kind == "oidc_token" else (token.scope, "scope")
    if not token.service_account_email or not of:
        raise invalid(f"HttpTarget: both the service account email and the {word} must be specified.")
    make = OidcToken if kind == "oidc_token" else OAuthToken
    return make(token.service_account_email, of)
