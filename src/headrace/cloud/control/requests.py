"""What calls of the server's own API bring: bodies, numbers, limits, who calls."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from headrace.cloud.control.documents import Document
from headrace.cloud.durations import MAX_SECONDS
from headrace.cloud.errors import invalid
from headrace.cloud.fronts.json_requests import read_json
from headrace.cloud.fronts.routes import Call
from headrace.cloud.pages import page_size
from headrace.cloud.tasks.queue_requests import MAX_CONCURRENCY, MAX_RATE
from headrace.config.queues import MAX_BUCKET_SIZE
from headrace.engine.model import Queue

MAX_PAGE = 10_000
"""Tasks or deliveries of one answer."""
ACTOR_HEADER = "headrace-actor"
MAX_ACTOR = 200
"""Characters of a name in the audit."""
_NOBODY = "api"

_MAX_COUNT = 2**31 - 1
_RATE_BOUNDS: Mapping[str, tuple[str, type, float, float]] = {
    "maxDispatchesPerSecond": ("per_second", float, 0, MAX_RATE),
    "maxBurstSize": ("burst", int, 1, MAX_BUCKET_SIZE),
    "maxConcurrentDispatches": ("concurrency", int, 1, MAX_CONCURRENCY),
}
_RETRY_BOUNDS: Mapping[str, tuple[str, type, float, float]] = {
    "maxAttempts": ("max_attempts", int, -1, _MAX_COUNT),
    "maxRetryDuration": ("max_duration", float, 0, MAX_SECONDS),
    "minBackoff": ("min_backoff", float, 0, MAX_SECONDS),
    "maxBackoff": ("max_backoff", float, 0, MAX_SECONDS),
    "maxDoublings": ("max_doublings", int, 0, _MAX_COUNT),
}


def read_object(body: bytes) -> Document:
    """A body that is a JSON object. Raises ApiError."""
    given = read_json(body)
    if not isinstance(given, dict):
        raise invalid("The body must be a JSON object.")
    return given


def read_numbers(body: bytes, **defaults: float | None) -> dict[str, float]:
    """The numbers of a JSON object; a default of None is one that must be given."""
    given = read_object(body)
    _check_fields(given, defaults)
    numbers = {}
    for name, default in defaults.items():
        value = given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{name} must be a number.")
        numbers[name] = float(value)
    return numbers


def check_number(numbers: Mapping[str, float], name: str, most: float) -> float:
    """One of the numbers, which must lie between 0 and `most`."""
    if not 0 <= numbers[name] <= most:
        raise invalid(f"{name} must lie between 0 and {most:g}.")
    return numbers[name]


def read_page_size(query: Mapping[str, str]) -> int:
    """How many tasks or deliveries an answer may have."""
    asked = query.get("pageSize", "0")
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
        raise invalid("pageSize must be a number of up to nine digits.")
    return page_size(int(asked), MAX_PAGE)


def read_flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter is `true`; absent is false."""
    asked = query.get(name, "false")
    if asked not in ("true", "false"):
        raise invalid(f"{name} must be true or false.")
    return asked == "true"


def read_actor(call: Call) -> str:
    """Whom the audit names: the header `Headrace-Actor`, else "api"."""
    given = call.headers.get(ACTOR_HEADER, "").strip()
    # Names that are not ASCII come as UTF-8 from some clients and as Latin-1 from others (RFC 9110, 5.5).
    with suppress(UnicodeDecodeError):
        given = given.encode("latin-1").decode()
    actor = given or _NOBODY
    if len(actor) > MAX_ACTOR or not actor.isprintable():
        raise invalid(f"Headrace-Actor must be up to {MAX_ACTOR} printable characters.")
    return actor


def read_limits(given: Mapping[str, Any], queue: Queue) -> Queue:
    """The queue with limits of `rateLimits` and `retryConfig` in place of its own, within the bounds of UpdateQueue.

    Unlike there, 0 is a rate: it pushes nothing. Raises ApiError.
    """
    _check_fields(given, ("rateLimits", "retryConfig"))
    changed = replace(
        queue,
        rate=replace(queue.rate, **_read_section(given, "rateLimits", _RATE_BOUNDS)),
        retry=replace(queue.retry, **_read_section(given, "retryConfig", _RETRY_BOUNDS)),
    )
    if changed.retry.max_attempts == 0:
        raise invalid("retryConfig.maxAttempts must be -1, for no limit, or 1 at least.")
    if changed.retry.min_backoff > changed.retry.max_backoff:
        raise invalid("retryConfig.minBackoff must be less than or equal to retryConfig.maxBackoff.")
    return changed


def _read_section(
    given: Mapping[str, Any], section: str, bounds: Mapping[str, tuple[str, type, float, float]]
) -> dict[str, Any]:
    values = given.get(section, {})
    if not isinstance(values, dict):
        raise invalid(f"{section} must be a JSON object.")
    _check_fields(values, bounds)
    read = {}
    for name, value in values.items():
        field, kind, least, most = bounds[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or (kind is int and value != int(value)):
            raise invalid(f"{section}.{name} must be a {'whole number' if kind is int else 'number'}.")
        if not least <= value <= most:
            raise invalid(f"{section}.{name} must lie between {least:g} and {most:g}.")
        read[field] = kind(value)
    return read


def _check_fields(given: Mapping[str, Any], known: Any) -> None:
    if unknown := sorted(given.keys() - set(known)):
        raise invalid(f"Unknown field {unknown[0]}; this takes {', '.join(known)}.")
