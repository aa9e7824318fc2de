"""Whether what failed is tried again, and how long that waits: for the queue server and for the service alike.

Both rules are those of App Engine's own task queue code (`taskqueue_stub.Retry` in appengine-python-standard
3.1.0), which Cloud Tasks documents in words.
"""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryLimits:
    """When a failed push is tried again, and when no more.

    `max_attempts` counts the first push too; -1 is without limit. A `task_retry_limit` of n in queue.yaml is a
    `max_attempts` of n + 1. `max_duration` counts from the first push; 0 is without limit.
    """

    max_attempts: int
    max_duration: float
    min_backoff: float
    max_backoff: float
    max_doublings: int


def backoff(limits: RetryLimits, retry: int) -> float:
    """Seconds between the answer and retry number `retry` (1 is the first).

    The wait doubles `max_doublings` times, then grows by a constant step, and stops at `max_backoff`.
    """
    if retry < 1:
        raise ValueError(f"retries count from 1: {retry}")
    doublings = min(retry - 1, max(0, limits.max_doublings))
    steps = max(1, retry - doublings)
    try:
        wait = math.ldexp(limits.min_backoff, doublings) * steps
    except OverflowError:
        return limits.max_backoff
    return min(limits.max_backoff, wait)


def may_retry(limits: RetryLimits, attempts: int, age: float) -> bool:
    """Whether a task is pushed again after `attempts` failed pushes, `age` seconds after the first one began.

    With both limits set, it ends only when both are reached; with one set, by that one; with none, never.
    """
    attempts_left = attempts < limits.max_attempts
    time_left = age <= limits.max_duration
    counts = limits.max_attempts > 0
    ages = limits.max_duration > 0
    if counts and ages:
        return attempts_left or time_left
    if counts:
        return attempts_left
    return time_left if ages else True
