"""Queues are seen with their backlog, paused, purged and limited: audited, and the service keeps to it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from headrace.database import Database, batch_rows, override_rows
from headrace.database.facts import BatchesEnded, Fact
from headrace.database.tables import batches
from headrace.drivers.queues import QueueControl, QueueControls
from headrace.errors import BadRequest, NotFound, Unreachable
from headrace.execution.batch import Batch
from headrace.execution.items import Item
from headrace.operators.queue_purging import Purged
from headrace.operators.queues import PURGE_TIME, Queues
from headrace.runs.queue_limits import write_queue_override
from tests.e2e.site import wait_until
from tests.instance import Instance, Numbers
from tests.operators.queue_rig import ADA, QueueRig, queue_rig


@pytest.fixture
def rig(tmp_path: Path, database: Database, application: Numbers) -> Iterator[QueueRig]:
    with queue_rig(tmp_path, database, application) as rig:
        yield rig


def start(rig: QueueRig, count: int) -> str:
    """A run of `count` items, three a batch."""
    rig.instance.application.count = count
    return rig.instance.start().run_id


def test_queues_are_listed_with_state_limits_and_backlog(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    start(rig, 7)
    rig.clock.advance(5)
    assert [row["queue"] for row in rig.queues.list()] == ["work", "other"]
    row = rig.row()
    assert (row["state"], row["waiting"], row["running"], row["oldest_age"]) == ("paused", 3, 0, 5.0)
    assert (row["limits"]["rate_per_second"], row["limits"]["max_attempts"]) == (500, 3)
    assert (row["declared"], row["set_by"], row["overridden"], row["max_pending"]) == (None, None, [], None)
    other = rig.row("other")
    assert (other["state"], other["waiting"], other["oldest_age"]) == ("running", 0, None)


def test_what_was_done_is_told_as_a_rate(rig: QueueRig, database: Database) -> None:
    start(rig, 7)
    rig.advance(0)
    row = rig.queues.show("work")
    assert row["waiting"] == 0
    assert len(row["chart"]["times"]) == 60
    assert row["tasks"] == []
    assert [each["status"] for each in row["deliveries"]] == [204, 204, 204]
    assert all(each["batch_id"] for each in row["deliveries"])


def test_a_queue_that_cannot_be_asked_is_unknown_and_its_backlog_is_told(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    start(rig, 7)
    rig.inline.close()
    row = rig.row()
    assert (row["state"], row["limits"], row["waiting"]) == ("unknown", None, 3)
    shown = rig.queues.show("work")
    assert (shown["state"], shown["tasks"], shown["deliveries"]) == ("unknown", None, None)
    audited = rig.audited()
    for steer in (rig.queues.pause, rig.queues.resume, rig.queues.purge):
        with pytest.raises(Unreachable, match="gives no answer"):
            steer("work", actor=ADA)
    with pytest.raises(Unreachable, match="gives no answer"):
        rig.queues.limit("work", {"rate_per_second": 2}, actor=ADA)
    assert rig.audited() == audited
    assert rig.row()["waiting"] == 3


def test_a_queue_of_no_file_is_not_found(rig: QueueRig) -> None:
    with pytest.raises(NotFound, match="no queue none"):
        rig.queues.show("none")
    with pytest.raises(NotFound, match="no queue none"):
        rig.queues.purge("none", actor=ADA)


def test_a_paused_queue_pushes_nothing_until_it_is_resumed(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    run_id = start(rig, 7)
    rig.advance(60)
    assert rig.instance.show(run_id)["tasks"]["pushed"] == 3
    rig.queues.resume("work", actor="grace")
    rig.advance(0)
    assert rig.instance.show(run_id)["state"] == "completed"
    assert rig.audited() == [(ADA, "pause_queue", "queue/work"), ("grace", "resume_queue", "queue/work")]


def test_a_purge_ends_what_waits_and_the_run_and_nothing_is_pushed_again(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    run_id = start(rig, 3 * 1_100)
    assert rig.queues.purge("work", actor=ADA) == Purged(1_100, more=False)
    shown = rig.instance.show(run_id)
    assert (shown["state"], shown["tasks"]["cancelled"], shown["tasks"]["done"]) == ("completed", 1_100, 0)
    status = rig.inline.control.show("work")
    assert status is not None
    assert status.waiting == 0
    rig.queues.resume("work", actor=ADA)
    rig.clock.advance(3_600)
    rig.instance.sweeps.sweep()
    rig.advance(60)
    assert rig.instance.application.calls == []
    assert rig.row()["waiting"] == 0
    assert (ADA, "purge_queue", "queue/work") in rig.audited()


def test_a_purge_leaves_what_an_attempt_holds(rig: QueueRig, application: Numbers) -> None:
    purged: list[int] = []

    def work(batch: Batch) -> None:
        if not purged:
            purged.append(rig.queues.purge("work", actor=ADA).batches)

    application.on_work = work
    rig.queues.pause("work", actor=ADA)
    run_id = start(rig, 9)
    (first, *_), _ = rig.inline.control.tasks("work", limit=10)
    rig.inline.control.run("work", first.name, actor=ADA)
    wait_until("The end of the run", lambda: rig.instance.show(run_id)["state"] == "completed")
    shown = rig.instance.show(run_id)
    assert purged == [2]
    assert (shown["tasks"]["done"], shown["tasks"]["cancelled"]) == (1, 2)


def test_a_purge_ends_what_was_not_pushed_yet_and_leaves_what_comes_later(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    with rig.database.write() as connection:
        late = rig.instance.pusher.push(
            connection, rig.instance.handler.function, [1], at=rig.clock.now() + 40 * 86_400
        )
    assert rig.queues.purge("work", actor=ADA) == Purged(1, more=False)
    assert rig.instance.show(late.run_id)["state"] == "completed"
    run_id = start(rig, 3)
    rig.queues.resume("work", actor=ADA)
    rig.advance(0)
    assert rig.instance.show(run_id)["tasks"]["done"] == 1


class Meanwhile:
    """A queue's control; something happens just before one of its methods is called for the first time."""

    def __init__(self, rig: QueueRig, method: str, happens: Callable[[], object]) -> None:
        self._control, self._method, self._happens = rig.inline.control, method, [happens]

    def __getattr__(self, name: str) -> Any:
        if name == self._method and self._happens:
            self._happens.pop()()
        return getattr(self._control, name)

    def queues(self, rig: QueueRig) -> Queues:
        """The queues, steered by this."""
        return replace(rig.queues, controls=QueueControls({"inline": cast(QueueControl, self)}, "inline", {}))


def push_singly(rig: QueueRig, count: int, *, at: float | None = None) -> list[int]:
    """Tasks by themselves, each a run of its own; their batches."""
    with rig.database.write() as connection:
        for number in range(count):
            rig.instance.pusher.push(connection, rig.instance.handler.function, [number], at=at)
    with rig.database.read() as connection:
        return list(connection.execute(select(batches.c.id).order_by(batches.c.id)).scalars())


def test_a_purge_that_needs_more_than_its_time_leaves_the_queue_and_goes_on_when_asked_again(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    push_singly(rig, 120)
    rig.database.observer = lambda facts: rig.clock.advance(PURGE_TIME)
    assert [rig.queues.purge("work", actor=ADA) for _ in range(2)] == [Purged(50, more=True)] * 2
    status = rig.inline.control.show("work")
    assert status is not None
    assert (status.waiting, rig.row()["waiting"]) == (120, 20)
    rig.database.observer = None
    assert rig.queues.purge("work", actor=ADA) == Purged(20, more=False)
    assert rig.inline.control.tasks("work", limit=1)[0] == []


def test_what_is_pushed_while_a_purge_runs_is_pushed_again_by_the_next_sweep_and_is_no_loss(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    start(rig, 3)
    late: list[int] = []
    queues = Meanwhile(rig, "purge", lambda: late.extend(push_singly(rig, 1)[-1:])).queues(rig)
    assert queues.purge("work", actor=ADA) == Purged(1, more=False)
    assert rig.instance.sweeps.reconcile()["renewed"] == 1
    with rig.database.read() as connection:
        batch = batch_rows.find_batch(connection, late[0])
    assert batch is not None
    assert (batch.state, batch.losses) == ("pushed", 0)
    rig.queues.resume("work", actor=ADA)
    rig.advance(0)
    assert rig.instance.show(batch.run_id)["state"] == "completed"


def test_a_batch_that_begins_to_wait_for_a_time_while_a_purge_runs_is_ended_too(rig: QueueRig) -> None:
    rig.queues.pause("work", actor=ADA)
    far = int(rig.clock.now() + 40 * 86_400)
    (on_its_queue,) = push_singly(rig, 1)
    push_singly(rig, 51, at=far)
    with rig.database.read() as connection:
        batch = batch_rows.find_batch(connection, on_its_queue)
    assert batch is not None

    def postpone(facts: object) -> None:
        rig.database.observer = None
        with rig.database.write() as connection:
            batch_rows.postpone_batch(connection, batch.run_id, due_at=far * 1000)

    rig.database.observer = postpone
    assert rig.queues.purge("work", actor=ADA) == Purged(52, more=False)
    assert rig.row()["waiting"] == 0


def test_a_purge_counts_the_items_that_a_batch_had_done(rig: QueueRig, application: Numbers) -> None:
    def work(batch: Batch) -> None:
        def fail(item: Item) -> None:
            if item.value == 2:
                raise ValueError("no")

        batch.for_each(fail)

    application.on_work = work
    run_id = start(rig, 3)
    rig.advance(0)
    rig.queues.pause("work", actor=ADA)
    told: list[Fact] = []
    rig.database.observer = told.extend
    assert rig.queues.purge("work", actor=ADA) == Purged(1, more=False)
    assert [each.items_done for each in told if isinstance(each, BatchesEnded)] == [2]
    shown = rig.instance.show(run_id)
    assert (shown["tasks"]["cancelled"], shown["items_done"]) == (1, 2)


def test_limits_are_in_force_at_once_and_shown_beside_the_files(rig: QueueRig) -> None:
    before = rig.row()["limits"]
    rig.queues.limit("work", {"rate_per_second": 2, "max_attempts": 5}, actor=ADA)
    row = rig.row()
    assert row["limits"] == {**before, "rate_per_second": 2, "max_attempts": 5}
    assert (row["declared"], row["set_by"], row["overridden"]) == (before, ADA, ["max_attempts", "rate_per_second"])
    rig.queues.limit("work", {"rate_per_second": None, "bucket_size": 3}, actor="grace")
    row = rig.row()
    assert row["limits"] == {**before, "max_attempts": 5, "bucket_size": 3}
    assert row["set_by"] == "grace"
    rig.queues.limit("work", None, actor=ADA)
    row = rig.row()
    assert (row["limits"], row["declared"], row["set_by"], row["overridden"]) == (before, None, None, [])
    assert rig.audited() == [
        (ADA, "set_override", "queue.work"),
        ("grace", "set_override", "queue.work"),
        (ADA, "clear_override", "queue.work"),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate_per_second": 501}, "rate_per_second takes 0 to 500"),
        ({"bucket_size": 0}, "bucket_size takes a whole number from 1 to 500"),
        ({"bucket_size": 2.5}, "bucket_size takes a whole number"),
        ({"max_concurrent_requests": 5_001}, "max_concurrent_requests takes a whole number from 1 to 5,000"),
        ({"max_attempts": 0}, "or -1 for no limit"),
        ({"max_duration": -1}, "max_duration takes seconds"),
        ({"min_backoff": 7_200}, "min_backoff must not be longer than max_backoff"),
        ({"speed": 3}, "speed is no limit"),
        ({"rate_per_second": float("nan")}, "rate_per_second takes"),
    ],
)
def test_limits_out_of_bounds_change_nothing(rig: QueueRig, changes: dict[str, float], message: str) -> None:
    before = rig.row()
    with pytest.raises(BadRequest, match=message):
        rig.queues.limit("work", changes, actor=ADA)
    assert rig.row()["limits"] == before["limits"]
    assert rig.audited() == []


def test_the_sweep_keeps_limits_in_force(rig: QueueRig) -> None:
    rig.queues.limit("work", {"rate_per_second": 2}, actor=ADA)
    assert rig.instance.sweeps.reconcile()["limited"] == 0
    rig.inline.control.limit("work", None, actor="deployment")
    assert rig.row()["limits"]["rate_per_second"] == 500
    assert rig.instance.sweeps.reconcile()["limited"] == 1
    assert rig.row()["limits"]["rate_per_second"] == 2
    assert rig.instance.sweeps.reconcile()["limited"] == 0


def test_a_limit_of_a_changed_file_reaches_a_queue_that_has_an_override(rig: QueueRig) -> None:
    rig.queues.limit("work", {"rate_per_second": 2}, actor=ADA)
    declared = replace(rig.instance.contract.queues["work"], bucket_size=50)
    contract = replace(rig.instance.contract, queues={"work": declared})
    assert replace(rig.queues, contract=contract).keep_limits() == 1
    limits = rig.row()["limits"]
    assert (limits["rate_per_second"], limits["bucket_size"]) == (2, 50)


def test_limits_that_are_cleared_while_the_sweep_puts_them_in_force_are_not(rig: QueueRig) -> None:
    file = rig.row()["limits"]
    rig.queues.limit("work", {"rate_per_second": 2}, actor=ADA)
    rig.inline.control.limit("work", None, actor="deployment")
    queues = Meanwhile(rig, "limit", lambda: rig.queues.limit("work", None, actor=ADA)).queues(rig)
    assert queues.keep_limits() == 1
    row = rig.row()
    assert (row["limits"], row["overridden"]) == (file, [])


def test_of_two_operators_at_once_each_has_the_limit_that_was_set(rig: QueueRig) -> None:
    def limit_too() -> None:
        rig.queues.limit("work", {"bucket_size": 3}, actor="grace")

    Meanwhile(rig, "limit", limit_too).queues(rig).limit("work", {"rate_per_second": 2}, actor=ADA)
    row = rig.row()
    assert row["overridden"] == ["bucket_size", "rate_per_second"]
    assert (row["limits"]["rate_per_second"], row["limits"]["bucket_size"]) == (2, 3)


def test_limits_that_the_queue_could_not_be_given_do_not_stand(rig: QueueRig) -> None:
    rig.queues.limit("work", {"rate_per_second": 2}, actor=ADA)
    queues = Meanwhile(rig, "limit", rig.inline.close).queues(rig)
    with pytest.raises(Unreachable):
        queues.limit("work", {"bucket_size": 3}, actor=ADA)
    assert rig.row()["overridden"] == ["rate_per_second"]


def test_limits_that_are_set_when_the_process_dies_are_put_in_force_by_the_sweep(rig: QueueRig) -> None:
    def die() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Meanwhile(rig, "limit", die).queues(rig).limit("work", {"bucket_size": 3}, actor=ADA)
    assert rig.queues.keep_limits() == 1
    assert rig.row()["limits"]["bucket_size"] == 3


def test_the_service_gives_up_when_the_limits_in_force_leave_no_try(rig: QueueRig, application: Numbers) -> None:
    def fail(batch: Batch) -> None:
        raise ValueError("no")

    application.on_work = fail
    rig.queues.limit("work", {"max_attempts": 1}, actor=ADA)
    rig.clock.advance(3)
    run_id = start(rig, 3)
    rig.advance(0)
    shown = rig.instance.show(run_id)
    assert (shown["state"], shown["tasks"]["dead"], shown["attempts"]) == ("failed", 1, 1)
    rig.queues.limit("work", {"max_attempts": 2}, actor=ADA)
    rig.clock.advance(3)
    run_id = start(rig, 3)
    rig.advance(0)
    rig.advance(10)
    assert rig.instance.show(run_id)["attempts"] == 2


def test_retry_limits_are_read_at_most_every_two_seconds(instance: Instance) -> None:
    retries = instance.executor.retries
    before = retries("work")
    assert before is not None
    with instance.database.write() as connection:
        write_queue_override(connection, "work", {"max_attempts": 7}, now=1, actor=ADA)
    assert retries("work") == before
    instance.clock.advance(2)  # type: ignore[attr-defined]
    after = retries("work")
    assert after is not None
    assert after.max_attempts == 7
    assert retries("none") is None


def test_retry_limits_that_were_set_here_are_in_force_at_once(rig: QueueRig) -> None:
    retries = rig.instance.executor.retries
    assert retries("work") == rig.instance.contract.queues["work"].retry
    rig.queues.limit("work", {"max_attempts": 7}, actor=ADA)
    found = retries("work")
    assert found is not None
    assert found.max_attempts == 7


def test_a_database_that_does_not_answer_leaves_the_retry_limits_as_they_were(instance: Instance) -> None:
    retries = instance.executor.retries
    with instance.database.write() as connection:
        write_queue_override(connection, "work", {"max_attempts": 7}, now=1, actor=ADA)
    before = retries("work")
    with instance.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE headrace_overrides RENAME TO elsewhere")
    instance.clock.advance(2)  # type: ignore[attr-defined]
    assert before is not None
    assert (retries("work"), before.max_attempts) == (before, 7)


@pytest.mark.parametrize("value", ["many", "[]", '{"speed": 3}', '{"max_attempts": "7"}'])
def test_an_override_that_is_no_limits_is_not_in_force(rig: QueueRig, value: str) -> None:
    with rig.database.write() as connection:
        override_rows.set_override(connection, "queue.work", value, now=1, actor=ADA)
    assert rig.instance.executor.retries("work") == rig.instance.contract.queues["work"].retry
    assert (rig.queues.keep_limits(), rig.row()["overridden"]) == (0, [])
