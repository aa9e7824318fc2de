"""Rates, bursts, concurrency and retries of the whole server, on the test clock and in real time."""

import threading
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from statistics import median

import pytest

from headrace.testing.server import QueueServer
from tests.cloud.conftest import Push, Target

HOUR = 3600.0
LATENESS = 0.02
"""Seconds that a push may start after its due time."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServer]:
    server = QueueServer(tmp_path_factory.mktemp("rates"))
    yield server
    server.close()


@pytest.fixture
def server(running: QueueServer) -> QueueServer:
    running.reset()
    return running


def create(server: QueueServer, queue: str, target: Target, count: int = 1, **fields: object) -> None:
    task = {"http_request": {"url": target.url}, **fields}
    for start in range(0, count, 100):
        requests = [{"parent": queue, "task": task}] * min(100, count - start)
        server.client().batch_create_tasks(request={"parent": queue, "requests": requests}).result()


def started(server: QueueServer, queue: str) -> list[float]:
    """When each delivery of the queue started, on the server's clock, in order."""
    deliveries = server.call("GET", f"/{queue}/deliveries")["deliveries"]
    return sorted(datetime.fromisoformat(each["startTime"]).timestamp() for each in deliveries)


@pytest.mark.parametrize(
    ("rate", "period", "count"),
    [("0.2/s", 5.0, 720), ("1.5/s", 1 / 1.5, 1500), ("4/m", 15.0, 240), ("19/s", 1 / 19, 500)],
)
def test_a_slow_queue_pushes_at_each_due_time(
    server: QueueServer, target: Target, rate: str, period: float, count: int
) -> None:
    queue = server.queue("slow", rate=rate, bucket_size=1)
    create(server, queue, target, count)
    server.drain(queue)
    times = started(server, queue)
    assert len(times) == count
    # None comes early, and few come late: those before which the machine itself stood still for a moment.
    assert min(at - times[0] - number * period for number, at in enumerate(times)) > -LATENESS
    assert sum(after - before > period + LATENESS for before, after in pairwise(times)) <= count / 100
    assert times[-1] - times[0] == pytest.approx((count - 1) * period, rel=0.005, abs=0.5)


@pytest.mark.parametrize("rate", [100, 500])
def test_a_fast_queue_keeps_its_rate_over_ten_seconds(server: QueueServer, target: Target, rate: int) -> None:
    queue = server.queue("fast", rate=f"{rate}/s", bucket_size=50)
    server.client().pause_queue(name=queue)
    create(server, queue, target, 10 * rate + 50)
    server.client().resume_queue(name=queue)
    server.drain(queue)
    times = started(server, queue)
    assert len(times) == 10 * rate + 50
    assert times[-1] - times[0] == pytest.approx(10, rel=0.005)


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate(server: QueueServer, target: Target) -> None:
    queue = server.queue("bucket", rate="1/s", bucket_size=5)
    create(server, queue, target, 8)
    server.drain(queue)
    times = started(server, queue)
    assert [round(at - times[0]) for at in times] == [0, 0, 0, 0, 0, 1, 2, 3]
    assert times[4] - times[0] < 0.1


def test_a_queue_that_rests_gathers_tokens_up_to_its_burst(server: QueueServer, target: Target) -> None:
    queue = server.queue("rested", rate="1/s", bucket_size=3)
    create(server, queue, target, 3)
    server.wait_until_idle(queue)
    server.advance(2)
    create(server, queue, target, 3)
    server.drain(queue)
    times = started(server, queue)
    assert [round(at - times[3], 1) for at in times[3:]] == [0, 0, pytest.approx(1, abs=0.3)]


def test_no_more_pushes_than_the_limit_are_in_flight(server: QueueServer, target: Target) -> None:
    queue = server.queue("two", rate="500/s", bucket_size=100, max_concurrent_requests=2)
    at_once, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2, timeout=10)

    def answer(_push: Push) -> int:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        both.wait()
        with lock:
            at_once -= 1
        return 204

    target.answer = answer
    create(server, queue, target, 10)
    server.drain(queue)
    assert len(target.pushes) == 10
    assert most == 2


def test_a_task_is_tried_until_both_limits_are_reached(server: QueueServer, target: Target) -> None:
    """Limit 1, age 5 minutes, always failing: it goes on until the 5 minutes have passed, then it is gone."""
    backoff = {"min_backoff_seconds": 20, "max_backoff_seconds": 20}
    queue = server.queue(
        "both", rate="5/s", retry_parameters={"task_retry_limit": 1, "task_age_limit": "5m", **backoff}
    )
    target.answer = lambda _push: 500
    create(server, queue, target)
    server.drain(queue)
    times = started(server, queue)
    assert [round(at - times[0]) for at in times] == list(range(0, 301, 20))
    assert not server.client().list_tasks(parent=queue).tasks


def test_the_waits_between_attempts_double_and_then_grow_evenly(server: QueueServer, target: Target) -> None:
    limits = {"min_backoff_seconds": 10, "max_backoff_seconds": 300, "max_doublings": 3, "task_retry_limit": 8}
    queue = server.queue("backoff", rate="5/s", retry_parameters=limits)
    target.answer = lambda _push: 503
    create(server, queue, target)
    server.drain(queue)
    times = started(server, queue)
    waits = [round(after - before) for before, after in pairwise(times)]
    assert waits == [10, 20, 40, 80, 160, 240, 300, 300]


def test_a_paused_queue_keeps_its_tasks_and_a_resumed_one_pushes_them(server: QueueServer, target: Target) -> None:
    queue = server.queue("paused", rate="1/s", bucket_size=1)
    server.client().pause_queue(name=queue)
    create(server, queue, target, 3)
    server.advance(HOUR)
    assert not target.pushes
    server.client().resume_queue(name=queue)
    server.drain(queue)
    assert len(target.pushes) == 3


def test_a_purged_or_deleted_queue_pushes_nothing_more(server: QueueServer, target: Target) -> None:
    for name, end in (("purged", server.client().purge_queue), ("deleted", server.client().delete_queue)):
        queue = server.queue(name, rate="1/s", bucket_size=1)
        create(server, queue, target, 3)
        target.wait_for(1)
        end(name=queue)
        server.advance(HOUR)
        assert len(target.pushes) == 1
        target.pushes.clear()


def test_a_deleted_task_is_not_pushed_and_one_that_is_run_is_pushed_once(server: QueueServer, target: Target) -> None:
    queue = server.queue("single", rate="1/h", bucket_size=1)
    client = server.client()
    create(server, queue, target)
    target.wait_for(1)
    kept, gone = (
        client.create_task(parent=queue, task={"name": f"{queue}/tasks/{name}", "http_request": {"url": target.url}})
        for name in ("kept", "gone")
    )
    client.run_task(name=kept.name)
    target.wait_for(2)
    client.delete_task(name=gone.name)
    server.advance(3 * HOUR)
    assert [push.headers["x-cloudtasks-taskname"] for push in target.pushes[1:]] == ["kept"]


def test_a_limit_that_changes_counts_from_then_on(server: QueueServer, target: Target) -> None:
    queue = server.queue("changed", rate="1/h", bucket_size=1)
    create(server, queue, target, 11)
    target.wait_for(1)
    server.queue("changed", rate="1/s", bucket_size=1)
    server.advance(10.5)
    assert len(target.pushes) == 11


def test_a_slow_queue_is_on_time_in_real_time(server: QueueServer, target: Target) -> None:
    queue = server.queue("real", rate="10/s", bucket_size=1)
    create(server, queue, target, 11)
    server.wait_until_idle(queue)
    times = started(server, queue)
    lateness = [at - times[0] - number / 10 for number, at in enumerate(times)]
    assert min(lateness) > -LATENESS
    assert median(lateness) < LATENESS
