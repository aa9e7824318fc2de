"""The request that a push makes of a task's target.

The headers are those of Cloud Tasks' HTTP and App Engine targets, as recorded in
`tests/vectors/cloudtasks_dispatch.json`.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

from headrace.engine.address import Origin, parse_address
from headrace.engine.encoding import decode_target
from headrace.engine.http import encode_headers, encode_request_line
from headrace.engine.model import (
    AppEngineRouting,
    AppEngineTarget,
    AppEngineUrls,
    Authorization,
    HttpOverrides,
    HttpTarget,
    OidcToken,
    Target,
    UriOverride,
)
from headrace.engine.store.interface import Record

_RESERVED = ("x-cloudtasks-", "x-appengine-", "x-google-")
_HTTP = b"X-CloudTasks-"
_APP_ENGINE = b"X-AppEngine-"
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))
APP_ENGINE_DEADLINE = 600.0
"""Seconds that a push to App Engine may take that names no deadline: its limit under automatic scaling."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all pushes of one queue to one target share.

    `headers` are those that are sent of the target's own. `start` is the head of the request up to the headers that
    tell of the task; `prefix` begins the names of these.
    """

    origin: Origin
    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    takes_body: bool
    start: bytes
    prefix: bytes
    authorization: Authorization | None

    @property
    def is_app_engine(self) -> bool:
        return self.prefix == _APP_ENGINE


@lru_cache(maxsize=256)
def prepare(
    encoded: bytes,
    queue: str,
    overrides: HttpOverrides | None,
    routing: AppEngineRouting | None,
    app_engine: AppEngineUrls,
) -> Prepared:
    """Raises TargetUnreachable when the URL cannot be one. `queue` is the short name; for the rest see `aim`."""
    decoded = decode_target(encoded, b"")
    target = aim(decoded, overrides, routing, app_engine)
    address = parse_address(target.url)
    prefix = _APP_ENGINE if isinstance(decoded, AppEngineTarget) else _HTTP
    token = addressed(target.authorization, target.url)
    headers = tuple(
        (name, value)
        for name, value in target.headers
        if not name.lower().startswith(_RESERVED) and not (token and name.lower() == "authorization")
    )
    start = encode_request_line(target.method, address) + encode_headers(headers)
    start += b"%bQueueName: %b\r\n" % (prefix, queue.encode("ascii"))
    takes_body = target.method in _WITH_BODY
    return Prepared(address.origin, target.method, target.url, headers, takes_body, start, prefix, token)


def aim(
    target: Target, overrides: HttpOverrides | None, routing: AppEngineRouting | None, app_engine: AppEngineUrls
) -> HttpTarget:
    """The HTTP request that a task's target means in its queue.

    `overrides` and `routing` are what the queue puts over its HTTP and its App Engine tasks.
    """
    if isinstance(target, AppEngineTarget):
        url = app_engine.base(routing or target.routing) + target.relative_uri
        return HttpTarget(url, target.method, target.headers, target.body, None)
    if overrides is not None:
        target = override(target, overrides)
    others = [(name, value) for name, value in target.headers if name.lower() != "user-agent"]
    return replace(target, headers=(*others, ("User-Agent", "Google-Cloud-Tasks")))


def addressed(token: Authorization | None, url: str) -> Authorization | None:
    """The token for a request to `url`: an identity token without an audience is for that URL."""
    if isinstance(token, OidcToken) and not token.audience:
        return replace(token, audience=url)
    return token


def compose(prepared: Prepared, record: Record, token: str | None) -> bytes:
    """The whole request of the next push of a task."""
    prefix = prepared.prefix
    executions = record.response_count if prepared.is_app_engine else record.execution_count
    lines = [
        prepared.start,
        b"%bTaskName: %b\r\n%bTaskRetryCount: %d\r\n%bTaskExecutionCount: %d\r\n%bTaskETA: %.6f\r\n"
        % (
            *(prefix, task_name(record).encode("ascii")),
            *(prefix, record.dispatch_count, prefix, executions, prefix, record.due),
        ),
    ]
    if record.previous is not None:
        response, reason = _previous(prepared, record)
        lines.append(b"%bTaskPreviousResponse: %d\r\n%bTaskRetryReason: %b\r\n" % (prefix, response, prefix, reason))
    if token is not None:
        lines.append(b"Authorization: Bearer %b\r\n" % token.encode("ascii"))
    if prepared.takes_body:
        lines.append(b"Content-Length: %d\r\n\r\n" % len(record.body))
        lines.append(record.body)
    else:
        lines.append(b"\r\n")
    return b"".join(lines)


def _previous(prepared: Prepared, record: Record) -> tuple[int, bytes]:
    """The status of the last answer and the reason of this push, as the kind of target tells them."""
    if not prepared.is_app_engine:
        return record.previous or 504, b""
    return (0, b"Instance Unavailable") if record.last_status is None else (record.last_status, b"App Error")


def override(target: HttpTarget, overrides: HttpOverrides) -> HttpTarget:
    """The target with what its queue puts in place of its own."""
    replaced = {name.lower() for name, _ in overrides.headers}
    kept = [(name, value) for name, value in target.headers if name.lower() not in replaced]
    return HttpTarget(
        url=target.url if overrides.uri is None else override_url(target.url, overrides.uri),
        method=overrides.method or target.method,
        headers=(*kept, *overrides.headers),
        body=target.body,
        authorization=overrides.authorization or target.authorization,
    )


def override_url(url: str, uri: UriOverride) -> str:
    """A URL with parts put in place of its own. A port of 0, an empty path and an empty query take theirs away.

    Every URL has a scheme and a host, so these two are never missing; a path of a slash alone counts as none.
    """
    parts = urlsplit(url)
    where, port = parts.netloc, parts.port

    def chosen(own: str, over: str | None) -> str:
        return own if over is None or (uri.only_if_missing and own) else over

    host = where.rpartition("@")[2].removesuffix(f":{port}")
    if uri.port is not None and not (uri.only_if_missing and port is not None):
        port = uri.port or None
    host = chosen(host, uri.host)
    path = chosen("" if parts.path == "/" else parts.path, uri.path)
    if path and not path.startswith("/"):
        path = "/" + path
    query = chosen(parts.query, uri.query)
    return urlunsplit((chosen(parts.scheme, uri.scheme), host if port is None else f"{host}:{port}", path, query, ""))


def task_name(record: Record) -> str:
    """The name that its creator gave, or its id."""
    return record.name if record.name is not None else str(record.id)
