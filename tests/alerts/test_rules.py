"""What is worth an alert: each rule on a real database, and at its edges."""

import pytest
from sqlalchemy import insert, update

from headrace.alerts import make_alerting
from headrace.alerts.rules import FullQueue, Share, Thresholds, Troubles, find
from headrace.clock import ManualClock
from headrace.config.alerts import Rule
from headrace.contract.operations import Missed, QueueOptions, WhenFull
from headrace.database import Database
from headrace.database.tables import attempts, batches
from headrace.errors import PermanentFailure
from headrace.execution.batch import Batch
from headrace.operators.decisions import Decision
from tests.instance import HANDLER, JOB, UNLIMITED, Instance, Numbers, drain, handler
from tests.operators.deaths import dead_ids, deliver_all
from tests.queue_in_memory import QueueInMemory
from tests.runs.test_schedules import URL, make_site

FAR = 4_000_000_000.0


def fail(batch: Batch) -> None:
    raise ValueError("not today")


def found(instance: Instance) -> dict[tuple[Rule, str], str]:
    """What holds now, and its detail."""
    reader = make_alerting(instance.database, instance.contract, instance.clock).reader
    return {(each.rule, each.object): each.detail for each in find(reader.read(Thresholds()), Thresholds())}


@pytest.mark.parametrize("good", [0, 5, 6])
def test_a_handler_fails_when_half_of_its_recent_attempts_do(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, good: int
) -> None:
    application.count = 3 * good
    instance.start()
    drain(queue, instance)
    application.on_work, application.count = fail, 15
    instance.start()
    deliver_all(queue, instance)
    expected = (
        {} if good == 6 else {(Rule.FAILING, HANDLER): f"5 of {5 + good} attempts failed in the last 15 minutes."}
    )
    assert found(instance) == expected
    clock.advance(901)
    assert (Rule.FAILING, HANDLER) not in found(instance)


def test_what_another_handler_does_well_does_not_hide_one_that_fails(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, others=[handler("bad", fail, batch_size=1)])
    with database.write() as connection:
        for _ in range(5):
            instance.pusher.push(connection, application.work, [1])
            instance.pusher.push(connection, application.work, [1])
            instance.pusher.push(connection, fail, [1])
    deliver_all(queue, instance)
    assert found(instance) == {(Rule.FAILING, "handlers.bad"): "5 of 5 attempts failed in the last 15 minutes."}


def test_of_more_failures_than_are_read_the_share_is_of_the_time_that_was_read(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    application.count = 60
    instance.start()
    drain(queue, instance)
    clock.advance(60)
    now = int(clock.now() * 1000)
    failed = {"batch_id": 1, "run_id": "r", "number": 1, "outcome": "failed", "started_at": now}
    with instance.database.write() as connection:
        connection.execute(insert(attempts), [failed | {"ended_at": now - at} for at in range(1_200)])
    assert found(instance) == {(Rule.FAILING, HANDLER): "1000 of 1000 attempts failed in the last 15 minutes."}


def test_four_failures_are_too_few_to_tell(instance: Instance, application: Numbers, queue: QueueInMemory) -> None:
    application.on_work, application.count = fail, 12
    instance.start()
    deliver_all(queue, instance)
    assert found(instance) == {}


def test_an_attempt_past_the_end_of_its_lease_is_stuck_also_when_it_has_been_ended(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    class Killed(BaseException):
        pass

    def stop(batch: Batch) -> None:
        raise Killed

    application.on_work, application.count = stop, 1
    instance.start()
    with pytest.raises(Killed):
        drain(queue, instance)
    limit_and_margin = 10 + instance.policy.lease_margin
    clock.advance(limit_and_margin)
    assert found(instance) == {}
    clock.advance(0.001)
    words = "1 attempt passed the time limit or said nothing to the end of the lease in the last 15 minutes."
    assert found(instance) == {(Rule.STUCK, HANDLER): words}
    instance.sweeps.reap()
    assert found(instance) == {(Rule.STUCK, HANDLER): words}
    clock.advance(901)
    assert (Rule.STUCK, HANDLER) not in found(instance)


def test_work_waits_when_none_of_its_handler_begins_or_ends_for_ten_minutes(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    with instance.database.write() as connection:
        for _ in range(3):
            instance.pusher.push(connection, application.work, [1])
    clock.advance(600)
    assert found(instance) == {}
    clock.advance(1)
    assert found(instance) == {(Rule.WAITING, HANDLER): "Work waits, and none has ended for 10 minutes."}
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, [1])
    del queue.tasks[name]
    assert found(instance) == {}, "another one has ended"
    clock.advance(601)
    assert list(found(instance)) == [(Rule.WAITING, HANDLER)]
    application.on_work = lambda batch: seen.append(found(instance))
    seen: list[dict[tuple[Rule, str], str]] = []
    drain(queue, instance)
    assert seen[0] == {}, "one is executed"


def test_what_is_due_later_does_not_wait(instance: Instance, application: Numbers, clock: ManualClock) -> None:
    with instance.database.write() as connection:
        instance.pusher.push(connection, application.work, [1], at=clock.now() + 86_400)
    clock.advance(3_600)
    assert found(instance) == {}


def test_a_job_whose_last_run_failed_is_told_until_one_completes(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock
) -> None:
    def refuse(batch: Batch) -> None:
        raise PermanentFailure("no such number")

    application.on_work, application.count = refuse, 1
    run_id = instance.start().run_id
    deliver_all(queue, instance)
    assert found(instance)[Rule.RUN_FAILED, JOB] == f"Its last run, {run_id}, failed."
    clock.advance(86_400)
    assert list(found(instance)) == [(Rule.RUN_FAILED, JOB)]
    application.on_work = lambda batch: None
    instance.start()
    drain(queue, instance)
    assert found(instance) == {}


def test_a_run_that_was_retried_and_completed_is_no_failure_any_more(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    def refuse(batch: Batch) -> None:
        raise PermanentFailure("no such number")

    application.on_work, application.count = refuse, 1
    instance.start()
    deliver_all(queue, instance)
    application.on_work = lambda batch: None
    instance.operators.dead_letters.retry(*dead_ids(instance), actor="ada")
    assert found(instance) == {}, "it goes on"
    drain(queue, instance)
    assert found(instance) == {}


def test_a_batch_that_waits_for_a_person_is_told_until_somebody_decides(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, idempotent=False)
    with database.write() as connection:
        instance.pusher.push(connection, application.work, [1])
        connection.execute(update(batches).values(state="undecided"))
    (waiting,) = instance.operators.decisions.list(limit=10)
    assert found(instance) == {(Rule.UNDECIDED, HANDLER): "1 batch waits for a person's decision."}
    instance.operators.decisions.decide(waiting["batch_id"], Decision.SKIP, actor="ada")
    assert found(instance) == {}


def test_a_schedule_that_never_fired_is_told_until_it_does(instance: Instance, clock: ManualClock) -> None:
    site = make_site(instance, missed=Missed.SKIP)
    instance.contract = site.scheduling.contract
    site.sweep()
    clock.advance(3_600 + 301)
    site.sweep()
    assert found(instance) == {(Rule.LATE, URL): "No run came at its time, 5 minutes ago, or since."}
    clock.advance(3_600 - 301)
    site.tick(clock.now())
    assert found(instance) == {}


@pytest.mark.parametrize("when_full", WhenFull)
def test_a_queue_at_its_cap_is_told_when_it_refuses_or_keeps_back_for_long(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers, when_full: WhenFull
) -> None:
    capped = QueueOptions("work", UNLIMITED, max_pending=2, when_full=when_full)
    instance = Instance(database, queue, clock, application, queues=[capped], batch_size=1)
    application.count = 3
    instance.start()
    refuses = "2 tasks are outstanding: its cap. It refuses more."
    assert found(instance) == ({} if when_full is WhenFull.PARK else {(Rule.QUEUE_FULL, "work"): refuses})
    clock.advance(601)
    assert (Rule.QUEUE_FULL, "work") in found(instance)
    deliver_all(queue, instance)
    assert found(instance) == {}


def test_thresholds_are_bounds_that_count() -> None:
    troubles = Troubles(
        now=1_000_000,
        shares={"at": Share(3, 4), "below": Share(2, 3), "few": Share(2, 2)},
        waiting_since={"at": 990_000, "above": 989_999},
        full_queues=[
            FullQueue("at", 5, False, 10.0),
            FullQueue("above", 5, False, 10.1),
            FullQueue("idle", 5, False, None),
        ],
    )
    holding = find(troubles, Thresholds(failures=3, failure_share=0.75, waiting=10.0))
    assert [(each.rule, each.object) for each in holding] == [
        (Rule.FAILING, "at"),
        (Rule.WAITING, "above"),
        (Rule.QUEUE_FULL, "above"),
    ]
