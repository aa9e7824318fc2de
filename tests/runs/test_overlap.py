"""What a start does while another run of its scope is under way: skip, queue, replace, allow."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from headrace.clock import ManualClock
from headrace.contract.operations import JobOptions, Operation, Overlap
from headrace.database import Database, run_rows
from headrace.database.states import RunState
from headrace.errors import LostLease, PushRefused
from headrace.execution.batch import Batch
from headrace.runs.policy import RunPolicy
from headrace.runs.starting import RunAnswer
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory

Start = Callable[..., RunAnswer]


def job_of(instance: Instance, **options: Any) -> Operation:
    """The job with other options."""
    return replace(instance.job, job=JobOptions(**options))


def starting(instance: Instance, **options: Any) -> Start:
    """Starts the job with other options."""
    job = job_of(instance, **options)
    return lambda **parameters: instance.starter.start(job, parameters)


def at_once(calls: int, call: Callable[[int], None]) -> None:
    """Make so many calls at the same moment, each in a thread; wait for all."""
    barrier = threading.Barrier(calls)

    def run(index: int) -> None:
        barrier.wait()
        call(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def state_of(instance: Instance, run_id: str) -> str:
    return str(instance.show(run_id)["state"])


@pytest.fixture(autouse=True)
def three_numbers(application: Numbers) -> None:
    application.count = 3


def test_a_queued_run_waits_until_the_first_ends_and_then_runs(
    instance: Instance, queue: QueueInMemory, database: Database, clock: ManualClock
) -> None:
    start = starting(instance, overlap=Overlap.QUEUE)
    first, second = start(), start()
    clock.advance(0.001)
    third = start()
    assert (first.state, second.state, third.state) == ("running", "queued", "queued")
    assert len(queue.tasks) == 1
    drain(queue, instance)
    assert (state_of(instance, first.run_id), instance.asked_to_go_on) == ("completed", [second.run_id])
    assert instance.starter.resume(second.run_id)
    assert (state_of(instance, second.run_id), state_of(instance, third.run_id)) == ("running", "queued")
    drain(queue, instance)
    assert instance.sweeps.resume() == {"resumed": 1}, "a sweep finds what nobody was asked to go on with"
    drain(queue, instance)
    assert [state_of(instance, run.run_id) for run in (second, third)] == ["completed"] * 2
    assert len(written(database)) == 9


def test_beyond_the_bound_of_the_line_a_run_is_skipped_with_the_reason(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(max_queued=2))
    start = starting(instance, overlap=Overlap.QUEUE)
    assert [start().state for _ in range(4)] == ["running", "queued", "queued", "skipped"]
    assert start().reason == "2 runs of this job wait already (overlap: queue)."


def test_a_queued_run_that_is_cancelled_never_runs_and_lets_the_next_one_pass(
    instance: Instance, queue: QueueInMemory, database: Database
) -> None:
    start = starting(instance, overlap=Overlap.QUEUE)
    _, second, third = start(), start(), start()
    with database.write() as connection:
        assert instance.starter.cancel(connection, second.run_id, "not needed")
    drain(queue, instance)
    assert instance.asked_to_go_on == [third.run_id]
    assert state_of(instance, second.run_id) == "cancelled"


def test_a_run_that_queues_while_the_first_one_ends_is_never_left_behind(
    instance: Instance, queue: QueueInMemory, database: Database
) -> None:
    first = starting(instance, overlap=Overlap.QUEUE)()
    ending = threading.Thread(target=drain, args=(queue, instance))

    def waits_for_a_lock() -> bool:
        if database.is_sqlite:
            return True
        with database.read() as connection:
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            return bool(connection.execute(waiting).scalar_one())

    with database.write() as connection:
        second = instance.starter.start_later(connection, job_of(instance, overlap=Overlap.QUEUE), {})
        ending.start()
        while ending.is_alive() and not waits_for_a_lock():
            pass
    ending.join()
    assert (second.state, state_of(instance, first.run_id)) == ("queued", "completed")
    assert (state_of(instance, second.run_id), instance.asked_to_go_on) == ("splitting", [second.run_id])


def test_a_run_that_waits_for_nobody_is_started_by_the_sweep(
    instance: Instance, database: Database, queue: QueueInMemory
) -> None:
    start = starting(instance, overlap=Overlap.QUEUE)
    first, second = start(), start()
    with database.write() as connection:
        run_rows.end_run(connection, first.run_id, state=RunState.FAILED, now=0)
    assert state_of(instance, second.run_id) == "queued"
    instance.sweeps.resume()
    instance.sweeps.resume()
    assert state_of(instance, second.run_id) == "running"


def test_a_replaced_run_is_cancelled_and_its_late_writes_are_not_kept(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    start = starting(instance, overlap=Overlap.REPLACE)
    seconds: list[RunAnswer] = []

    def replace_it(batch: Batch) -> None:
        if not seconds:
            seconds.append(start())

    application.on_work = replace_it
    first = start()
    name, push = next(iter(queue.tasks.items()))
    with pytest.raises(LostLease):
        instance.deliver(push, [1, 2, 3])
    del queue.tasks[name]
    assert (state_of(instance, first.run_id), written(database)) == ("cancelled", [])
    assert seconds[0].run_id in instance.show(first.run_id)["reason"]
    assert seconds[0].state == "running"
    drain(queue, instance)
    assert (state_of(instance, seconds[0].run_id), written(database)) == ("completed", [1, 2, 3])


def test_a_run_that_is_replaced_while_it_is_split_stops_there(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    start = starting(instance, overlap=Overlap.REPLACE)
    later: list[RunAnswer] = []

    def replace_it(item: int) -> None:
        if not later:
            application.on_item = lambda item: None
            thread = threading.Thread(target=lambda: later.append(start()))
            thread.start()
            thread.join()

    application.on_item = replace_it
    with pytest.raises(LostLease):
        start()
    assert [run["state"] for run in instance.progress.list()].count("cancelled") == 1
    assert later[0].state == "running"


def test_of_many_replacements_at_the_same_moment_one_lives(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instances = [Instance(database, queue, clock, application) for _ in range(2)]

    def start(index: int) -> None:
        try:
            starting(instances[index % 2], overlap=Overlap.REPLACE)()
        except LostLease:
            return

    at_once(6, start)
    states = sorted(run["state"] for run in instances[0].progress.list())
    assert states == ["cancelled"] * 5 + ["running"]


def test_two_runs_at_once_where_two_are_allowed_and_a_third_is_skipped(
    instance: Instance, queue: QueueInMemory, database: Database
) -> None:
    start = starting(instance, overlap=Overlap.ALLOW, overlap_limit=2)
    assert (start().state, start().state) == ("running", "running")
    third = start()
    assert (third.state, third.reason) == ("skipped", "2 runs of this job have not ended (overlap-limit: 2).")
    drain(queue, instance)
    assert start().state == "running"


def test_many_starts_at_the_same_moment_fill_the_places_and_no_more(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instances = [Instance(database, queue, clock, application) for _ in range(2)]
    states: list[str] = []
    at_once(
        8,
        lambda index: states.append(starting(instances[index % 2], overlap=Overlap.ALLOW, overlap_limit=3)().state),
    )
    assert sorted(states) == ["running"] * 3 + ["skipped"] * 5


def test_two_sources_run_in_parallel_and_one_source_does_not(instance: Instance) -> None:
    start = starting(instance, overlap=Overlap.SKIP, overlap_key=("source",))
    first, other, again = start(source="corporate"), start(source="partners"), start(source="corporate")
    assert (first.state, other.state, again.state) == ("running", "running", "skipped")
    assert first.run_id in again.reason


def test_a_value_of_any_length_makes_a_scope(instance: Instance) -> None:
    start = starting(instance, overlap=Overlap.SKIP, overlap_key=("source",))
    states = [start(source=letter * 10_000).state for letter in "aba"]
    assert states == ["running", "running", "skipped"]


def test_a_start_in_a_transaction_begins_after_its_commit(
    instance: Instance, database: Database, application: Numbers, queue: QueueInMemory
) -> None:
    with database.write() as connection:
        run_id = instance.starter.start_within(connection, application.job, {}, key=None)
        assert instance.asked_to_go_on == []
    assert instance.asked_to_go_on == [run_id]
    assert (state_of(instance, run_id), queue.tasks) == ("splitting", {})
    assert instance.starter.resume(run_id)
    drain(queue, instance)
    assert (state_of(instance, run_id), written(database)) == ("completed", [1, 2, 3])


def test_a_start_in_a_transaction_that_is_rolled_back_never_was(
    instance: Instance, database: Database, application: Numbers
) -> None:
    class Refused(Exception):
        pass

    def start(*, then: Exception | None) -> None:
        with database.write() as connection:
            instance.starter.start_within(connection, application.job, {}, key="save 7")
            if then is not None:
                raise then

    with pytest.raises(Refused):
        start(then=Refused())
    assert (instance.asked_to_go_on, instance.progress.list()) == ([], [])
    start(then=None)
    assert len(instance.progress.list()) == 1


def test_a_second_start_of_a_key_answers_with_the_first_run_until_the_key_expires(
    instance: Instance, database: Database, application: Numbers, clock: ManualClock, queue: QueueInMemory
) -> None:
    def start() -> str:
        with database.write() as connection:
            return instance.starter.start_within(connection, application.job, {}, key="save 7")

    first = start()
    instance.sweeps.resume()
    drain(queue, instance)
    assert start() == first, "also when it has ended"
    clock.advance(instance.policy.key_ttl)
    assert start() != first


def test_a_start_of_what_is_no_job_is_refused(instance: Instance, database: Database, application: Numbers) -> None:
    with database.write() as connection, pytest.raises(PushRefused, match="is not a job"):
        instance.starter.start_within(connection, application.work, {}, key=None)
