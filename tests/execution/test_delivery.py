"""One attempt at a time, none of what is done, and no late writer."""

import threading
from typing import Any

import pytest
from sqlalchemy import text

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.drivers.base import Push
from headrace.errors import Conflict, Gone, LostLease
from headrace.execution.batch import Batch
from headrace.runs.names import name_task
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


def only_push(queue: QueueInMemory) -> Push:
    (push,) = queue.tasks.values()
    return push


@pytest.fixture
def run_id(instance: Instance, application: Numbers) -> str:
    application.count = 3
    return instance.start().run_id


def test_a_finished_task_answers_a_second_delivery_without_work(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    push = only_push(queue)
    for _ in range(3):
        instance.deliver(push, [1, 2, 3])
    assert application.calls == [[1, 2, 3]]
    assert written(database) == [1, 2, 3]
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"], shown["retries"]) == ("completed", 1, 0)


def test_a_handler_that_raises_has_its_error_kept_and_the_batch_waits_for_the_queues_retry(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str, database: Database
) -> None:
    def fail(batch: Batch) -> None:
        if batch.attempt == 1:
            raise ValueError("no such user")

    application.on_work = fail
    push = only_push(queue)
    with pytest.raises(ValueError, match="no such user"):
        instance.deliver(push, [1, 2, 3])
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["pushed"], shown["attempts"]) == ("running", 1, 1)
    assert [(trouble["attempt"], trouble["error"]) for trouble in shown["troubles"]] == [
        (1, "ValueError: no such user")
    ]
    instance.deliver(push, [1, 2, 3], retry_count=1)
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"], shown["retries"]) == ("completed", 2, 1)
    assert [(batch.attempt, batch.delivery.retry_count) for batch in application.batches] == [(1, 0), (2, 1)]
    assert written(database) == [1, 2, 3]


def test_a_delivery_that_meets_a_live_lease_is_told_to_come_back(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str
) -> None:
    push = only_push(queue)
    met: list[Conflict] = []

    def deliver_again(batch: Batch) -> None:
        with pytest.raises(Conflict) as caught:
            instance.deliver(push, [1, 2, 3])
        met.append(caught.value)

    application.on_work = deliver_again
    instance.deliver(push, [1, 2, 3])
    assert met[0].status == 409
    assert met[0].retry_after == pytest.approx(25.0), "time limit and margin"
    assert len(application.calls) == 1


def test_a_late_writer_is_fenced_off_and_nothing_it_wrote_is_kept(
    instance: Instance,
    application: Numbers,
    queue: QueueInMemory,
    run_id: str,
    clock: ManualClock,
    database: Database,
) -> None:
    push = only_push(queue)

    def stall(batch: Batch) -> None:
        if batch.attempt == 1:
            clock.advance(26)
            instance.deliver(push, [1, 2, 3])

    application.on_work = stall
    with pytest.raises(LostLease):
        instance.deliver(push, [1, 2, 3])
    assert written(database) == [1, 2, 3], "written once, by the second attempt"
    shown = instance.show(run_id)
    assert (shown["state"], shown["attempts"]) == ("completed", 2)
    assert [trouble["outcome"] for trouble in shown["troubles"]] == ["lost"]


def test_an_attempt_that_ends_after_its_lease_was_reaped_does_not_end_the_batch(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str, clock: ManualClock
) -> None:
    handler = application.work

    def work_then_stall(batch: Batch) -> None:
        handler(batch)
        clock.advance(26)
        instance.sweeps.reap()

    object.__setattr__(instance.handler, "function", work_then_stall)
    with pytest.raises(LostLease):
        instance.deliver(only_push(queue), [1, 2, 3])
    assert instance.show(run_id)["state"] == "running"


@pytest.mark.parametrize("attempt", range(5))
def test_the_last_two_batches_ending_at_the_same_moment_end_the_run_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers, attempt: int
) -> None:
    instances = [Instance(database, queue, clock, application) for _ in range(2)]
    application.count = 6
    run_id = instances[0].start().run_id
    pushes = list(queue.tasks.values())
    barrier = threading.Barrier(2)
    delivered: list[int] = []

    def deliver(index: int) -> None:
        barrier.wait()
        instances[index].deliver(pushes[index], [index])
        delivered.append(index)

    threads = [threading.Thread(target=deliver, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(delivered) == [0, 1]
    shown = instances[0].show(run_id)
    assert (shown["state"], shown["tasks"]["done"]) == ("completed", 2)


def test_of_many_deliveries_of_one_task_at_the_same_moment_one_works(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instances = [Instance(database, queue, clock, application) for _ in range(2)]
    application.count = 3
    instances[0].start()
    push = only_push(queue)
    everyone_tried = threading.Barrier(6)
    outcomes: list[str] = []

    def hold(batch: Batch) -> None:
        everyone_tried.wait(timeout=30)

    application.on_work = hold

    def deliver(index: int) -> None:
        try:
            instances[index % 2].deliver(push, [1, 2, 3])
            outcomes.append("done")
        except Conflict:
            outcomes.append("conflict")
            everyone_tried.wait(timeout=30)

    threads = [threading.Thread(target=deliver, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * 5 + ["done"]
    assert written(database) == [1, 2, 3]


def test_a_task_that_somebody_else_made_is_adopted_and_executed_once(
    instance: Instance, application: Numbers, database: Database
) -> None:
    push = Push("work", "my-own-name", "http://service/v1/cloudTask/work", b"[4,5]", 30.0)
    instance.deliver(push, [4, 5])
    instance.deliver(push, [4, 5])
    assert application.calls == [[4, 5]]
    (run,) = instance.progress.list()
    assert (run["state"], run["items"]) == ("completed", 2)
    assert written(database) == [4, 5]


def test_a_task_of_a_purged_run_is_gone(instance: Instance, application: Numbers) -> None:
    push = Push("work", name_task("f" * 32, 77, 1), "http://service/v1/cloudTask/work", b"[1]", 30.0)
    with pytest.raises(Gone, match="Batch 77"):
        instance.deliver(push, [1])
    assert application.calls == []


def test_a_task_name_of_another_database_does_not_take_this_ones_batch(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str
) -> None:
    batch_id = only_push(queue).name.split("-")[1]
    stranger = Push("work", name_task("0" * 32, int(batch_id), 1), "http://service/v1/cloudTask/work", b"[9]", 30.0)
    with pytest.raises(Gone):
        instance.deliver(stranger, [9])
    assert application.calls == []
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"


def test_a_stopping_process_gives_its_leases_back_without_spending_an_attempt(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str, database: Database
) -> None:
    push = only_push(queue)

    def stop(batch: Batch) -> None:
        if not written(database) and len(application.calls) == 1:
            assert instance.executor.give_back() == 1

    application.on_work = stop
    with pytest.raises(LostLease):
        instance.deliver(push, [1, 2, 3])
    instance.deliver(push, [1, 2, 3])
    assert [batch.attempt for batch in application.batches] == [1, 1]
    assert written(database) == [1, 2, 3]
    assert instance.show(run_id)["attempts"] == 1


def test_a_handlers_context_tells_its_limits_and_delivery(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, run_id: str
) -> None:
    seen: list[Any] = []

    def look(batch: Batch) -> None:
        clock.advance(4)
        seen.append((batch.run_id, batch.number, batch.remaining(), batch.delivery.queue, batch.payload))
        with batch.read() as connection:
            assert connection.execute(text("SELECT 1")).scalar_one() == 1

    application.on_work = look
    instance.deliver(only_push(queue), [1, 2, 3])
    assert seen == [(run_id, 1, 6.0, "work", [1, 2, 3])]


def test_work_and_completion_in_one_transaction_cannot_part(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str, database: Database
) -> None:
    """The handler fails once inside, so neither is kept; and once behind the commit, so both are."""
    failures = [True, False]

    def work(batch: Batch) -> None:
        with batch.transaction(completes=True) as connection:
            connection.execute(text("INSERT INTO written (number, run) VALUES (1, '')"))
            if failures.pop(0):
                raise ValueError("inside")
        raise ValueError("behind")

    object.__setattr__(instance.handler, "function", work)
    push = only_push(queue)
    with pytest.raises(ValueError, match="inside"):
        instance.deliver(push, [1, 2, 3])
    assert (written(database), instance.show(run_id)["state"]) == ([], "running")
    with pytest.raises(ValueError, match="behind"):
        instance.deliver(push, [1, 2, 3])
    assert (written(database), instance.show(run_id)["state"]) == ([1], "completed")
    instance.deliver(push, [1, 2, 3])
    shown = instance.show(run_id)
    assert (written(database), shown["attempts"], shown["items_done"]) == ([1], 2, 3)


def test_a_completing_transaction_of_a_lost_lease_keeps_nothing(
    instance: Instance, application: Numbers, queue: QueueInMemory, run_id: str, clock: ManualClock, database: Database
) -> None:
    def work(batch: Batch) -> None:
        if batch.attempt == 1:
            clock.advance(26)
            instance.deliver(only_push(queue), [1, 2, 3])
        with batch.transaction(completes=True) as connection:
            connection.execute(text("INSERT INTO written (number, run) VALUES (1, '')"))

    object.__setattr__(instance.handler, "function", work)
    with pytest.raises(LostLease):
        instance.deliver(only_push(queue), [1, 2, 3])
    assert written(database) == [1]
    assert instance.show(run_id)["state"] == "completed"
