"""A split: items stream into batches, cut by count and bytes; it resumes from its cursor."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.errors import LostLease, PushRefused
from headrace.runs.policy import RunPolicy
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory


def bodies(queue: QueueInMemory) -> list[Any]:
    return [orjson.loads(push.body) for push in queue.tasks.values()]


def test_items_are_cut_in_order_into_batches_of_the_batch_size(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 4
    answer = instance.start()
    assert bodies(queue) == [[1, 2, 3], [4]]
    assert (answer.tasks, answer.items, answer.state) == (2, 4, "running")


def test_no_items_make_no_tasks_and_a_completed_run(instance: Instance, queue: QueueInMemory) -> None:
    answer = instance.start()
    assert (answer.state, answer.tasks, answer.items) == ("completed", 0, 0)
    assert not queue.tasks
    assert instance.show(answer.run_id)["progress"] == 1.0


def test_a_job_that_splits_nothing_is_a_completed_run(instance: Instance) -> None:
    idle = replace(instance.job, function=lambda job: None)
    assert instance.starter.start(idle, {}).state == "completed"


def test_batches_are_cut_where_the_driver_takes_no_more_bytes(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    queue.max_body = len(b"[1,2]")
    application.count = 5
    instance.start()
    assert bodies(queue) == [[1, 2], [3, 4], [5]]
    assert all(len(push.body) <= queue.max_body for push in queue.tasks.values())


def test_an_item_larger_than_any_payload_may_be_fails_the_run_and_pushes_nothing_of_it(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(max_payload=len(b"[999]")))
    application.items = lambda connection, after: iter([1_000_000])
    with pytest.raises(PushRefused, match="larger than the"):
        instance.start()
    assert not queue.tasks
    (run,) = instance.progress.list()
    assert run["state"] == "failed"
    assert "larger than the" in run["reason"]


def test_an_item_that_breaks_the_handlers_schema_is_refused_before_any_batch_is_written(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.items = lambda connection, after: iter([1, "two"])
    with pytest.raises(PushRefused, match="/1"):
        instance.start()
    assert not queue.tasks
    (run,) = instance.progress.list()
    assert (run["state"], run["tasks"]["total"]) == ("failed", 0)


def test_a_queue_that_does_not_exist_is_refused_before_any_batch_is_written(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 4
    queue.queues.clear()
    with pytest.raises(PushRefused, match=r"queue work .* does not exist"):
        instance.start()
    (run,) = instance.progress.list()
    assert (run["state"], run["tasks"]["total"]) == ("failed", 0)


def test_pushing_begins_while_the_splitter_still_reads(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(chunk_batches=2))
    pushed_at_item: dict[int, int] = {}
    application.on_item = lambda item: pushed_at_item.setdefault(item, len(queue.tasks)) and None
    application.count = 30
    instance.start()
    assert pushed_at_item[1] == 0
    assert pushed_at_item[20] >= 4


def test_a_killed_splitter_is_resumed_from_its_cursor_with_no_item_twice_and_none_left_out(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    class Killed(BaseException):
        pass

    def kill(item: int) -> None:
        if item == 17:
            raise Killed

    application.count = 31
    application.on_item = kill
    first = Instance(database, queue, clock, application, policy=RunPolicy(chunk_batches=2))
    with pytest.raises(Killed):
        first.start()
    assert bodies(queue) == [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10, 11, 12]]
    application.on_item = lambda item: None
    second = Instance(database, queue, clock, application)
    assert second.sweeps.resume() == {"resumed": 0}, "the first splitter's lease lives"
    clock.advance(61)
    assert second.sweeps.resume() == {"resumed": 1}
    (run,) = second.progress.list()
    assert (run["tasks"]["total"], run["items"], run["state"]) == (11, 31, "running")
    drain(queue, first, second)
    assert written(database) == list(range(1, 32))
    assert second.show(run["run_id"])["state"] == "completed"


def test_a_splitter_that_lost_its_lease_writes_nothing_more(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    policy = RunPolicy(chunk_batches=2)
    first = Instance(database, queue, clock, application, policy=policy)
    second = Instance(database, queue, clock, Numbers(count=31), policy=policy)

    def stall(item: int) -> None:
        if item == 17:
            application.on_item = lambda item: None
            clock.advance(61)
            second.sweeps.resume()

    application.count, application.on_item = 31, stall
    with pytest.raises(LostLease):
        first.start()
    drain(queue, second)
    assert written(database) == list(range(1, 32))


def test_a_split_too_long_for_one_request_goes_on_in_another(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(chunk_batches=1), job_time=10.0)
    application.count = 12
    application.on_item = lambda item: clock.advance(2)
    answer = instance.start()
    assert answer.state == "splitting"
    assert instance.asked_to_go_on == [answer.run_id]
    while instance.show(answer.run_id)["state"] == "splitting":
        assert instance.starter.resume(answer.run_id)
    assert instance.show(answer.run_id)["tasks"]["total"] == 4
    drain(queue, instance)
    assert written(database) == list(range(1, 13))


def test_a_database_that_fails_for_a_while_leaves_the_split_to_the_next_sweep(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    def fail(connection: Connection, after: int | None) -> Iterator[int]:
        raise OperationalError("SELECT", None, Exception("gone"))

    application.items = fail
    with pytest.raises(OperationalError):
        instance.start()
    (run,) = instance.progress.list()
    assert run["state"] == "splitting"
    application.items, application.count = None, 3
    assert instance.sweeps.resume() == {"resumed": 1}
    drain(queue, instance)
    assert instance.show(run["run_id"])["state"] == "completed"


def test_a_job_whose_code_fails_is_a_failed_run_with_the_reason(instance: Instance, application: Numbers) -> None:
    def broken(connection: Connection, after: int | None) -> Iterator[int]:
        raise KeyError("users")

    application.items = broken
    with pytest.raises(KeyError):
        instance.start()
    (run,) = instance.progress.list()
    assert (run["state"], run["reason"]) == ("failed", "KeyError: 'users'")


def test_batches_pushed_before_the_job_failed_are_done_and_then_the_run_has_failed(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(chunk_batches=1))

    def half(connection: Connection, after: int | None) -> Iterator[int]:
        yield from [1, 2, 3, 4]
        raise ValueError("half way")

    application.items = half
    with pytest.raises(ValueError, match="half way"):
        instance.start()
    (run,) = instance.progress.list()
    assert run["state"] == "running"
    drain(queue, instance)
    assert written(database) == [1, 2, 3]
    assert instance.show(run["run_id"])["state"] == "failed"


def test_items_that_are_no_cursors_themselves_have_a_key(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    seen: list[Any] = []

    def numbers(connection: Connection, after: Any) -> Iterator[int]:
        seen.append(after)
        yield from (item for item in range(10, 40, 10) if after is None or [item // 10] > after)

    application.items, application.key = numbers, lambda item: [item // 10]
    instance = Instance(
        database, queue, clock, application, batch_size=1, policy=RunPolicy(chunk_batches=1), job_time=-1.0
    )
    answer = instance.start()
    instance.starter.resume(answer.run_id)
    assert seen == [None, [1]]
    assert bodies(queue) == [[10], [20]]


def test_a_split_whose_job_left_the_contract_fails_with_that_reason(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, job_time=-1.0)
    application.count = 6
    run_id = instance.start().run_id
    del instance.contract.by_id[instance.job.operation_id]  # type: ignore[attr-defined]
    assert instance.sweeps.resume() == {"resumed": 0}
    drain(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["reason"]) == ("failed", "openapi.yaml no longer has the job api.numbers.count.")
