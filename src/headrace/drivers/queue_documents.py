"""Queues, tasks and deliveries as the queue server's own API words them, read and written.

The documents are described in `docs/emulator.md`; durations are seconds, times RFC 3339.
"""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from headrace.drivers.queues import Delivery, QueuedTask, QueueLimits, QueueState, QueueStatus
from headrace.retries import RetryLimits

Document = Mapping[str, Any]


def read_status(document: Document) -> QueueStatus:
    """A queue's document."""
    declared = document["declared"]
    return QueueStatus(
        name=_short(document["name"]),
        state=QueueState(document["state"].lower()),
        limits=_read_limits(document),
        declared=None if declared is None else _read_limits(declared),
        set_by=document["setBy"],
        waiting=document["pending"],
        in_flight=document["inFlight"],
        oldest_due=_read_time(document["oldestDue"]),
    )


def read_task(document: Document) -> QueuedTask:
    """A task's document."""
    request = document["request"]
    created_at, schedule_at = _read_time(document["createTime"]), _read_time(document["scheduleTime"])
    assert created_at is not None
    assert schedule_at is not None
    return QueuedTask(
        name=_short(document["name"]),
        created_at=created_at,
        schedule_at=schedule_at,
        dispatch_count=document["dispatchCount"],
        last_status=document["lastStatus"],
        why=document["why"],
        method=request["method"],
        url=request["url"],
        headers=tuple(request["headers"].items()),
        body=base64.b64decode(request["body"]),
    )


def read_delivery(document: Document) -> Delivery:
    """A delivery's document."""
    request = document["request"]
    started_at = _read_time(document["startTime"])
    assert started_at is not None
    return Delivery(
        task=_short(document["task"]),
        number=document["number"],
        started_at=started_at,
        seconds=document["seconds"],
        status=document["status"],
        error=document["error"],
        head=document["responseHead"],
        method=request["method"],
        url=request["url"],
        headers=tuple(request["headers"].items()),
        body=base64.b64decode(request["body"]),
    )


def write_limits(limits: QueueLimits) -> dict[str, Any]:
    """Limits as a queue's document has them."""
    return {
        "rateLimits": {
            "maxDispatchesPerSecond": limits.rate_per_second,
            "maxBurstSize": limits.bucket_size,
            "maxConcurrentDispatches": limits.max_concurrent_requests,
        },
        "retryConfig": {
            "maxAttempts": limits.retry.max_attempts,
            "maxRetryDuration": limits.retry.max_duration,
            "minBackoff": limits.retry.min_backoff,
            "maxBackoff": limits.retry.max_backoff,
            "maxDoublings": limits.retry.max_doublings,
        },
    }


def _read_limits(document: Document) -> QueueLimits:
    rate, retry = document["rateLimits"], document["retryConfig"]
    return QueueLimits(
        rate_per_second=rate["maxDispatchesPerSecond"],
        bucket_size=rate["maxBurstSize"],
        max_concurrent_requests=rate["maxConcurrentDispatches"],
        retry=RetryLimits(
            max_attempts=retry["maxAttempts"],
            max_duration=retry["maxRetryDuration"],
            min_backoff=retry["minBackoff"],
            max_backoff=retry["maxBackoff"],
            max_doublings=retry["maxDoublings"],
        ),
    )


def _short(name: str) -> str:
    return name.rpartition("/")[2]


def _read_time(text: str | None) -> float | None:
    return None if text is None else datetime.fromisoformat(text).timestamp()
