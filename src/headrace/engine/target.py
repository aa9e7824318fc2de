"""The request that a push makes of a task's target.

The headers are those of Cloud Tasks' HTTP targets, as recorded in `tests/vectors/cloudtasks_dispatch.json`.
"""

from dataclasses import dataclass
from functools import lru_cache

from headrace.engine.address import Origin, parse_address
from headrace.engine.encoding import decode_target
from headrace.engine.http import encode_headers, encode_request_line
from headrace.engine.model import Authorization, HttpTarget
from headrace.engine.store.interface import Record

_RESERVED = ("x-cloudtasks-", "x-appengine-", "x-google-")
_WITH_BODY = frozenset(("POST", "PUT", "PATCH"))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What all pushes of one queue to one target share. `start` is the head up to the task's own headers."""

    origin: Origin
    is_head: bool
    takes_body: bool
    start: bytes
    authorization: Authorization | None


@lru_cache(maxsize=256)
def prepare(encoded: bytes, queue: str) -> Prepared:
    """Raises TargetUnreachable when the URL cannot be one. `queue` is the short name."""
    target = decode_target(encoded, b"")
    assert isinstance(target, HttpTarget)
    address = parse_address(target.url)
    dropped = {"user-agent"} | ({"authorization"} if target.authorization else set())
    headers = [
        (name, value)
        for name, value in target.headers
        if name.lower() not in dropped and not name.lower().startswith(_RESERVED)
    ]
    headers += [("User-Agent", "Google-Cloud-Tasks"), ("X-CloudTasks-QueueName", queue)]
    start = encode_request_line(target.method, address) + encode_headers(headers)
    takes_body = target.method in _WITH_BODY
    return Prepared(address.origin, target.method == "HEAD", takes_body, start, target.authorization)


def compose(prepared: Prepared, record: Record, token: str | None) -> bytes:
    """The whole request of the next push of a task."""
    lines = [
        prepared.start,
        b"X-CloudTasks-TaskName: %s\r\nX-CloudTasks-TaskRetryCount: %d\r\n"
        b"X-CloudTasks-TaskExecutionCount: %d\r\nX-CloudTasks-TaskETA: %.6f\r\n"
        % (task_name(record).encode("ascii"), record.dispatch_count, record.execution_count, record.due),
    ]
    if record.dispatch_count:
        lines.append(
            b"X-CloudTasks-TaskPreviousResponse: %d\r\nX-CloudTasks-TaskRetryReason: \r\n" % (record.previous or 504)
        )
    if token is not None:
        lines.append(b"Authorization: Bearer %s\r\n" % token.encode("ascii"))
    if record.body or prepared.takes_body:
        lines.append(b"Content-Length: %d\r\n" % len(record.body))
    lines += [b"\r\n", record.body]
    return b"".join(lines)


def task_name(record: Record) -> str:
    """The name that its creator gave, or its id."""
    return record.name if record.name is not None else str(record.id)
