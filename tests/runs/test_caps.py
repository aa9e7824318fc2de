"""Caps on what a queue may have outstanding: what is too much is parked, or refused."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest

import headrace
from headrace.clock import ManualClock
from headrace.contract.operations import QueueOptions, WhenFull
from headrace.database import Database
from headrace.errors import QueueFull, Retry
from headrace.execution.batch import Batch
from headrace.runs.policy import RunPolicy
from headrace.runs.queue_loads import QueueLoads
from headrace.testing.service import ADMIN_TOKEN
from tests.instance import UNLIMITED, Instance, Numbers, drain, handler, written
from tests.queue_in_memory import QueueInMemory
from tests.runs.harbour import Harbour, harbour

__all__ = ["harbour"]


@pytest.fixture
def parts(database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers) -> tuple[Any, ...]:
    return database, queue, clock, application


def capped(parts: tuple[Any, ...], cap: int, when_full: WhenFull = WhenFull.PARK, **options: Any) -> Instance:
    queues = [QueueOptions("work", UNLIMITED, max_pending=cap, when_full=when_full)]
    return Instance(*parts, queues=queues, batch_size=1, **options)


def load(instance: Instance) -> dict[str, Any]:
    (found,) = QueueLoads(instance.database, instance.contract, instance.clock).list()
    return found


def deliver_one(instance: Instance, queue: QueueInMemory) -> None:
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, orjson.loads(push.body))
    del queue.tasks[name]


def test_the_101st_task_is_parked_and_pushed_at_once_when_one_has_ended(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    instance = capped(parts, 100)
    application.count = 103
    run_id = instance.start().run_id
    assert len(queue.tasks) == 100
    clock.advance(5)
    assert load(instance) == {
        "queue": "work",
        "max_pending": 100,
        "when_full": "park",
        "outstanding": 100,
        "pending": 3,
        "oldest_age": 5.0,
    }
    assert instance.show(run_id)["tasks"]["pending"] == 3
    assert instance.sweeps.relay() == {"pushed": 0}, "the sweep keeps to the cap too"
    deliver_one(instance, queue)
    assert len(queue.tasks) == 100, "the 101st took its place"
    drain(queue, instance)
    assert written(database) == list(range(1, 104))
    assert (load(instance)["outstanding"], load(instance)["oldest_age"]) == (0, None)
    assert instance.show(run_id)["state"] == "completed"


def test_the_101st_push_is_refused_and_nothing_of_it_is_written(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    instance = capped(parts, 100, WhenFull.REFUSE)
    with database.write() as connection:
        for number in range(100):
            instance.pusher.push(connection, application.work, [number])
    with database.write() as connection, pytest.raises(QueueFull, match="has 100 tasks") as refused:
        instance.pusher.push(connection, application.work, [100], key="the last one")
    assert refused.value.status == 429
    assert len(instance.progress.list(limit=1_000)) == 100
    deliver_one(instance, queue)
    with database.write() as connection:
        assert not instance.pusher.push(connection, application.work, [100], key="the last one").duplicate


def test_parked_batches_of_one_queue_do_not_stop_those_of_others(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    def rest(_batch: Batch) -> None: ...

    other = handler("rest", rest, queue="other")
    instance = capped(parts, 2, others=[other], policy=RunPolicy(chunk_batches=5))
    application.count = 40
    queue.down = True
    instance.start()
    with database.write() as connection:
        instance.pusher.push(connection, rest, [1])
    queue.down = False
    assert instance.sweeps.relay() == {"pushed": 3}
    assert [push.queue for push in queue.tasks.values()] == ["work", "work", "other"]


def test_parked_batches_that_are_due_do_not_stop_each_other(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database, clock: ManualClock
) -> None:
    def rest(_batch: Batch) -> None: ...

    other = handler("rest", rest, queue="other")
    instance = capped(parts, 2, others=[other], policy=RunPolicy(chunk_batches=3))
    queue.max_delay = 0
    with database.write() as connection:
        for number in range(8):
            instance.pusher.push(connection, application.work, [number], at=clock.now() + 1)
        for number in range(4):
            instance.pusher.push(connection, rest, [number], at=clock.now() + 2)
    clock.advance(3)
    assert instance.sweeps.relay() == {"pushed": 6}
    assert load(instance)["outstanding"] == 2


def test_a_batch_that_comes_back_for_another_try_keeps_to_the_cap(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory
) -> None:
    instance = capped(parts, 2)
    application.count = 4

    def fail(_batch: Batch) -> None:
        raise Retry("later", after=30)

    application.on_work = fail
    instance.start()
    deliver_one(instance, queue)
    application.on_work = lambda _batch: None
    assert load(instance)["outstanding"] == 2
    drain(queue, instance)
    assert load(instance)["outstanding"] == load(instance)["pending"] == 0


def test_a_step_on_a_full_queue_waits_behind_what_was_pushed_before(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    instance = capped(parts, 2)
    with database.write() as connection:
        for number in (101, 102, 103):
            instance.pusher.push(connection, application.work, [number])
    application.count = 2
    instance.start()
    order = []
    while queue.tasks:
        order.append(orjson.loads(next(iter(queue.tasks.values())).body)[0])
        deliver_one(instance, queue)
    assert order == [101, 102, 103, 1, 2]


def test_pushers_at_one_moment_do_not_get_past_the_cap_together(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    instance = capped(parts, 5, WhenFull.REFUSE)
    meeting = threading.Barrier(4, timeout=30)

    def push_some(pusher: int) -> int:
        meeting.wait()
        refused = 0
        for number in range(4):
            try:
                with database.write() as connection:
                    instance.pusher.push(connection, application.work, [pusher * 10 + number])
            except QueueFull:
                refused += 1
        return refused

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(push_some, range(4))) == 11
    assert len(queue.tasks) == 5


def test_relays_at_one_moment_do_not_get_past_the_cap_together(
    parts: tuple[Any, ...], application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    instance = capped(parts, 5)
    queue.down = True
    application.count = 30
    instance.start()
    queue.down = False
    meeting = threading.Barrier(4, timeout=30)

    def relay(_index: int) -> None:
        meeting.wait()
        instance.relay.push_queues("work")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(relay, range(4)))
    assert len(queue.tasks) == 5


def test_a_request_whose_push_is_refused_is_answered_429(harbour: Harbour) -> None:
    service = harbour.serve("{max-pending: 2, when-full: refuse}")
    assert [service.client.post("/api/v1/crates").status_code for _ in range(3)] == [200, 200, 429]
    refused = service.client.post("/api/v1/crates")
    assert refused.json is not None
    assert refused.json["errorCode"] == "QUEUE_FULL"
    service.assert_pushed(harbour.code.store, count=2)
    service.queue.drain()
    assert service.client.post("/api/v1/crates").status_code == 200


def test_the_admin_api_tells_how_full_a_queue_is(harbour: Harbour) -> None:
    service = harbour.serve("{max-pending: 2}")
    with service.transaction() as connection:
        for number in range(3):
            headrace.push(connection, harbour.code.store, {"crate": number})
    service.clock.advance(7)
    answer = service.client.get("/api/v1/queues", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert answer.json is not None
    rows = {row["queue"]: row for row in answer.json["queues"]}
    told = ("max_pending", "when_full", "outstanding", "pending", "oldest_age", "waiting")
    assert [rows["yard"][name] for name in told] == [2, "park", 2, 1, 7.0, 3]
    assert all(row["max_pending"] is None for name, row in rows.items() if name != "yard")
    assert service.client.get("/api/v1/queues").status_code == 401
    assert service.queue.drain() == 3
