"""The relay and single pushes: written in the caller's transaction, pushed after it, whatever fails between."""

from threading import Thread

import orjson
import pytest
from sqlalchemy import select, text

from headrace.database import Database, batch_rows
from headrace.database.tables import batches
from headrace.errors import PushRefused
from tests.e2e.site import wait_until
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


def test_a_push_is_written_in_the_callers_transaction_and_pushed_after_its_commit(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    with database.write() as connection:
        run_id = instance.pusher.push(connection, application.work, [7, 8]).run_id
        assert not queue.tasks, "nothing is pushed before the commit"
    (push,) = queue.tasks.values()
    assert (push.queue, push.url, orjson.loads(push.body)) == ("work", "http://service/v1/cloudTask/work", [7, 8])
    drain(queue, instance)
    assert written(database) == [7, 8]
    shown = instance.show(run_id)
    assert (shown["state"], shown["items"], shown["tasks"]["done"]) == ("completed", 2, 1)


def test_a_rolled_back_caller_leaves_no_task(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    def push_and_fail() -> None:
        with database.write() as connection:
            instance.pusher.push(connection, application.work, [7])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        push_and_fail()
    assert not queue.tasks
    assert instance.progress.list() == []
    assert instance.sweeps.relay() == {"pushed": 0}


def test_a_payload_of_the_wrong_shape_is_refused_before_anything_is_written(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    with database.write() as connection, pytest.raises(PushRefused, match="/0"):
        instance.pusher.push(connection, application.work, ["a"])
    assert instance.progress.list() == []
    assert not queue.tasks


def test_a_push_to_a_queue_that_does_not_exist_is_refused_before_anything_is_written(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    queue.queues.clear()
    with database.write() as connection, pytest.raises(PushRefused, match="does not exist"):
        instance.pusher.push(connection, application.work, [1])
    assert instance.progress.list() == []


def test_a_function_that_is_no_handler_is_refused_by_name(
    instance: Instance, application: Numbers, database: Database
) -> None:
    with database.write() as connection, pytest.raises(PushRefused, match=r"numbers is not a handler"):
        instance.pusher.push(connection, application.numbers, [1])


def test_the_same_key_pushed_twice_is_one_task(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    runs = set()
    for _ in range(2):
        with database.write() as connection:
            runs.add(instance.pusher.push(connection, application.work, [1], key="grant 5").run_id)
    assert len(runs) == 1
    assert len(queue.tasks) == 1


def test_what_a_queue_could_not_take_is_pushed_by_the_sweep_later(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    queue.down = True
    application.count = 7
    answer = instance.start()
    shown = instance.show(answer.run_id)["tasks"]
    assert (shown["pending"], shown["pushed"], shown["total"]) == (3, 0, 3)
    assert instance.sweeps.relay() == {"pushed": 0}
    queue.down = False
    assert instance.sweeps.relay() == {"pushed": 3}
    assert instance.show(answer.run_id)["tasks"]["pushed"] == 3
    drain(queue, instance)
    assert written(database) == list(range(1, 8))


def test_a_push_whose_outcome_was_never_written_down_is_taken_by_the_queue_once(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 3
    answer = instance.start()
    (push,) = queue.tasks.values()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_batches SET state = 'pending'")
    assert instance.sweeps.relay() == {"pushed": 1}
    assert queue.duplicates == 1
    assert list(queue.tasks.values()) == [push]
    drain(queue, instance)
    assert instance.show(answer.run_id)["state"] == "completed"


def test_a_delivery_that_overtakes_the_relays_own_note_is_executed_once(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 3
    answer = instance.start()
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_batches SET state = 'pending'")
        (batch,) = batch_rows.pending_batches(connection, limit=10)
    drain(queue, instance)
    with database.write() as connection:
        batch_rows.mark_pushed(connection, [(batch.id, batch.generation, 0)])
    assert instance.show(answer.run_id)["state"] == "completed"
    assert application.calls == [[1, 2, 3]]


def test_a_task_that_the_queue_refuses_for_good_is_dead_and_its_run_fails_with_the_reason(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    queue.refuse.add("work")
    application.count = 3
    shown = instance.show(instance.start().run_id)
    assert (shown["state"], shown["tasks"]["dead"]) == ("failed", 1)


def test_names_are_spread_and_the_same_for_the_same_push(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 60
    instance.start()
    assert len({name[:2] for name in queue.tasks}) > 8, "names do not share a prefix"
    assert all(name.endswith("-1") for name in queue.tasks)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_page_of_what_is_due_is_written_down_in_the_order_in_which_a_purge_locks(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    queue.down = True
    with database.write() as connection:
        for hours in (3, 2, 1):
            instance.pusher.push(connection, application.work, [1], at=instance.clock.now() + 3_600 * hours)
    queue.down = False
    ids = select(batches.c.id).order_by(batches.c.id)
    relay = Thread(target=instance.sweeps.relay)
    waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

    def waits() -> bool:
        with database.read() as connection:
            return connection.execute(waiting).scalar_one() == 1

    with database.write() as connection:
        connection.execute(ids.limit(1).with_for_update()).one()
        relay.start()
        wait_until("The relay at the first batch", waits)
        free = connection.execute(ids.with_for_update(skip_locked=True)).scalars().all()
    relay.join()
    assert len(free) == 3, "it holds no later one while it waits for an earlier one"
