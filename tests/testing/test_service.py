"""An application's tests in one process: pushes at once or by hand, through the real guards, with real headers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace.errors import PushRefused
from headrace.testing.service import ADMIN_TOKEN, ServiceUnderTest
from tests.testing.parcels import parcels

__all__ = ["parcels"]

NOW = 1_800_000_000.0


@pytest.fixture
def service(parcels: Any, tmp_path: Path, database_url: str) -> Iterator[ServiceUnderTest]:
    service = ServiceUnderTest(parcels.folder, tmp_path, now=NOW, database_url=database_url)
    yield service
    service.close()


def test_what_a_job_pushes_waits_until_it_is_delivered(service: ServiceUnderTest, parcels: Any) -> None:
    run_id = service.start(parcels.ship)
    assert [task.json() for task in service.assert_pushed(parcels.send, count=3)] == [[1, 2], [3, 4], [5]]
    assert parcels.sent == []
    assert service.run(run_id)["state"] == "running"

    delivered = service.queue.deliver_next()
    assert delivered is not None
    assert (delivered.queue, delivered.status) == ("shipping", 204)
    assert parcels.sent == [1, 2]

    assert service.queue.drain() == 2
    assert parcels.sent == [1, 2, 3, 4, 5]
    assert service.run(run_id)["state"] == "completed"
    assert service.queue.deliver_next() is None


def test_inline_delivers_at_once_and_what_that_pushes_too(service: ServiceUnderTest, parcels: Any) -> None:
    with service.transaction() as connection:
        headrace.push(connection, parcels.announce, {"left": 0}, key="before")
    with service.inline():
        with service.transaction() as connection:
            headrace.push(connection, parcels.announce, {"left": 3})
            assert parcels.sent == [], "not before the commit"
        assert parcels.sent == [3, 2, 1, 0]
        assert service.run(service.start(parcels.ship))["state"] == "completed"
    with service.transaction() as connection:
        headrace.push(connection, parcels.announce, {"left": 0}, key="behind")
    assert parcels.sent == [3, 2, 1, 0, 1, 2, 3, 4, 5]
    assert service.queue.drain() == 2, "what was pushed before and behind the block"


def test_what_is_rolled_back_is_not_pushed(service: ServiceUnderTest, parcels: Any) -> None:
    def change_of_mind() -> None:
        with service.transaction() as connection:
            headrace.push(connection, parcels.announce, {"left": 0})
            raise LookupError

    with pytest.raises(LookupError):
        change_of_mind()
    assert service.queue.pushed() == []


def test_a_delivery_has_the_headers_of_the_queue(service: ServiceUnderTest, parcels: Any) -> None:
    parcels.failures.append(ValueError("no stamp"))
    service.start(parcels.ship)
    (first, *_rest) = service.queue.pushed()
    service.queue.drain(retries=1)
    deliveries = [each for each in parcels.deliveries if each.task_name == first.name]
    assert [(each.queue, each.retry_count) for each in deliveries] == [("shipping", 0), ("shipping", 1)]
    assert [each.previous_response for each in deliveries] == [None, 500]
    assert service.clock.now() == NOW + 10, "the queue's backoff has passed"


def test_a_failure_fails_the_test_unless_it_is_retried(service: ServiceUnderTest, parcels: Any) -> None:
    parcels.failures.append(ValueError("no stamp"))
    run_id = service.start(parcels.ship)
    told = r"drain left 1 task that failed:\n.* of shipping waits for its retry; answered 500: ValueError\('no stamp'\)"
    with pytest.raises(AssertionError, match=told) as failed:
        service.queue.drain()
    assert isinstance(failed.value.__cause__, ValueError), "with its traceback"
    (failed,) = [task for task in service.queue.pushed() if task.statuses == (500,)]
    assert failed.waits == "due in 10 s"
    assert service.queue.drain(retries=1) == 1
    assert service.run(run_id)["state"] == "completed"


def test_the_queues_own_limit_ends_the_retries(service: ServiceUnderTest, parcels: Any) -> None:
    parcels.failures.extend(ValueError("no stamp") for _ in range(12))
    parcels.ordered = 2
    service.start(parcels.ship)
    with pytest.raises(AssertionError, match="is given up"):
        service.queue.drain(retries=9)
    (task,) = service.queue.pushed()
    assert task.waits is None
    assert len(task.statuses) == 4


def test_a_delivery_without_a_token_of_the_queue_is_refused(service: ServiceUnderTest) -> None:
    headers = {"X-CloudTasks-QueueName": "shipping", "X-CloudTasks-TaskName": "forged"}
    assert service.client.post("/v1/cloudTask/send", json=[1], headers=headers).status_code == 401
    forged = headers | {"Authorization": "Bearer ey.ey.ey"}
    assert service.client.post("/v1/cloudTask/send", json=[1], headers=forged).status_code == 401
    assert service.client.get("/v1/cron/ship").status_code == 403


def test_a_payload_that_breaks_the_schema_is_refused_as_ever(service: ServiceUnderTest, parcels: Any) -> None:
    with service.transaction() as connection, pytest.raises(PushRefused, match="breaks the schema"):
        headrace.push(connection, parcels.send, ["seven"])
    assert service.queue.pushed() == []


def test_assert_pushed_tells_what_is_there_instead(service: ServiceUnderTest, parcels: Any) -> None:
    service.start("parcels_of_tests.ship")
    service.assert_pushed(parcels.send, payload=[3, 4], count=1)
    service.assert_pushed("parcels_of_tests.send")
    with pytest.raises(AssertionError, match=r"expected 2 tasks .*body \[5\].*found 1 of 3"):
        service.assert_pushed(parcels.send, payload=[5], count=2)
    with pytest.raises(AssertionError, match="expected at least 1 task"):
        service.assert_pushed(parcels.announce)
    with pytest.raises(AssertionError, match="declares no operation"):
        service.assert_pushed(service.start)


def test_a_purged_task_is_pushed_again_by_the_sweeps(service: ServiceUnderTest, parcels: Any) -> None:
    run_id = service.start(parcels.ship)
    service.queue.purge("shipping")
    assert service.queue.drain() == 0
    service.clock.advance(120)
    service.start("headrace.service.sweeps.reconcile")
    service.start("headrace.service.sweeps.relay")
    assert service.queue.drain() == 3
    assert service.run(run_id)["state"] == "completed"
    assert sorted(parcels.sent) == [1, 2, 3, 4, 5]


def test_the_client_speaks_to_every_endpoint(service: ServiceUnderTest, parcels: Any) -> None:
    run_id = service.start(parcels.ship)
    answer = service.client.get(f"/api/v1/runs/{run_id}", headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    assert answer.json is not None
    assert answer.json["state"] == "running"
