"""What becomes of a task after a push that failed. Pure."""

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

from headrace.engine.encoding import decode_retry
from headrace.engine.model import Queue
from headrace.engine.store.interface import Record
from headrace.retries import backoff, may_retry

# Cloud Tasks says that Retry-After "is considered" and no more. Here it is a lower bound of the wait, on the
# statuses that ask a client to come back later, up to an hour.
_HONOURED = frozenset((409, 429, 503))
# "Unlike other types of task targets, a 429 response from an app handler does not cause traffic congestion control
# to throttle" (Cloud Tasks v2, AppEngineHttpRequest).
_HONOURED_OF_APP_ENGINE = frozenset((503,))
_LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True, slots=True)
class Failure:
    """A push that failed. `wait_from` is the time that its backoff counts from, `retry_after` is in seconds.

    `status` is None where no answer came; `error` then says why.
    """

    dispatched_at: float
    responded_at: float
    wait_from: float
    status: int | None
    error: str
    retry_after: float


def after_failure(record: Record, queue: Queue, failure: Failure) -> Record | None:
    """The task as it waits for its next push, or None when there is to be none.

    There is none when the retry limits are used up, or when the task would be past its time to live by then.
    """
    attempts = record.dispatch_count + 1
    first_at = failure.dispatched_at if record.first_at is None else record.first_at
    now, status = failure.responded_at, failure.status
    retry = decode_retry(record.retry) or queue.retry
    if not may_retry(retry, attempts, now - first_at):
        return None
    due = max(now, failure.wait_from + backoff(retry, attempts), now + failure.retry_after)
    if due >= record.created_at + queue.task_ttl:
        return None
    return record._replace(
        due=due,
        dispatch_count=attempts,
        response_count=record.response_count + (status is not None),
        execution_count=record.execution_count + (status is not None and status < 500),
        first_at=first_at,
        last_dispatched_at=failure.dispatched_at,
        last_scheduled_at=record.due,
        last_responded_at=now,
        last_status=status,
        last_error=failure.error,
        previous=504 if status is None else status,
    )


def retry_after(status: int, headers: list[tuple[bytes, bytes]], now: float, *, is_app_engine: bool = False) -> float:
    """Seconds that the answer asks to wait: 0 when it asks for nothing, or in words that are no time."""
    if status not in (_HONOURED_OF_APP_ENGINE if is_app_engine else _HONOURED):
        return 0.0
    for name, value in headers:
        if name == b"retry-after":
            return min(max(0.0, _seconds(value.decode("latin-1").strip(), now)), _LONGEST_RETRY_AFTER)
    return 0.0


def _seconds(value: str, now: float) -> float:
    if value.isascii() and value.isdecimal():
        return float(value[:10])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # the second of numbers that no date can hold
        return 0.0
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - now
