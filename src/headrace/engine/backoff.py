"""How long a failed push waits, and whether it is tried again at all.

Both rules are those of App Engine's own task queue code (`taskqueue_stub.Retry` in appengine-python-standard
3.1.0), which Cloud Tasks documents in words.
"""

import math

from headrace.engine.model import RetryLimits


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
