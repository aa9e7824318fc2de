"""A cap on the attempts that the service executes at once: never more, older batches first, and no try is spent."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import orjson
import pytest
from sqlalchemy import text

from headrace.clock import ManualClock
from headrace.database import Database, migration
from headrace.database.states import BatchState
from headrace.drivers.base import Push
from headrace.execution.attempts import BatchExecutor
from headrace.execution.batch import Batch
from headrace.execution.turns import LONGEST, PUT_OFF, Turns, delay
from headrace.operators.batch_details import details_of
from headrace.operators.waiting import why_waiting
from tests.instance import Instance, Numbers, drain
from tests.operators.deaths import batch_of
from tests.queue_in_memory import QueueInMemory


def capped(instance: Instance, cap: int) -> Instance:
    """The instance, which executes so many at once."""
    instance.executor = BatchExecutor(
        instance.database,
        instance.contract,
        instance.clock,
        instance.policy,
        instance.relay,
        instance.asked_to_go_on.append,
        instance.executor.retries,
        lambda: cap,
    )
    return instance


def deliver(instance: Instance, queue: QueueInMemory, push: Push) -> None:
    instance.deliver(push, orjson.loads(push.body))
    with queue.lock:
        del queue.tasks[push.name]


def batch_id_of(push: Push) -> int:
    return int(push.name.split("-")[-2])


def test_with_a_cap_of_two_there_are_never_three(database: Database, queue: QueueInMemory, clock: ManualClock) -> None:
    """Two instances on one database, and ten threads that deliver whatever is on the queue."""
    application = Numbers(count=30)
    lock, at_work, most = threading.Lock(), [0], [0]
    both = threading.Barrier(2)

    def work(batch: Batch) -> None:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        try:
            both.wait(0.02)
        except threading.BrokenBarrierError:
            both.reset()
        with lock:
            at_work[0] -= 1

    application.on_work = work
    instances = [capped(Instance(database, queue, clock, application), 2) for _ in range(2)]
    run_id = instances[0].start().run_id

    def take() -> Push | None:
        with queue.lock:
            name = next((each for each in queue.tasks if each not in taken), None)
            if name is not None:
                taken.add(name)
            return None if name is None else queue.tasks[name]

    def serve(number: int) -> None:
        while (push := take()) is not None:
            deliver(instances[number % 2], queue, push)
            clock.advance(PUT_OFF)

    taken: set[str] = set()
    while queue.tasks:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(serve, range(10)))
        clock.advance(LONGEST)
    assert most[0] == 2
    shown = instances[0].show(run_id)
    assert (shown["state"], shown["tasks"]["done"], shown["attempts"], shown["retries"]) == ("completed", 10, 10, 0)


def test_what_finds_no_place_comes_again_a_tenth_of_a_second_later_and_spends_no_try(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    application.count = 6
    capped(instance, 1)
    first, second = [], []

    def meet(batch: Batch) -> None:
        if not second:
            second.append(True)
            first.append(clock.now())
            other = next(push for push in queue.tasks.values() if batch_id_of(push) == 2)
            deliver(instance, queue, other)

    application.on_work = meet
    instance.start()
    deliver(instance, queue, next(iter(queue.tasks.values())))
    put_off = batch_of(database, 2)
    assert (put_off.state, put_off.generation, put_off.attempt, put_off.failures) == (BatchState.PUSHED, 2, 0, 0)
    assert put_off.due_at == int((first[0] + PUT_OFF) * 1000)
    with database.read() as connection:
        assert why_waiting(connection, put_off) == (
            "All places of the concurrency cap (task_inline_max_concurrent) were taken when it came. "
            "It comes again at 2027-01-15T08:00:00.100Z."
        )
        shown = details_of(connection, put_off)
    assert shown["cause"] == "", "it is not dead"
    (push,) = queue.tasks.values()
    assert push.schedule_at == pytest.approx(first[0] + PUT_OFF)
    clock.advance(PUT_OFF)
    drain(queue, instance)
    assert application.calls == [[1, 2, 3], [4, 5, 6]]
    assert batch_of(database, 2).cause == ""


def test_a_free_place_is_the_older_ones(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    application.count = 9
    capped(instance, 1)
    pushed: list[Push] = []

    def meet(batch: Batch) -> None:
        if batch.items == [1, 2, 3]:
            # The second meets the first at work; the third comes when that is over, and before the second is back.
            deliver(instance, queue, pushed[1])

    application.on_work = meet
    instance.start()
    pushed += queue.tasks.values()
    deliver(instance, queue, pushed[0])
    deliver(instance, queue, pushed[2])
    assert application.calls == [[1, 2, 3]]
    clock.advance(PUT_OFF)
    drain(queue, instance)
    assert application.calls == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_no_place_is_kept_for_a_batch_that_another_process_has_executed(
    database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    application = Numbers(count=9)
    one, other = (capped(Instance(database, queue, clock, application), 1) for _ in range(2))
    pushed: list[Push] = []

    def meet(batch: Batch) -> None:
        if batch.items == [1, 2, 3]:
            deliver(one, queue, pushed[1])

    application.on_work = meet
    one.start()
    pushed += queue.tasks.values()
    deliver(one, queue, pushed[0])
    clock.advance(PUT_OFF)
    deliver(other, queue, next(push for push in queue.tasks.values() if batch_id_of(push) == 2))
    deliver(one, queue, pushed[2])
    assert application.calls == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_done_batch_is_answered_at_the_cap_and_a_held_place_ends_with_its_lease(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    application.count = 6
    instance.start()
    first, second = queue.tasks.values()
    deliver(instance, queue, first)
    capped(instance, 1)
    with database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE headrace_batches SET state = 'running', fence = 1, attempt = 1, started_at = 0, "
            f"lease_until = {int((clock.now() + 5) * 1000)} WHERE id = 1"
        )
    deliver(instance, queue, second)
    assert batch_of(database, 2).generation == 2
    clock.advance(6)
    drain(queue, instance)
    assert batch_of(database, 2).state is BatchState.DONE


@pytest.mark.parametrize("state", ["pushed", "running"])
def test_a_row_that_another_transaction_holds_keeps_no_other_batch_from_starting(
    postgresql_url: str, queue: QueueInMemory, clock: ManualClock, state: str
) -> None:
    """A purge's page holds it, or the handler of an attempt whose lease is over."""
    database = Database(postgresql_url)
    migration.upgrade(database)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE written (number INTEGER, run TEXT)"))
    instance = capped(Instance(database, queue, clock, Numbers(count=6)), 1)
    instance.start()
    first, second = queue.tasks.values()
    with database.write() as connection:
        over = f"state = '{state}', fence = 1, attempt = 1, started_at = 0, lease_until = 1"
        connection.execute(text(f"UPDATE headrace_batches SET {over} WHERE id = 1"))
    with ThreadPoolExecutor(2) as pool:
        with database.engine.begin() as holder:
            holder.execute(text("UPDATE headrace_batches SET fence = fence WHERE id = 1"))
            held_up = pool.submit(deliver, instance, queue, first)
            until_one_waits_for_a_row(database)
            try:
                pool.submit(deliver, instance, queue, second).result(10)
            finally:
                holder.rollback()
        held_up.result(10)
    assert (batch_of(database, 1).state, batch_of(database, 2).state) == (BatchState.DONE, BatchState.DONE)
    database.close()


def until_one_waits_for_a_row(database: Database) -> None:
    waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')")
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with database.read() as connection:
            if connection.execute(waiting).scalar_one():
                return
    raise AssertionError("nobody waits")


def test_without_a_cap_nothing_is_counted(instance: Instance, application: Numbers, queue: QueueInMemory) -> None:
    application.count = 6
    instance.start()
    drain(queue, instance)
    assert instance.executor._turns._back == {}


def test_who_has_more_before_them_is_put_off_longer_up_to_ten_seconds() -> None:
    assert [delay(ahead, 2) for ahead in (0, 1, 2, 5)] == pytest.approx([0.1, 0.1, 0.2, 0.3])
    assert delay(100_000, 1) == LONGEST


def test_a_place_is_not_kept_for_one_that_does_not_come_back() -> None:
    turns = Turns()
    turns.put_off(1, 1, 100.0)
    assert (turns.ahead_of(2, 100.0), turns.ahead_of(1, 100.0), turns.ahead_of(2, 102.0)) == ([1], [], [])
