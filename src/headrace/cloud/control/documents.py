"""Queues, tasks and deliveries as the server's own API shows them. Pure.

Times are RFC 3339 in UTC, durations seconds.
"""

import base64
import math
from datetime import UTC, datetime
from typing import Any, TypeAlias

from headrace.engine.minutes import MinuteCounts
from headrace.engine.model import DeliveryRecord, HttpTarget, Queue, QueueStats, RateLimits, Task
from headrace.engine.waiting import Reason, Waiting
from headrace.retries import RetryLimits

Document: TypeAlias = dict[str, Any]


def queue_document(
    queue: Queue, stats: QueueStats, *, idle: bool, declared: Queue | None, set_by: str | None
) -> Document:
    """A queue with its limits; `declared` is what its file says of it, `set_by` who put others over that."""
    same = declared is None or (declared.rate, declared.retry) == (queue.rate, queue.retry)
    return {
        "name": queue.name,
        "state": queue.state.value,
        **limits_document(queue.rate, queue.retry),
        "declared": None if same or declared is None else limits_document(declared.rate, declared.retry),
        "setBy": set_by,
        "pending": stats.pending,
        "inFlight": stats.in_flight,
        "oldestDue": None if stats.oldest_due is None else show_time(stats.oldest_due),
        "tokens": round(stats.tokens, 3),
        "idle": idle,
    }


def limits_document(rate: RateLimits, retry: RetryLimits) -> Document:
    """`rateLimits` and `retryConfig`; `maxAttempts` -1 and `maxRetryDuration` 0 are without limit."""
    return {
        "rateLimits": {
            "maxDispatchesPerSecond": rate.per_second,
            "maxBurstSize": rate.burst,
            "maxConcurrentDispatches": rate.concurrency,
        },
        "retryConfig": {
            "maxAttempts": retry.max_attempts,
            "maxRetryDuration": retry.max_duration,
            "minBackoff": retry.min_backoff,
            "maxBackoff": retry.max_backoff,
            "maxDoublings": retry.max_doublings,
        },
    }


def chart_document(minutes: MinuteCounts) -> Document:
    """Pushes a minute as charts draw them: times in epoch seconds, and a series for each way to end."""
    series = [{"label": "done", "values": minutes.done}, {"label": "failed", "values": minutes.failed}]
    return {"times": minutes.times, "series": series}


def task_document(task: Task, waiting: Waiting) -> Document:
    """A stored task: what is sent, and why it is not pushed yet."""
    url = task.target.url if isinstance(task.target, HttpTarget) else task.target.relative_uri
    return {
        "name": f"{task.queue}/tasks/{task.name}",
        "createTime": show_time(task.created_at),
        "scheduleTime": show_time(task.schedule_at),
        "dispatchDeadline": task.dispatch_deadline,
        "dispatchCount": task.dispatch_count,
        "lastStatus": task.previous_response,
        "waitsFor": waiting.reason.value,
        "until": None if waiting.until is None else show_time(waiting.until),
        "why": _why(task, waiting),
        "request": _request_document(task.target.method, url, task.target.headers, task.target.body),
    }


def delivery_document(queue: str, record: DeliveryRecord) -> Document:
    """A push that ended: what was sent, and what came back."""
    return {
        "task": f"{queue}/tasks/{record.task}",
        "number": record.number,
        "startTime": show_time(record.started_at),
        "seconds": round(record.seconds, 6),
        "status": record.status,
        "error": record.error,
        "responseHead": record.head.decode("utf-8", "replace"),
        "request": _request_document(record.method, record.url, record.headers, record.body),
    }


def show_time(seconds: float) -> str | None:
    """RFC 3339 in UTC; None for infinity."""
    return None if seconds == math.inf else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _why(task: Task, waiting: Waiting) -> str:
    until = "" if waiting.until is None else show_time(waiting.until)
    match waiting.reason:
        case Reason.PUSHED:
            return "being pushed"
        case Reason.PAUSED:
            return "queue paused"
        case Reason.DISABLED:
            return "queue disabled"
        case Reason.SCHEDULED:
            return f"scheduled for {until}"
        case Reason.BACKOFF:
            last = "no answer" if task.last_attempt is None else _outcome(task.last_attempt.status)
            return f"retry backoff until {until} after {last}"
        case Reason.UNREAD:
            return "not read in yet: others are due before it"
        case Reason.CONCURRENCY:
            return "concurrency limit reached"
        case Reason.TOKEN:
            return f"no token until {until}" if until else "no token: the rate is 0"
        case Reason.TURN:
            return "next in line"


def _outcome(status: int | None) -> str:
    return "no answer" if status is None else f"status {status}"


def _request_document(method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Document:
    return {"method": method, "url": url, "headers": dict(headers), "body": base64.b64encode(body).decode("ascii")}
