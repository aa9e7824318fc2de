"""Tasks that are pushed for a later time: executed then and not before, cancelled, put off, or brought forward."""

import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.drivers.base import Push
from tests.instance import Instance, Numbers, written
from tests.queue_in_memory import QueueInMemory

DAY = 86_400.0


@pytest.fixture
def due(clock: ManualClock) -> float:
    """A day from now."""
    return clock.now() + DAY


@pytest.fixture
def run_id(instance: Instance, database: Database, application: Numbers, due: float) -> str:
    """The run of a task that is pushed for a day from now."""
    with database.write() as connection:
        return instance.pusher.push(connection, application.work, [7], at=due).run_id


def only(queue: QueueInMemory) -> Push:
    (push,) = queue.tasks.values()
    return push


def deliver_what_is_due(queue: QueueInMemory, instance: Instance) -> None:
    """Deliver each task whose time has come, as a queue does."""
    for name, push in list(queue.tasks.items()):
        if push.schedule_at is None or push.schedule_at <= instance.clock.now():
            instance.deliver(push, [7])
            del queue.tasks[name]


def test_a_task_for_tomorrow_is_executed_a_day_later_and_not_a_second_before(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, database: Database, run_id: str, due: float
) -> None:
    assert only(queue).schedule_at == due
    clock.advance(DAY - 1)
    deliver_what_is_due(queue, instance)
    assert written(database) == []
    clock.advance(1)
    deliver_what_is_due(queue, instance)
    assert (written(database), instance.show(run_id)["state"]) == ([7], "completed")


def test_a_task_that_is_cancelled_before_its_time_does_nothing_then(
    instance: Instance,
    queue: QueueInMemory,
    clock: ManualClock,
    database: Database,
    application: Numbers,
    run_id: str,
) -> None:
    with database.write() as connection:
        assert instance.starter.cancel(connection, run_id, "revoked early")
    shown = instance.show(run_id)
    assert (shown["state"], shown["reason"]) == ("cancelled", "revoked early")
    clock.advance(DAY)
    deliver_what_is_due(queue, instance)
    assert (application.calls, written(database), queue.tasks) == ([], [], {})


def test_a_second_cancel_and_one_of_what_has_ended_say_so(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, database: Database, run_id: str
) -> None:
    clock.advance(DAY)
    deliver_what_is_due(queue, instance)
    with database.write() as connection:
        assert not instance.starter.cancel(connection, run_id, "")
        assert not instance.starter.cancel(connection, "no such run", "")


@pytest.mark.parametrize("hours", [1, 48])
def test_a_task_is_executed_at_its_new_time_and_its_first_task_does_nothing(
    instance: Instance,
    queue: QueueInMemory,
    clock: ManualClock,
    database: Database,
    application: Numbers,
    run_id: str,
    hours: int,
) -> None:
    first = only(queue)
    at = clock.now() + hours * 3_600
    with database.write() as connection:
        assert instance.pusher.reschedule(connection, run_id, at)
    second = next(push for push in queue.tasks.values() if push.name != first.name)
    assert second.schedule_at == at
    clock.advance(min(hours * 3_600, DAY) - 1)
    deliver_what_is_due(queue, instance)
    clock.advance(1)
    deliver_what_is_due(queue, instance)
    assert application.calls == ([[7]] if hours == 1 else [])
    clock.advance(hours * 3_600)
    deliver_what_is_due(queue, instance)
    assert (application.calls, written(database), instance.show(run_id)["state"]) == ([[7]], [7], "completed")


def test_a_new_time_that_is_rolled_back_leaves_the_first(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str, due: float
) -> None:
    class Refused(Exception):
        pass

    def reschedule() -> None:
        with database.write() as connection:
            instance.pusher.reschedule(connection, run_id, due + DAY)
            raise Refused

    with pytest.raises(Refused):
        reschedule()
    assert only(queue).schedule_at == due


def test_what_has_begun_or_is_no_single_task_keeps_its_time(
    instance: Instance,
    queue: QueueInMemory,
    clock: ManualClock,
    database: Database,
    application: Numbers,
    run_id: str,
) -> None:
    application.count = 3
    job_run = instance.start().run_id
    clock.advance(DAY)
    deliver_what_is_due(queue, instance)
    with database.write() as connection:
        for each in (run_id, job_run, "no such run"):
            assert not instance.pusher.reschedule(connection, each, clock.now() + DAY)
    assert len(queue.seen) == 2
