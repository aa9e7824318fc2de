"""A CreateTaskRequest, checked and made into what the engine takes.

Each rule is real Cloud Tasks' own, in its words, except those of `_check_url`, `_read_headers` and the body's
method that have no recorded answer: a task that can never be pushed, or would break the request that it
becomes, is better refused than accepted.
"""

import re
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address

from headrace.cloud import names
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import CALIFORNIA, invalid, queue_mismatch, unimplemented
from headrace.cloud.messages import METHOD_NAMES
from headrace.cloud.task_answers import stored_size
from headrace.engine.address import parse_address
from headrace.engine.errors import TargetUnreachable
from headrace.engine.model import HttpTarget, NewTask, OidcToken

MAX_STORED_BYTES = 1_048_569
"""Largest stored task: its FULL form, defaults filled in, serialised. Measured on the real service."""
MAX_SCHEDULE_AHEAD = 720 * 3600.0
"""How far ahead a schedule time may lie, in seconds (30 days)."""
DEFAULT_DEADLINE = 600.0
"""Dispatch deadline of an HTTP task that names none, in seconds."""
MAX_URL_LENGTH = 2083
MAX_HEADER_BYTES = 80 * 1024
USER_AGENT = ("User-Agent", "Google-Cloud-Tasks")

_SIZE_OF_DEFAULTS = 8192
"""More than a task's name, times and defaults add to a request: far below the limit nothing is counted."""
_END_OF_TIME = 253402300799
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


def read_create(request: Message, parent: str, now: float) -> NewTask:
    """Check a CreateTaskRequest on the queue `parent` (a checked full name); ApiError says what is wrong.

    `now` is the time of the call, in seconds. A schedule time that is past or absent is None: due at once.
    """
    task = request.task
    name = _read_name(task.name, parent)
    is_app_engine = task.HasField("app_engine_http_request")
    if not is_app_engine and not task.HasField("http_request"):
        raise invalid("Task.payload_type is not set.")
    deadline = _read_deadline(task, is_app_engine=is_app_engine)
    if is_app_engine:
        raise unimplemented("App Engine HTTP targets; give an http_request")
    if task.HasField("retry_config"):
        raise unimplemented("retry limits of a single task; set them on its queue")
    new_task = NewTask(
        name=name,
        target=_read_target(task.http_request),
        schedule_at=_read_schedule_time(task, now),
        dispatch_deadline=deadline,
    )
    size = request.ByteSize()
    if size > MAX_STORED_BYTES - _SIZE_OF_DEFAULTS and stored_size(new_task, parent, now) > MAX_STORED_BYTES:
        raise invalid("Task size too large")
    return new_task


def _read_name(name: str, parent: str) -> str | None:
    if not name:
        return None
    queue, task_id = names.split_task(name)
    if queue != parent:
        raise queue_mismatch(parent, queue)
    return task_id


def _read_deadline(task: Message, *, is_app_engine: bool) -> float:
    if not task.HasField("dispatch_deadline"):
        return DEFAULT_DEADLINE
    longest, words = (86415, "24h15s") if is_app_engine else (1800, "30m")
    milliseconds = task.dispatch_deadline.seconds * 1000 + task.dispatch_deadline.nanos // 1_000_000
    if not 15_000 <= milliseconds <= longest * 1000:
        raise invalid(f"Task.dispatchDeadline must be between [15s, {words}].")
    return float(milliseconds) / 1000


def _read_schedule_time(task: Message, now: float) -> float | None:
    if not task.HasField("schedule_time"):
        return None
    asked = task.schedule_time
    schedule_at: float = min(asked.seconds, _END_OF_TIME) + asked.nanos // 1000 / 1e6
    if schedule_at > now + MAX_SCHEDULE_AHEAD:
        local = datetime.fromtimestamp(schedule_at, UTC).astimezone(CALIFORNIA)
        raise invalid(
            f"The Task.scheduleTime, {local.isoformat()}, is too far in the future. "
            "Schedule time must be no more than 720h in the future."
        )
    return schedule_at if schedule_at > now else None


def _read_target(http: Message) -> HttpTarget:
    url: str = http.url
    host = _check_url(url)
    method = METHOD_NAMES.get(http.http_method or 1)
    if method is None:
        raise invalid(f"HttpRequest.http_method {http.http_method} is not known.")
    if http.body and method not in ("POST", "PUT", "PATCH"):
        raise invalid(f"HttpRequest.body cannot be set for HTTP method {method}.")
    return HttpTarget(url, method, _read_headers(http.headers), http.body, _read_authorization(http, url, host))


@lru_cache(maxsize=4096)
def _check_url(url: str) -> str:
    """Check a target's URL and give its host."""
    if not url:
        raise invalid("HttpRequest.url is required.")
    if not url.startswith(("http://", "https://")):
        raise invalid("HttpTarget.url must start with 'http://' or 'https://'.")
    if len(url) > MAX_URL_LENGTH:
        raise invalid(f"HttpRequest.url must be at most {MAX_URL_LENGTH} characters long.")
    try:
        return parse_address(url).origin.host
    except TargetUnreachable as error:
        raise invalid(f"HttpRequest.url: {error}") from error


def _read_headers(headers: Message) -> tuple[tuple[str, str], ...]:
    """The headers as stored: keys as the caller wrote them, the User-Agent always the service's own."""
    kept = []
    size = 0
    for key, value in sorted(headers.items()):
        size += len(key) + len(value)
        if not _HEADER_NAME.fullmatch(key) or not _HEADER_VALUE.fullmatch(value):
            raise invalid(f'HttpRequest.headers: "{key}" is not a header that can be sent.')
        if key.lower() != "user-agent":
            kept.append((key, value))
    if size > MAX_HEADER_BYTES:
        raise invalid("HttpRequest.headers must be less than 80KB in total.")
    return (*kept, USER_AGENT)


def _read_authorization(http: Message, url: str, host: str) -> OidcToken | None:
    if http.HasField("oauth_token"):
        raise unimplemented("OAuth tokens; give an oidc_token")
    if not http.HasField("oidc_token"):
        return None
    if not url.startswith("https://") and not is_loopback(host):
        raise invalid("HttpRequest.url must start with 'https://' for request with HttpRequest.authorization_header")
    email = http.oidc_token.service_account_email
    if not email:
        raise invalid("OidcToken.serviceAccountEmail is required.")
    return OidcToken(email, http.oidc_token.audience or url)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine. A name that needs a look-up does not."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
