"""Which limit ends a task: both when both are set, by every row that Google's own code gave."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.encoding import encode_target
from headrace.engine.model import HttpTarget, Queue, QueueState, RateLimits
from headrace.engine.outcome import Failure, after_failure, retry_after
from headrace.engine.store.interface import Record
from headrace.retries import RetryLimits, may_retry

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "backoff.json").read_text())
NOW = 1_800_000_000.0


@pytest.mark.parametrize("row", VECTORS["can_retry"], ids=lambda row: "-".join(str(row[key]) for key in list(row)[:4]))
def test_a_task_is_tried_again_when_googles_code_would(row: dict[str, Any]) -> None:
    # queue.yaml's task_retry_limit counts retries, max_attempts the first push too.
    attempts = -1 if row["retry_limit"] is None else row["retry_limit"] + 1
    made = RetryLimits(attempts, row["age_limit_sec"] or 0.0, 1.0, 10.0, 1)
    assert may_retry(made, row["retry_number"], row["age_s"]) is row["can_retry"]


def test_one_retry_within_five_minutes_goes_on_until_both_are_used_up() -> None:
    made = RetryLimits(2, 300.0, 10.0, 300.0, 3)
    assert may_retry(made, 5, 299.0)
    assert not may_retry(made, 6, 301.0)


def record(**changes: Any) -> Record:
    target = encode_target(HttpTarget("http://h/", "POST", (), b"", None))
    return Record(1, 1, NOW, None, NOW, 600.0, target, b"")._replace(**changes)


def queue(retry: RetryLimits, task_ttl: float = 1e9) -> Queue:
    return Queue("q", RateLimits(1, 1, 1), retry, QueueState.RUNNING, None, 3600.0, task_ttl)


def failure(status: int | None, at: float = NOW + 2, retry_after: float = 0.0) -> Failure:
    return Failure(NOW, at, at, status, "", retry_after)


FOREVER = RetryLimits(-1, 0.0, 10.0, 300.0, 3)


def test_the_wait_counts_from_the_answer() -> None:
    retried = after_failure(record(), queue(FOREVER), failure(503))
    assert retried is not None
    assert retried.due == NOW + 2 + 10


def test_retry_after_is_a_lower_bound_of_the_wait() -> None:
    longer = after_failure(record(), queue(FOREVER), failure(503, retry_after=60.0))
    shorter = after_failure(record(), queue(FOREVER), failure(503, retry_after=1.0))
    assert longer is not None
    assert shorter is not None
    assert (longer.due, shorter.due) == (NOW + 62, NOW + 12)


@pytest.mark.parametrize(
    ("status", "answers", "executions", "previous"),
    [(503, 1, 0, 503), (404, 1, 1, 404), (302, 1, 1, 302), (None, 0, 0, 504)],
)
def test_only_answers_that_are_not_5xx_count_as_executions(
    status: int | None, answers: int, executions: int, previous: int
) -> None:
    retried = after_failure(record(), queue(FOREVER), failure(status))
    assert retried is not None
    assert (retried.dispatch_count, retried.response_count) == (1, answers)
    assert (retried.execution_count, retried.previous) == (executions, previous)


def test_the_age_counts_from_the_first_push() -> None:
    made = RetryLimits(-1, 100.0, 1.0, 10.0, 1)
    assert after_failure(record(first_at=NOW - 99), queue(made), failure(500, at=NOW)) is not None
    assert after_failure(record(first_at=NOW - 101), queue(made), failure(500, at=NOW)) is None


def test_a_task_is_not_tried_again_past_its_time_to_live() -> None:
    assert after_failure(record(), queue(FOREVER, task_ttl=12.0), failure(500)) is None


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (503, b"7", 7.0),
        (429, b"7", 7.0),
        (409, b"7", 7.0),
        (500, b"7", 0.0),
        (503, b"999999999999999", 3600.0),
        (503, b"soon", 0.0),
        (503, b"Fri, 15 Jan 99999999999999999999 08:00:30 GMT", 0.0),
        (503, b"Fri, 15 Jan 2027 08:00:30 +99999999999999999999", 0.0),
        (503, b"-5", 0.0),
        (503, b"Fri, 15 Jan 2027 08:00:30 GMT", 30.0),
    ],
)
def test_retry_after_is_read_in_seconds_or_as_a_date(status: int, value: bytes, seconds: float) -> None:
    assert retry_after(status, [(b"retry-after", value)], NOW) == pytest.approx(seconds)
