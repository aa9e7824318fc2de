"""What everything does that asks and steers queues, as tests: it passes by a subclass with a `rig` of its own."""

from typing import Protocol

import pytest

from headrace.drivers.base import Driver, Push
from headrace.drivers.queues import QueueControl, QueueLimits, QueueState
from headrace.errors import BadRequest, NotFound, WrongState
from headrace.retries import RetryLimits
from tests.drivers.conformance import URL, Target

ADA = "ada@example.org"
SLOWER = QueueLimits(2.5, 100, 7, RetryLimits(4, 60.0, 0.5, 30.0, 3))


class Rig(Protocol):
    """A driver, what steers its queues, what it delivers to, and its time."""

    driver: Driver
    control: QueueControl
    target: Target
    base: str

    def advance(self, seconds: float) -> None: ...


def push(rig: Rig, name: str, queue: str = "work") -> None:
    rig.driver.push_many([Push(queue, name, rig.base + URL, b"[1]", 30.0, headers=(("Headrace-Claim", "12"),))])


def limits_of(rig: Rig, queue: str) -> QueueLimits:
    status = rig.control.show(queue)
    assert status is not None
    return status.limits


class Control:
    """For all of them."""

    def test_queues_are_listed_by_name_with_their_limits(self, rig: Rig) -> None:
        found = {status.name: status for status in rig.control.list()}
        assert list(found) == ["narrow", "other", "short", "work"]
        assert found["narrow"].limits.max_concurrent_requests == 2
        assert (found["work"].limits.rate_per_second, found["work"].limits.bucket_size) == (500, 100)
        assert found["short"].limits.retry == RetryLimits(2, 0.0, 1.0, 1.0, 16)
        assert found["work"] == rig.control.show("work")
        assert rig.control.show("none") is None

    def test_a_paused_queue_keeps_its_tasks_until_it_is_resumed(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        push(rig, "one")
        rig.advance(0)
        status = rig.control.show("work")
        assert status is not None
        assert (status.state, rig.target.tasks()) == (QueueState.PAUSED, [])
        rig.control.resume("work", actor=ADA)
        rig.advance(0)
        assert rig.target.tasks() == ["one"]

    def test_a_purge_drops_the_tasks_of_one_queue(self, rig: Rig) -> None:
        for queue in ("work", "other"):
            rig.control.pause(queue, actor=ADA)
            push(rig, f"on-{queue}", queue)
        assert rig.control.purge("work", actor=ADA) in (1, None)
        assert rig.control.task("work", "on-work") is None
        assert rig.control.task("other", "on-other") is not None

    def test_limits_are_changed_and_the_others_stay(self, rig: Rig) -> None:
        rig.control.limit("work", SLOWER, actor=ADA)
        changed = limits_of(rig, "work").values()
        assert {name: changed[name] for name in rig.control.adjustable} == {
            name: value for name, value in SLOWER.values().items() if name in rig.control.adjustable
        }

    def test_limits_that_no_queue_may_have_are_refused(self, rig: Rig) -> None:
        before = limits_of(rig, "work")
        with pytest.raises(BadRequest):
            rig.control.limit("work", before.changed({"rate_per_second": 501}), actor=ADA)
        assert limits_of(rig, "work") == before

    def test_a_task_is_shown_as_it_will_be_sent(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        push(rig, "one")
        task = rig.control.task("work", "one")
        assert task is not None
        assert (task.name, task.method, task.url, task.body) == ("one", "POST", rig.base + URL, b"[1]")
        assert dict(task.headers)["Headrace-Claim"] == "12"
        assert (task.dispatch_count, task.last_status) == (0, None)
        assert task.why in ("queue paused", "")
        assert rig.control.task("work", "none") is None

    def test_a_task_that_failed_tells_so(self, rig: Rig) -> None:
        rig.target.answers["again"] = [503]
        push(rig, "again")
        rig.advance(0)
        task = rig.control.task("work", "again")
        assert task is not None
        assert (task.dispatch_count, task.last_status) == (1, 503)

    def test_tasks_are_listed_page_by_page(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        for number in range(3):
            push(rig, f"task-{number}")
        first, after = rig.control.tasks("work", limit=2)
        rest, end = rig.control.tasks("work", limit=2, after=after)
        assert (len(first), len(rest), end) == (2, 1, "")
        assert {task.name for task in (*first, *rest)} == {"task-0", "task-1", "task-2"}

    def test_a_task_is_run_though_its_queue_is_paused(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        push(rig, "one")
        assert rig.control.run("work", "one", actor=ADA)
        rig.target.wait_for(lambda: rig.target.tasks() == ["one"])
        assert not rig.control.run("work", "none", actor=ADA)

    def test_a_task_is_deleted(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        push(rig, "one")
        assert rig.control.delete("work", "one", actor=ADA)
        assert rig.control.task("work", "one") is None
        assert not rig.control.delete("work", "none", actor=ADA)

    def test_a_queue_that_is_missing_is_not_found(self, rig: Rig) -> None:
        for steer in (rig.control.pause, rig.control.resume, rig.control.purge):
            with pytest.raises(NotFound):
                steer("none", actor=ADA)
        with pytest.raises(NotFound):
            rig.control.limit("none", SLOWER, actor=ADA)
        with pytest.raises(NotFound):
            rig.control.tasks("none", limit=1)
        assert not rig.control.run("none", "one", actor=ADA)


class Files:
    """For what knows the file of its queues, and keeps their deliveries."""

    def test_limits_stand_over_the_files_until_they_are_given_back(self, rig: Rig) -> None:
        before = limits_of(rig, "work")
        rig.control.limit("work", SLOWER, actor=ADA)
        status = rig.control.show("work")
        assert status is not None
        assert (status.limits, status.declared, status.set_by) == (SLOWER, before, ADA)
        rig.control.limit("work", None, actor=ADA)
        status = rig.control.show("work")
        assert status is not None
        assert (status.limits, status.declared, status.set_by) == (before, None, None)

    def test_what_is_stored_is_counted(self, rig: Rig) -> None:
        rig.control.pause("work", actor=ADA)
        push(rig, "one")
        status = rig.control.show("work")
        assert status is not None
        assert (status.waiting, status.in_flight) == (1, 0)
        assert status.oldest_due is not None
        assert rig.control.purge("work", actor=ADA) == 1

    def test_deliveries_are_told_the_newest_first(self, rig: Rig) -> None:
        rig.target.answers["again"] = [500]
        push(rig, "again")
        push(rig, "beside")
        rig.advance(0)
        rig.advance(11)
        found = rig.control.deliveries("work", "again", limit=10)
        assert found is not None
        assert [(each.task, each.number, each.status) for each in found] == [("again", 2, 200), ("again", 1, 500)]
        assert (found[0].method, found[0].url, found[0].body) == ("POST", rig.base + URL, b"[1]")
        names = {name.lower() for name, _ in found[0].headers}
        assert "headrace-claim" in names
        assert "authorization" not in names
        everything = rig.control.deliveries("work", limit=10)
        assert everything is not None
        assert {each.task for each in everything} == {"again", "beside"}


class NoFiles:
    """For Cloud Tasks."""

    def test_what_cloud_tasks_does_not_tell_is_none(self, rig: Rig) -> None:
        status = rig.control.show("work")
        assert status is not None
        told = (status.waiting, status.in_flight, status.oldest_due, status.declared, status.set_by)
        assert told == (None, None, None, None, None)
        assert rig.control.deliveries("work", limit=10) is None
        assert "bucket_size" not in rig.control.adjustable
        with pytest.raises(WrongState):
            rig.control.limit("work", None, actor=ADA)
