"""Keys: what refuses a second push of the same, for how long, and who tells whom."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.errors import PermanentFailure
from headrace.execution.batch import Batch
from headrace.runs.pushing import Pushed
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


def push(instance: Instance, *items: int, key: str, while_active: bool = False, key_ttl: float | None = None) -> Pushed:
    with instance.database.write() as connection:
        return instance.pusher.push(
            connection, instance.application.work, list(items), key=key, while_active=while_active, key_ttl=key_ttl
        )


@pytest.mark.parametrize("while_active", [False, True])
def test_the_same_key_twice_is_one_task_and_the_second_answer_names_the_first(
    instance: Instance, queue: QueueInMemory, database: Database, while_active: bool
) -> None:
    first = push(instance, 1, key="grant 5", while_active=while_active)
    second = push(instance, 2, key="grant 5", while_active=while_active)
    assert (first.duplicate, second) == (False, Pushed(first.run_id, duplicate=True))
    assert not push(instance, 3, key="grant 6", while_active=while_active).duplicate
    drain(queue, instance)
    assert written(database) == [1, 3]


def test_keys_of_two_handlers_are_not_one(instance: Instance, application: Numbers, database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO headrace_keys (key, run_id, expires_at) VALUES ('push/other/grant 5', 'x', 9000000000000)"
        )
    assert not push(instance, 1, key="grant 5").duplicate


def test_a_key_while_active_is_free_when_its_run_has_ended(
    instance: Instance, queue: QueueInMemory, database: Database
) -> None:
    first = push(instance, 1, key="user 5", while_active=True)
    drain(queue, instance)
    second = push(instance, 2, key="user 5", while_active=True)
    assert not second.duplicate
    assert second.run_id != first.run_id
    drain(queue, instance)
    assert written(database) == [1, 2]


def test_a_key_while_active_is_free_when_its_run_has_failed(
    instance: Instance, queue: QueueInMemory, application: Numbers
) -> None:
    def fail(_batch: Batch) -> None:
        raise PermanentFailure("never")

    application.on_work = fail
    push(instance, 1, key="user 5", while_active=True)
    drain(queue, instance)
    assert not push(instance, 1, key="user 5", while_active=True).duplicate


def test_a_key_outlives_its_run_until_its_time_is_over(
    instance: Instance, queue: QueueInMemory, clock: ManualClock
) -> None:
    first = push(instance, 1, key="bill 7", key_ttl=100 * 86_400.0)
    drain(queue, instance)
    clock.advance(instance.policy.retention + 1)
    assert instance.sweeps.purge() == {"purged": 1, "keys": 0}
    assert instance.progress.show(first.run_id) is None
    assert push(instance, 1, key="bill 7") == Pushed(first.run_id, duplicate=True)
    clock.advance(100 * 86_400.0)
    assert not push(instance, 1, key="bill 7").duplicate, "also before a sweep has deleted it"


def test_a_key_refuses_doubles_for_forty_days(instance: Instance, queue: QueueInMemory, clock: ManualClock) -> None:
    push(instance, 1, key="bill 7")
    clock.advance(40 * 86_400.0 - 1)
    assert push(instance, 1, key="bill 7").duplicate
    clock.advance(1)
    assert instance.sweeps.purge()["keys"] == 1
    assert not push(instance, 1, key="bill 7").duplicate


def test_a_push_that_is_rolled_back_leaves_no_key(
    instance: Instance, application: Numbers, database: Database, queue: QueueInMemory
) -> None:
    def push_and_fail(while_active: bool) -> None:
        with database.write() as connection:
            instance.pusher.push(connection, application.work, [1], key="grant 5", while_active=while_active)
            raise ZeroDivisionError

    for while_active in (False, True):
        with pytest.raises(ZeroDivisionError):
            push_and_fail(while_active)
        assert not push(instance, 1, key="grant 5", while_active=while_active).duplicate
    assert len(queue.tasks) == 2


@pytest.mark.parametrize("while_active", [False, True])
def test_pushes_of_one_key_at_one_moment_are_one_run(
    instance: Instance, queue: QueueInMemory, while_active: bool
) -> None:
    meeting = threading.Barrier(4, timeout=30)

    def push_together(number: int) -> Pushed:
        meeting.wait()
        return push(instance, number, key="grant 5", while_active=while_active)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(push_together, range(4)))
    assert len({answer.run_id for answer in answers}) == 1
    assert sorted(answer.duplicate for answer in answers) == [False, True, True, True]
    assert len(queue.tasks) == len(instance.progress.list()) == 1
