"""A cancelled run: what waits is dropped, what runs is told, and who does not listen is fenced off after the grace."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.contract.operations import Overlap
from headrace.database import Database, run_rows
from headrace.database.states import RunState
from headrace.errors import Cancel, LostLease, NotFound, WrongState
from headrace.execution.batch import Batch
from headrace.runs.cancelling import cancel
from headrace.runs.job import Job
from tests.instance import Instance, Numbers, drain, handler, written
from tests.operators.deaths import audited
from tests.queue_in_memory import QueueInMemory

ADA = "ada"


def cancel_run(instance: Instance, run_id: str, reason: str = "wrong list") -> None:
    instance.operators.cancelling.cancel(run_id, reason=reason, actor=ADA)


def cancel_at_once(instance: Instance, run_id: str) -> bool:
    with instance.database.write() as connection:
        now = int(instance.clock.now() * 1000)
        return cancel(connection, run_id, reason="replaced", grace=0, now=now)


def deliver_first(queue: QueueInMemory, instance: Instance) -> None:
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, orjson.loads(push.body))
    del queue.tasks[name]


def test_after_a_cancel_no_handler_is_called(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 9
    run_id = instance.start().run_id
    deliver_first(queue, instance)
    cancel_run(instance, run_id)
    shown = instance.show(run_id)
    assert (shown["state"], shown["reason"], shown["progress"]) == ("cancelled", "wrong list", 1.0)
    assert (shown["tasks"]["done"], shown["tasks"]["cancelled"]) == (1, 2)
    drain(queue, instance)
    instance.sweeps.sweep()
    drain(queue, instance)
    assert application.calls == [[1, 2, 3]]
    assert written(database) == [1, 2, 3]


def test_it_is_audited_with_its_actor_and_a_second_one_is_refused(
    instance: Instance, application: Numbers, database: Database
) -> None:
    application.count = 3
    run_id = instance.start().run_id
    cancel_run(instance, run_id)
    with pytest.raises(WrongState, match="is cancelled: there is nothing to cancel"):
        cancel_run(instance, run_id)
    with pytest.raises(NotFound):
        cancel_run(instance, "f" * 32)
    (row,) = audited(database)
    assert (row.actor, row.action, row.object) == (ADA, "cancel_run", f"run/{run_id}")
    assert (row.old, row.new) == ("running", "wrong list")


def test_a_handler_that_listens_stops_and_its_batch_is_cancelled(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    def listen(batch: Batch) -> None:
        cancel_run(instance, batch.run_id)
        assert not batch.cancelled, "the database is asked once a second"
        clock.advance(1.1)
        assert batch.cancelled
        raise Cancel("told to stop")

    application.count, application.on_work = 3, listen
    run_id = instance.start().run_id
    deliver_first(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["cancelled"]) == ("cancelled", 1)
    assert [trouble["outcome"] for trouble in shown["troubles"]] == ["cancelled"]
    assert written(database) == []


def test_a_handler_that_completes_within_the_grace_is_done(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 6
    application.on_work = lambda batch: cancel_run(instance, batch.run_id)
    run_id = instance.start().run_id
    deliver_first(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"], shown["tasks"]["cancelled"]) == ("cancelled", 1, 1)
    assert written(database) == [1, 2, 3]


def test_a_handler_that_does_not_listen_is_fenced_off_after_the_grace(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    states: list[str] = []

    def go_on_regardless(batch: Batch) -> None:
        cancel_run(instance, batch.run_id)
        clock.advance(4.9)
        assert instance.sweeps.reap() == {"reaped": 0}
        states.append(instance.show(batch.run_id)["state"])
        clock.advance(0.2)
        assert instance.sweeps.reap() == {"reaped": 1}
        states.append(instance.show(batch.run_id)["state"])
        # Cancel is raised only once a second: what does not ask again meets the fence.
        with pytest.raises(LostLease):
            batch.checkpoint("late")

    application.count, application.on_work = 3, go_on_regardless
    instance.start()
    with suppress(LostLease, Cancel):
        deliver_first(queue, instance)
    assert states == ["cancelling", "cancelled"]
    assert written(database) == [], "what it wrote late is not kept"


def test_without_grace_what_runs_is_fenced_off_at_once(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    ended: list[str] = []

    def replaced(batch: Batch) -> None:
        assert cancel_at_once(instance, batch.run_id)
        ended.append(instance.show(batch.run_id)["state"])

    application.count, application.on_work = 3, replaced
    run_id = instance.start().run_id
    with pytest.raises(LostLease):
        deliver_first(queue, instance)
    assert ended == ["cancelled"]
    assert written(database) == []
    assert [trouble["outcome"] for trouble in instance.show(run_id)["troubles"]] == ["cancelled"]
    assert not cancel_at_once(instance, run_id)


def test_a_cancel_without_grace_cuts_the_grace_of_an_earlier_one(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    def cancelled_twice(batch: Batch) -> None:
        cancel_run(instance, batch.run_id)
        assert instance.show(batch.run_id)["state"] == "cancelling"
        with pytest.raises(WrongState, match="is cancelling"):
            cancel_run(instance, batch.run_id)
        assert cancel_at_once(instance, batch.run_id)

    application.count, application.on_work = 3, cancelled_twice
    run_id = instance.start().run_id
    with suppress(LostLease):
        deliver_first(queue, instance)
    assert instance.show(run_id)["state"] == "cancelled"


def test_an_attempt_that_fails_or_dies_meanwhile_is_not_tried_again(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    def fail(batch: Batch) -> None:
        cancel_run(instance, batch.run_id)
        raise ValueError("at the worst moment")

    application.count, application.on_work = 3, fail
    run_id = instance.start().run_id
    with suppress(ValueError):
        deliver_first(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["cancelled"]) == ("cancelled", 1)


def test_a_splitter_stops_at_its_next_chunk(instance: Instance, application: Numbers, queue: QueueInMemory) -> None:
    def cancel_in_the_middle(item: int) -> None:
        if item == 5:
            (run,) = instance.progress.list()
            cancel_run(instance, run["run_id"])

    application.count, application.on_item = 9, cancel_in_the_middle
    with pytest.raises(LostLease):
        instance.start()
    (run,) = instance.progress.list()
    assert run["state"] == "cancelled"
    assert instance.sweeps.resume() == {"resumed": 0}


@dataclass
class TwoSteps(Numbers):
    """Its second step waits for the first."""

    def job(self, job: Job, **parameters: Any) -> None:
        job.split(self.work, self.numbers)
        job.split(self.work_behind, self.numbers)

    def work_behind(self, batch: Batch) -> None:
        raise AssertionError("the step behind was begun")


def test_steps_that_have_not_begun_never_do(database: Database, queue: QueueInMemory, clock: ManualClock) -> None:
    application = TwoSteps(count=3)
    instance = Instance(database, queue, clock, application, others=[handler("behind", application.work_behind)])
    run_id = instance.start().run_id
    cancel_run(instance, run_id)
    drain(queue, instance)
    instance.sweeps.sweep()
    shown = instance.show(run_id)
    assert (shown["state"], [step["tasks"]["cancelled"] for step in shown["steps"]]) == ("cancelled", [1, 0])


def test_a_run_that_waits_for_another_is_cancelled_and_the_next_one_takes_its_turn(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, overlap=Overlap.QUEUE)
    application.count = 3
    holder, waiting, next_one = (instance.start().run_id for _ in range(3))
    cancel_run(instance, waiting)
    assert instance.show(waiting)["state"] == "cancelled"
    cancel_run(instance, holder)
    assert instance.asked_to_go_on == [next_one], "at once, not by the next sweep"
    with database.read() as connection:
        assert run_rows.state_of(connection, next_one) is RunState.SPLITTING


def test_a_cancel_and_the_end_of_the_last_batch_at_one_moment_leave_one_end(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 3
    both = threading.Barrier(2)

    def meet(batch: Batch) -> None:
        both.wait(10)

    application.on_work = meet
    for _ in range(5):
        run_id = instance.start().run_id
        worker = threading.Thread(target=drain, args=(queue, instance))
        worker.start()
        both.wait(10)
        with suppress(WrongState):
            cancel_run(instance, run_id)
        worker.join(30)
        shown = instance.show(run_id)
        assert shown["state"] in ("completed", "cancelled")
        assert shown["tasks"]["done"] == 1, "it ended within the grace"
