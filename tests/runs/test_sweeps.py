"""Sweeps find what was left undone and mend it: no run waits for ever."""

from contextlib import suppress

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.database import Database, batch_rows, lease_rows
from headrace.execution.batch import Batch
from headrace.runs.policy import RunPolicy
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


@pytest.fixture
def run_id(instance: Instance, application: Numbers) -> str:
    application.count = 7
    return instance.start().run_id


def take_without_a_word(instance: Instance, queue: QueueInMemory) -> None:
    """A handler takes the first task's batch and dies: its lease stays, nothing else."""
    with instance.database.write() as connection:
        (batch, *_) = batch_rows.batches_to_check(connection, now=2**60, limit=10)
        now = int(instance.clock.now() * 1000)
        assert lease_rows.lease_batch(connection, batch.id, generation=1, now=now, until=now + 25_000)


def test_a_task_that_vanished_from_its_queue_is_pushed_again_as_the_next_generation(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, database: Database, run_id: str
) -> None:
    queue.tasks.clear()
    assert instance.sweeps.reconcile()["asked"] == 0, "nothing is overdue yet"
    clock.advance(61)
    assert instance.sweeps.reconcile() == {"asked": 3, "renewed": 3, "dead": 0, "ended": 0, "limited": 0}
    assert [name.rpartition("-")[2] for name in queue.tasks] == ["2", "2", "2"]
    drain(queue, instance)
    assert written(database) == list(range(1, 8))
    assert instance.show(run_id)["state"] == "completed"


def test_tasks_that_still_wait_on_their_queue_are_left_alone_and_asked_after_later(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, run_id: str
) -> None:
    clock.advance(61)
    assert instance.sweeps.reconcile() == {"asked": 3, "renewed": 0, "dead": 0, "ended": 0, "limited": 0}
    assert instance.sweeps.reconcile()["asked"] == 0
    clock.advance(301)
    assert instance.sweeps.reconcile()["asked"] == 3


def test_a_delivery_of_an_older_generation_does_no_work(
    instance: Instance,
    queue: QueueInMemory,
    clock: ManualClock,
    application: Numbers,
    run_id: str,
    database: Database,
) -> None:
    old = list(queue.tasks.values())
    queue.tasks.clear()
    clock.advance(61)
    instance.sweeps.reconcile()
    for push in old:
        instance.deliver(push, [0])
    assert application.calls == []
    drain(queue, instance)
    assert written(database) == list(range(1, 8))


def test_a_task_that_vanished_between_two_tries_is_pushed_again(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, run_id: str
) -> None:
    def fail(batch: Batch) -> None:
        if 7 in batch.items and batch.attempt == 1:
            raise ValueError("once")

    application.on_work = fail
    for name, push in list(queue.tasks.items()):
        with suppress(ValueError):
            instance.deliver(push, orjson.loads(push.body))
        del queue.tasks[name]
    clock.advance(61)
    assert instance.sweeps.reconcile() == {"asked": 1, "renewed": 1, "dead": 0, "ended": 0, "limited": 0}
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"


def test_a_handler_that_died_on_the_queues_last_attempt_is_not_the_end_of_its_batch(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, database: Database, run_id: str
) -> None:
    take_without_a_word(instance, queue)
    queue.tasks.clear()
    assert instance.sweeps.reap() == {"reaped": 0}, "the lease lives"
    clock.advance(61)
    assert instance.sweeps.reap() == {"reaped": 1}, "and its batch is pushed again at once"
    assert len(queue.tasks) == 1
    assert instance.sweeps.reconcile()["renewed"] == 2
    drain(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"], shown["retries"]) == ("completed", 4, 1)
    assert [trouble["outcome"] for trouble in shown["troubles"]] == ["lost"]
    assert written(database) == list(range(1, 8))


def test_a_task_that_vanishes_again_and_again_is_dead_at_last(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(max_losses=3))
    application.count = 3
    run_id = instance.start().run_id
    for losses in range(3):
        assert instance.show(run_id)["state"] == "running"
        queue.tasks.clear()
        clock.advance(61 * 2**losses)
        instance.sweeps.reconcile()
    assert instance.show(run_id)["state"] == "failed"


def test_a_queue_that_cannot_be_asked_changes_nothing(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, run_id: str
) -> None:
    queue.tasks.clear()
    queue.down = True
    clock.advance(61)
    assert instance.sweeps.reconcile()["renewed"] == 0
    queue.down = False
    assert instance.sweeps.reconcile()["renewed"] == 3


def test_counters_that_went_wrong_are_rebuilt_from_rows_and_the_run_ends(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_steps SET done = -1")
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "running"
    assert instance.sweeps.reconcile()["ended"] == 1
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"]) == ("completed", 3)


def test_counters_that_run_ahead_do_not_end_a_run_early(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_steps SET done = 2")
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, [1, 2, 3])
    del queue.tasks[name]
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"]) == ("running", 1)
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"


def test_two_sweepers_at_once_mend_each_batch_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    first, second = (Instance(database, queue, clock, application) for _ in range(2))
    application.count = 6
    run_id = first.start().run_id
    queue.tasks.clear()
    clock.advance(61)
    ask = queue.missing

    def both_ask(name: str, names: list[str]) -> set[str]:
        queue.missing = ask  # type: ignore[method-assign]
        second.sweeps.reconcile()
        return set(names)

    queue.missing = both_ask  # type: ignore[method-assign, assignment]
    first.sweeps.reconcile()
    assert [name.rpartition("-")[2] for name in queue.tasks] == ["2", "2"]
    drain(queue, first)
    assert first.show(run_id)["state"] == "completed"


def test_runs_are_purged_with_all_that_is_theirs_when_their_time_is_over(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, database: Database, run_id: str
) -> None:
    drain(queue, instance)
    live = instance.start().run_id
    assert instance.sweeps.purge()["purged"] == 0
    clock.advance(instance.policy.retention + 1)
    assert instance.sweeps.purge()["purged"] == 1
    assert [run["run_id"] for run in instance.progress.list()] == [live]
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT DISTINCT run_id FROM headrace_batches").scalars()
        assert list(rows) == [live]
