"""Metrics: what they count is what the database has."""

from collections.abc import Callable

import orjson
import pytest
from sqlalchemy import Connection, func, select

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.database.facts import Fired, note
from headrace.database.states import BatchState, RunState
from headrace.database.tables import attempts, batches, runs, steps
from headrace.errors import PermanentFailure
from headrace.execution.batch import Batch
from headrace.runs.cancelling import cancel
from tests.instance import HANDLER, JOB, Instance, Numbers, drain
from tests.observability.conftest import Samples
from tests.queue_in_memory import QueueInMemory

OWN = (HANDLER, "work")
Scrape = Callable[[], Samples]


def trouble(batch: Batch) -> None:
    """The second batch fails once, the third for good."""
    if batch.number == 2 and batch.attempt == 1:
        raise RuntimeError("not yet")
    if batch.number == 3:
        raise PermanentFailure("never")


def deliver_all(instance: Instance, queue: QueueInMemory) -> None:
    """Deliver until nothing is left; what fails is delivered again, as a queue does."""
    while queue.tasks:
        for name, push in list(queue.tasks.items()):
            try:
                instance.deliver(push, orjson.loads(push.body))
            except RuntimeError:
                continue
            del queue.tasks[name]


def test_after_a_run_the_counts_are_those_of_the_database(
    database: Database, instance: Instance, queue: QueueInMemory, application: Numbers, scrape: Scrape
) -> None:
    application.count, application.on_work = 11, trouble
    run_id = instance.start("schedule@1").run_id
    deliver_all(instance, queue)

    seen = scrape()

    assert instance.show(run_id)["state"] == "failed"
    with database.read() as connection:
        step = connection.execute(select(steps)).one()
        failed = connection.execute(select(func.count()).where(attempts.c.outcome == "failed")).scalar_one()
        done = connection.execute(select(func.count()).where(batches.c.state == BatchState.DONE)).scalar_one()
    assert (step.attempts, step.done, step.dead, failed, done) == (5, 3, 1, 1, 3)
    assert seen["headrace_attempts_total", (HANDLER, "done", "work")] == done
    assert seen["headrace_attempts_total", (HANDLER, "failed", "work")] == failed
    assert seen["headrace_attempts_total", (HANDLER, "permanent", "work")] == 1
    assert seen["headrace_retries_total", OWN] == step.attempts - step.batches
    assert seen["headrace_batches_ended_total", (*OWN, "done")] == step.done
    assert seen["headrace_batches_ended_total", (*OWN, "dead")] == step.dead
    assert seen["headrace_items_total", (HANDLER, "done", "work")] == step.items_done == 8
    assert seen["headrace_items_total", (HANDLER, "failed", "work")] == step.items_failed == 3
    assert seen["headrace_pushes_total", (HANDLER, "pushed", "work")] == step.batches
    assert seen["headrace_runs_ended_total", (JOB, "failed")] == 1
    assert seen["headrace_firings_total", (JOB,)] == 1
    assert seen["headrace_attempt_seconds_count", OWN] == step.attempts
    assert seen["headrace_batches", (*OWN, "dead")] == 1
    assert seen["headrace_workers", ()] == 1


def test_a_firing_that_comes_again_and_a_run_that_is_skipped_are_counted_once(
    instance: Instance, application: Numbers, scrape: Scrape
) -> None:
    application.count = 3
    for key in ("schedule@1", "schedule@1", "schedule@2"):
        instance.start(key)

    seen = scrape()

    assert seen["headrace_firings_total", (JOB,)] == 2
    assert seen["headrace_runs_ended_total", (JOB, "skipped")] == 1


def test_batches_of_a_cancelled_run_are_counted(
    database: Database, instance: Instance, clock: ManualClock, application: Numbers, scrape: Scrape
) -> None:
    application.count = 9
    run_id = instance.start().run_id
    with database.write() as connection:
        assert cancel(connection, run_id, reason="enough", grace=0, now=int(clock.now() * 1000))

    seen = scrape()

    assert seen["headrace_batches_ended_total", (*OWN, "cancelled")] == 3
    assert seen["headrace_runs_ended_total", (JOB, "cancelled")] == 1


def test_a_push_that_the_queue_refuses_is_counted_with_the_batch_that_it_ends(
    instance: Instance, queue: QueueInMemory, application: Numbers, scrape: Scrape
) -> None:
    application.count = 3
    queue.refuse.add("work")
    instance.start()

    seen = scrape()

    assert seen["headrace_pushes_total", (HANDLER, "refused", "work")] == 1
    assert seen["headrace_batches_ended_total", (*OWN, "dead")] == 1


def test_what_is_rolled_back_is_not_counted(database: Database, scrape: Scrape) -> None:
    def fire_and_fail(connection: Connection) -> None:
        note(connection, Fired(JOB))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        database.write_together(fire_and_fail)
    with pytest.raises(RuntimeError), database.write() as connection:
        fire_and_fail(connection)

    assert ("headrace_firings_total", (JOB,)) not in scrape()


def test_changes_that_share_a_commit_are_counted_one_by_one(database: Database, scrape: Scrape) -> None:
    for _ in range(2):
        database.write_together(lambda connection: note(connection, Fired(JOB)))

    assert scrape()["headrace_firings_total", (JOB,)] == 2


def test_the_backlog_is_told_by_state_with_its_age(
    instance: Instance, queue: QueueInMemory, clock: ManualClock, application: Numbers, scrape: Scrape
) -> None:
    application.count = 6
    instance.start()
    queue.down = True
    with instance.database.write() as connection:
        instance.pusher.push(connection, application.work, [7])
        instance.pusher.push(connection, application.work, [8], at=clock.now() + 3_600)
    clock.advance(30)

    seen = scrape()

    assert seen["headrace_batches", (*OWN, "pushed")] == 2
    assert seen["headrace_batches", (*OWN, "pending")] == 2
    assert seen["headrace_batches_delayed", OWN] == 1
    assert seen["headrace_oldest_waiting_seconds", OWN] == 30
    assert seen["headrace_runs", ("running",)] == 3


def test_a_handler_without_work_has_its_rows_at_zero(scrape: Scrape) -> None:
    seen = scrape()

    assert seen["headrace_batches", (*OWN, "pending")] == 0
    assert seen["headrace_oldest_waiting_seconds", OWN] == 0


def test_a_run_of_which_all_went_well_leaves_no_backlog(
    database: Database, instance: Instance, queue: QueueInMemory, application: Numbers, scrape: Scrape
) -> None:
    application.count = 6
    instance.start()
    drain(queue, instance)

    seen = scrape()

    assert all(value == 0 for (name, _), value in seen.items() if name == "headrace_batches")
    assert seen["headrace_runs_ended_total", (JOB, "completed")] == 1
    with database.read() as connection:
        assert connection.execute(select(runs.c.state)).scalar_one() == RunState.COMPLETED
