"""Large payloads: arrays are cut, what cannot be cut stays in the database, and what is too large is refused."""

from typing import Any

import orjson
import pytest
from structlog.testing import capture_logs

import headrace
from headrace.clock import ManualClock
from headrace.database import Database
from headrace.errors import PushRefused
from headrace.runs.policy import RunPolicy
from headrace.runs.relay import CLAIM_HEADER
from headrace.testing.service import ServiceUnderTest
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory
from tests.runs.harbour import Harbour, harbour

__all__ = ["harbour"]


@pytest.fixture
def service(harbour: Harbour) -> ServiceUnderTest:
    return harbour.serve(HEADRACE_CLAIM_ABOVE="1000")


def pushed(service: ServiceUnderTest) -> list[tuple[bool, int]]:
    """Of each task: whether it carries a ticket for its payload, and how large its body is."""
    return [(CLAIM_HEADER in task.headers, len(task.body)) for task in service.queue.pushed()]


def test_an_array_above_the_drivers_limit_is_cut_further_and_that_is_logged_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, batch_size=100)
    queue.max_body = len(orjson.dumps(list(range(100, 110))))
    application.items = lambda connection, after: iter(range(100, 200))
    with capture_logs() as logs:
        run_id = instance.start().run_id
    assert [len(orjson.loads(push.body)) for push in queue.tasks.values()] == [10] * 10
    assert all(len(push.body) <= queue.max_body for push in queue.tasks.values())
    (told,) = [entry for entry in logs if entry["event"] == "batches cut by size"]
    assert (told["run_id"], told["items"], told["most_bytes"]) == (run_id, 10, queue.max_body)
    drain(queue, instance)
    assert written(database) == list(range(100, 200))


def test_batches_that_are_full_are_not_logged_as_cut(instance: Instance, application: Numbers) -> None:
    application.count = 10
    with capture_logs() as logs:
        instance.start()
    assert [entry for entry in logs if entry["event"] == "batches cut by size"] == []


def test_a_payload_above_the_threshold_stays_in_the_database_and_reaches_its_handler(
    service: ServiceUnderTest, harbour: Harbour
) -> None:
    large = {"crate": "é" * 600}
    with service.transaction() as connection:
        headrace.push(connection, harbour.code.store, large)
        headrace.push(connection, harbour.code.store, {"crate": "small"})
    (claimed, ticket), (plain, _) = pushed(service)
    assert (claimed, plain) == (True, False), "600 characters are 1,200 bytes"
    assert ticket < 50
    assert service.queue.drain() == 2
    assert harbour.code.weighed == [large, {"crate": "small"}]


def test_one_item_larger_than_the_driver_takes_is_a_batch_of_its_own_that_is_claimed(
    service: ServiceUnderTest, harbour: Harbour
) -> None:
    huge = "x" * (service.queue.max_body + 1)
    harbour.code.crates[:] = ["a", huge, "b"]
    run_id = service.start(harbour.code.weigh_all)
    assert [claimed for claimed, _ in pushed(service)] == [False, True, False]
    assert service.queue.drain() == 3
    assert harbour.code.weighed == [["a"], [huge], ["b"]]
    assert service.run(run_id)["state"] == "completed"


def test_a_claimed_payload_that_comes_twice_is_done_once(service: ServiceUnderTest, harbour: Harbour) -> None:
    with service.transaction() as connection:
        headrace.push(connection, harbour.code.store, {"crate": "x" * 2_000})
    with service.database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_batches SET state = 'pending'")
    service.start("headrace.service.sweeps.sweep")
    assert service.queue.drain() == 1
    assert len(harbour.code.weighed) == 1


def test_a_forged_ticket_opens_nothing(service: ServiceUnderTest, harbour: Harbour) -> None:
    with service.transaction() as connection:
        headrace.push(connection, harbour.code.store, {"crate": "x" * 2_000})
    (task,) = service.queue.pushed()
    headers = {
        CLAIM_HEADER: task.headers[CLAIM_HEADER],
        "X-CloudTasks-QueueName": "yard",
        "X-CloudTasks-TaskName": task.name,
    }
    for forged in ({}, {"Authorization": "Bearer ey.ey.ey"}):
        answer = service.client.post("/v1/cloudTask/store", json={"claim": 1}, headers=headers | forged)
        assert answer.status_code == 401
    assert harbour.code.weighed == []


@pytest.mark.parametrize("name", ["somebody-elses", "0123456789abcdef-1-1", "0123456789abcdef-999-1"])
def test_a_ticket_for_a_payload_that_is_not_its_own_is_gone(
    service: ServiceUnderTest, harbour: Harbour, name: str
) -> None:
    with service.transaction() as connection:
        headrace.push(connection, harbour.code.store, {"crate": "x" * 2_000})
    token = service.queue._tokens.token(service.queue._token)
    headers = {
        "Authorization": f"Bearer {token}",
        CLAIM_HEADER: "1",
        "X-CloudTasks-QueueName": "yard",
        "X-CloudTasks-TaskName": name,
    }
    answer = service.client.post("/v1/cloudTask/store", json={"claim": 1}, headers=headers)
    assert answer.status_code == 410
    assert harbour.code.weighed == []


@pytest.mark.parametrize("payload", [list(range(100_000)), [10**15] * 3])
def test_a_payload_above_all_limits_is_refused_before_anything_is_written(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers, payload: list[Any]
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(max_payload=50))
    with database.write() as connection, pytest.raises(PushRefused, match="is larger than the 50 that"):
        instance.pusher.push(connection, application.work, payload, key="too large")
    assert instance.progress.list() == []
    with database.write() as connection:
        assert not instance.pusher.push(connection, application.work, [1], key="too large").duplicate
