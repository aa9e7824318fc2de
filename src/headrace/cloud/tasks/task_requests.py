"""A CreateTaskRequest, checked and made into what the engine takes.

Each rule is real Cloud Tasks' own, in its words, except those of URLs, headers and the body's method that have
no recorded answer: a task that can never be pushed, or would break the request that it becomes, is better refused
than accepted.
"""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeAlias

from headrace.cloud import names
from headrace.cloud.descriptors import Message
from headrace.cloud.errors import CALIFORNIA, ApiError, Code, invalid, queue_mismatch
from headrace.cloud.headers import read_headers
from headrace.cloud.routing import read_routing
from headrace.cloud.tasks.messages import METHOD_NAMES, METHOD_NUMBERS
from headrace.cloud.tasks.retry_requests import DEFAULT_RETRY, read_retry
from headrace.cloud.tasks.task_answers import stored_size
from headrace.engine.address import is_loopback, parse_address
from headrace.engine.errors import TargetUnreachable
from headrace.engine.model import AppEngineTarget, Authorization, HttpTarget, NewTask, OAuthToken, OidcToken, Target

MAX_STORED_BYTES = 1_048_569
"""Largest stored task: its FULL form, defaults filled in, serialised. Measured on the real service."""
MAX_SCHEDULE_AHEAD = 720 * 3600.0
"""How far ahead a schedule time may lie, in seconds (30 days)."""
DEFAULT_DEADLINE = 600.0
"""Dispatch deadline of an HTTP task that names none, in seconds."""
MAX_URL_LENGTH = 2083
HTTP_USER_AGENT = "Google-Cloud-Tasks"
APP_ENGINE_USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
DEFAULT_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
"""Scope of an OAuth token that names none (Cloud Tasks v2, OAuthToken.scope)."""

_SIZE_OF_DEFAULTS = 8192
"""More than a task's name, times and defaults add to a request: far below the limit nothing is counted."""
_END_OF_TIME = 253402300799
_NOT_IN_A_URI = re.compile(r"[\x00-\x20\x7f]")
_POST = METHOD_NUMBERS["POST"]


MayReach: TypeAlias = Callable[[str, Target], bool]
"""Whether a task of a queue may have a target; `Engine.may_reach` is one."""


def read_create(request: Message, parent: str, now: float, may_reach: MayReach) -> NewTask:
    """Check a CreateTaskRequest on the queue `parent` (a checked full name); ApiError says what is wrong.

    `now` is the time of the call, in seconds. A schedule time that is past or absent is None: due at once.
    """
    task = request.task
    name = _read_name(task.name, parent)
    is_app_engine = task.HasField("app_engine_http_request")
    if not is_app_engine and not task.HasField("http_request"):
        raise invalid("Task.payload_type is not set.")
    deadline = _read_deadline(task, is_app_engine=is_app_engine)
    new_task = NewTask(
        name=name,
        target=_read_app_engine(task.app_engine_http_request) if is_app_engine else _read_http(task.http_request),
        schedule_at=_read_schedule_time(task, now),
        dispatch_deadline=deadline,
        retry=read_retry(task.retry_config, DEFAULT_RETRY) if task.HasField("retry_config") else None,
    )
    check_size(new_task, parent, now, at_least=request.ByteSize())
    check_reach(new_task, parent, may_reach)
    return new_task


def check_size(task: NewTask, queue: str, now: float, *, at_least: int) -> None:
    """Refuse a task that is too large as it will be stored; what has only `at_least` so many bytes is not counted."""
    if at_least > MAX_STORED_BYTES - _SIZE_OF_DEFAULTS and stored_size(task, queue, now) > MAX_STORED_BYTES:
        raise invalid("Task size too large")


def check_reach(task: NewTask, queue: str, may_reach: MayReach) -> None:
    """Refuse a task whose target this server is kept from (ours: the real service is kept from none)."""
    if not may_reach(queue, task.target):
        raise ApiError(
            Code.PERMISSION_DENIED,
            "This server may not push to the task's target. Start it with --allow-target for the target's host.",
        )


def _read_name(name: str, parent: str) -> str | None:
    if not name:
        return None
    queue, task_id = names.split_task(name)
    if queue != parent:
        raise queue_mismatch(parent, queue)
    return task_id


def _read_deadline(task: Message, *, is_app_engine: bool) -> float:
    asked = task.dispatch_deadline
    if not task.HasField("dispatch_deadline") or (is_app_engine and asked.seconds == asked.nanos == 0):
        return 0.0 if is_app_engine else DEFAULT_DEADLINE
    longest, words = (86415, "24h15s") if is_app_engine else (1800, "30m")
    milliseconds = asked.seconds * 1000 + asked.nanos // 1_000_000
    if not 15_000 <= milliseconds <= longest * 1000:
        raise invalid(f"Task.dispatchDeadline must be between [15s, {words}].")
    return float(milliseconds) / 1000


def _read_schedule_time(task: Message, now: float) -> float | None:
    if not task.HasField("schedule_time"):
        return None
    asked = task.schedule_time
    schedule_at: float = min(asked.seconds + asked.nanos // 1000 / 1e6, _END_OF_TIME)
    if schedule_at > now + MAX_SCHEDULE_AHEAD:
        local = datetime.fromtimestamp(schedule_at, UTC).astimezone(CALIFORNIA)
        raise invalid(
            f"The Task.scheduleTime, {local.isoformat()}, is too far in the future. "
            "Schedule time must be no more than 720h in the future."
        )
    return schedule_at if schedule_at > now else None


def _read_http(http: Message) -> HttpTarget:
    url: str = http.url
    host = _check_url(url)
    method = _read_method(http, "HttpRequest", with_body=("POST", "PUT", "PATCH"))
    headers = [pair for pair in read_headers(http.headers, "HttpRequest.headers") if pair[0].lower() != "user-agent"]
    headers.append(("User-Agent", HTTP_USER_AGENT))
    return HttpTarget(url, method, tuple(headers), http.body, _read_authorization(http, url, host))


def _read_app_engine(request: Message) -> AppEngineTarget:
    uri: str = request.relative_uri or "/"
    if not uri.startswith("/"):
        raise invalid("AppEngineHttpRequest.relativeUri must start with '/'.")
    if len(uri) > MAX_URL_LENGTH:
        raise invalid(f"AppEngineHttpRequest.relativeUri must be at most {MAX_URL_LENGTH} characters long.")
    if _NOT_IN_A_URI.search(uri):
        raise invalid("AppEngineHttpRequest.relativeUri cannot contain spaces.")
    method = _read_method(request, "AppEngineHttpRequest", with_body=("POST", "PUT"))
    headers = read_headers(request.headers, "AppEngineHttpRequest.headers")
    return AppEngineTarget(
        uri, method, _app_engine_headers(headers, request.body), request.body, read_routing(request.app_engine_routing)
    )


def _app_engine_headers(headers: list[tuple[str, str]], body: bytes) -> tuple[tuple[str, str], ...]:
    """The headers as stored: the service's User-Agent after the user's own, and what a body needs."""
    given = {key.lower(): value for key, value in headers}
    kept = [(key, value) for key, value in headers if key.lower() not in ("user-agent", "content-length")]
    if body:
        kept.append(("Content-Length", str(len(body))))
        if "content-type" not in given:
            kept.append(("Content-Type", "application/octet-stream"))
    kept.append(("User-Agent", f"{given.get('user-agent', '')} {APP_ENGINE_USER_AGENT}".lstrip()))
    return tuple(kept)


def _read_method(request: Message, kind: str, *, with_body: Sequence[str]) -> str:
    method = METHOD_NAMES.get(request.http_method or _POST)
    if method is None:
        raise invalid(f"{kind}.http_method {request.http_method} is not known.")
    if request.body and method not in with_body:
        raise invalid(f"{kind}.body cannot be set for HTTP method {method}.")
    return method


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


def _read_authorization(http: Message, url: str, host: str) -> Authorization | None:
    kind = http.WhichOneof("authorization_header")
    if kind is None:
        return None
    if not url.startswith("https://") and not is_loopback(host):
        raise invalid("HttpRequest.url must start with 'https://' for request with HttpRequest.authorization_header")
    email = getattr(http, kind).service_account_email
    if kind == "oauth_token":
        if not email:
            raise invalid("OAuthToken.serviceAccountEmail is required.")
        return OAuthToken(email, http.oauth_token.scope or DEFAULT_SCOPE)
    if not email:
        raise invalid("OidcToken.serviceAccountEmail is required.")
    return OidcToken(email, http.oidc_token.audience)
