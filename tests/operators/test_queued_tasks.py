"""What a queue tells of a batch's task, and a batch that waits is run by hand: also on a paused queue."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from headrace.database import Database
from headrace.database.tables import batches
from headrace.errors import NotFound, Unreachable, WrongState
from headrace.execution.batch import Batch
from tests.e2e.site import wait_until
from tests.instance import Numbers, handler, written
from tests.operators.queue_rig import ADA, QueueRig, queue_rig

HOUR = 3_600.0


def noted(batch: Batch) -> None:
    """The other handler does nothing."""


@pytest.fixture
def rig(tmp_path: Path, database: Database, application: Numbers) -> Iterator[QueueRig]:
    other = handler("tell", noted, payload="Actions", queue="other", ordered_by="user")
    with queue_rig(tmp_path, database, application, others=[other]) as rig:
        yield rig


def push(rig: QueueRig, number: int = 1, *, at: float | None = None) -> int:
    """A task by itself; its batch."""
    with rig.database.write() as connection:
        rig.instance.pusher.push(connection, rig.instance.handler.function, [number], at=at)
    return newest(rig)


def newest(rig: QueueRig) -> int:
    with rig.database.read() as connection:
        return int(connection.execute(select(batches.c.id).order_by(batches.c.id.desc()).limit(1)).scalar_one())


def wait_for_work(rig: QueueRig, *numbers: int) -> None:
    wait_until("The work", lambda: written(rig.database) == list(numbers))


def test_a_task_on_a_paused_queue_tells_why_it_waits_and_is_run_by_hand(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    batch_id = push(rig)
    told = rig.tasks.show(batch_id)
    assert (told["on_queue"], told["deliveries"]) == ("queue paused", [])
    assert told["request"]["method"] == "POST"
    assert told["request"]["headers"]["Content-Type"] == "application/json"
    rig.tasks.run(batch_id, actor=ADA)
    wait_for_work(rig, 1)
    assert rig.audited()[-1] == (ADA, "run_now", f"batch/{batch_id}")


def test_a_task_that_waits_for_a_time_is_run_before_it(rig: QueueRig) -> None:
    on_its_queue = push(rig, 1, at=rig.clock.now() + HOUR)
    not_pushed_yet = push(rig, 2, at=rig.clock.now() + 40 * 86_400)
    assert rig.tasks.show(on_its_queue)["on_queue"].startswith("scheduled for")
    rig.tasks.run(on_its_queue, actor=ADA)
    wait_for_work(rig, 1)
    rig.tasks.run(not_pushed_yet, actor=ADA)
    wait_for_work(rig, 1, 2)
    rig.advance(2 * HOUR)
    assert written(rig.database) == [1, 2], "each is done once"


def test_a_task_that_waits_for_its_retry_is_run_at_once(rig: QueueRig, application: Numbers) -> None:
    failures = [ValueError("no")]

    def work(batch: Batch) -> None:
        if failures:
            raise failures.pop()

    application.on_work = work
    rig.queues.limit("work", {"min_backoff": HOUR}, actor=ADA)
    batch_id = push(rig)
    rig.advance(0)
    told = rig.tasks.show(batch_id)
    assert told["on_queue"].startswith("retry backoff until")
    assert [(each["number"], each["status"], each["head"]) for each in told["deliveries"]] == [(1, 500, "no")]
    rig.tasks.run(batch_id, actor=ADA)
    wait_for_work(rig, 1)
    rig.inline.settle()
    told = rig.tasks.show(batch_id)
    assert (told["on_queue"], [each["status"] for each in told["deliveries"]]) == ("", [204, 500])
    assert told["request"]["url"] == "http://service/v1/cloudTask/work", "as the last delivery was"


def test_what_does_not_wait_is_not_run(rig: QueueRig, application: Numbers) -> None:
    refused: list[str] = []

    def work(batch: Batch) -> None:
        with pytest.raises(WrongState) as error:
            rig.tasks.run(1, actor=ADA)
        refused.append(str(error.value))

    application.on_work = work
    batch_id = push(rig)
    rig.advance(0)
    assert (batch_id, refused) == (1, ["Batch 1 cannot be run now. It is running."])
    with pytest.raises(WrongState, match="It is done"):
        rig.tasks.run(batch_id, actor=ADA)
    with pytest.raises(NotFound):
        rig.tasks.run(99, actor=ADA)
    assert rig.audited() == []


def test_what_is_behind_another_of_its_key_is_not_run(rig: QueueRig) -> None:
    rig.queues.pause("other", actor=ADA)
    with rig.database.write() as connection:
        for _ in range(2):
            rig.instance.pusher.push(connection, noted, [{"user": 7}])
    with pytest.raises(WrongState, match="behind task 1"):
        rig.tasks.run(2, actor=ADA)


def test_a_task_that_its_queue_has_lost_is_not_run(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    batch_id = push(rig)
    rig.inline.control.purge("work", actor="somebody")
    with pytest.raises(WrongState, match="not on its queue any more"):
        rig.tasks.run(batch_id, actor=ADA)


def test_a_queue_that_cannot_be_asked_says_so(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    batch_id = push(rig)
    rig.inline.close()
    told = rig.tasks.show(batch_id)
    assert (told["request"], told["deliveries"]) == (None, None)
    assert "could not be asked" in told["on_queue"]
    with pytest.raises(Unreachable):
        rig.tasks.run(batch_id, actor=ADA)


def test_a_task_whose_handler_left_the_contract_is_shown_without_its_queue(rig: QueueRig) -> None:
    batch_id = push(rig)
    tasks = replace(rig.tasks, contract=replace(rig.instance.contract, operations=(rig.instance.job,)))
    assert tasks.show(batch_id) == {
        "on_queue": "openapi.yaml no longer has its handler.",
        "request": None,
        "deliveries": None,
    }
