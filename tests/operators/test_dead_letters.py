"""Dead batches are seen, tried again, edited and given up: one, or all that match; audited, and never by mistake."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.database.states import BatchState
from headrace.database.tables import batches
from headrace.errors import BadRequest, NotFound, PermanentFailure, WrongState
from headrace.execution.batch import Batch
from headrace.operators import dead_letters
from headrace.operators.dead_letters import Matching, kept, left
from headrace.runs.job import Job
from headrace.runs.policy import RunPolicy
from tests.instance import HANDLER, Instance, Numbers, drain, handler, written
from tests.operators.deaths import audited, batch_of, dead_ids, deliver_all
from tests.queue_in_memory import QueueInMemory

ADA = "ada"


def refuse(batch: Batch) -> None:
    raise PermanentFailure("the vendor has no such number")


@pytest.fixture
def run_id(instance: Instance, application: Numbers, queue: QueueInMemory) -> str:
    """A run of three batches that are all dead; its handler would do them well now."""
    application.count = 7
    application.on_work = refuse
    run_id = instance.start().run_id
    deliver_all(queue, instance)
    application.on_work = lambda batch: None
    assert instance.show(run_id)["state"] == "failed"
    return run_id


def test_dead_batches_are_listed_with_cause_and_error(instance: Instance, run_id: str) -> None:
    first, *_ = reversed(instance.operators.dead_letters.list(Matching(), limit=10))
    assert (first["run_id"], first["handler"], first["number"], first["items"]) == (run_id, HANDLER, 1, 3)
    assert (first["cause"], first["attempt"], first["state"]) == ("permanent", 1, "dead")
    assert "the vendor has no such number" in first["error"]


def test_they_are_narrowed_by_handler_cause_and_run(instance: Instance, run_id: str) -> None:
    assert len(dead_ids(instance, handler=HANDLER, cause="permanent", run_id=run_id)) == 3
    assert dead_ids(instance, handler="handlers.other.work") == []
    assert dead_ids(instance, cause="poison") == []
    assert dead_ids(instance, run_id="f" * 32) == []
    assert len(instance.operators.dead_letters.list(Matching(), limit=2)) == 2


def test_a_retried_batch_runs_at_once_and_its_run_goes_on_to_its_end(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    first, second, third = dead_ids(instance)
    instance.operators.dead_letters.retry(first, actor=ADA)
    (task,) = queue.tasks
    assert task.endswith(f"-{first}-2"), "the next generation of the same batch, pushed after the commit"
    shown = instance.show(run_id)
    assert (shown["state"], shown["ended_at"], shown["tasks"]["dead"]) == ("running", None, 2)
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "failed", "two are dead still"
    for batch_id in (second, third):
        instance.operators.dead_letters.retry(batch_id, actor=ADA)
    drain(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"], shown["items_failed"]) == ("completed", 3, 0)
    assert written(database) == list(range(1, 8))


def test_a_batch_is_retried_while_others_of_its_step_are_under_way(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count, application.on_work = 6, refuse
    run_id = instance.start().run_id
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, [1, 2, 3])
    del queue.tasks[name]
    application.on_work = lambda batch: None
    instance.operators.dead_letters.retry(*dead_ids(instance), actor=ADA)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["dead"], shown["tasks"]["pushed"]) == ("running", 0, 2)
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"
    assert written(database) == [1, 2, 3, 4, 5, 6]


def test_a_retried_batch_has_all_its_tries_again(instance: Instance, database: Database, run_id: str) -> None:
    (first, *_) = dead_ids(instance)
    before = batch_of(database, first)
    instance.operators.dead_letters.retry(first, actor=ADA)
    after = batch_of(database, first)
    assert (before.failures, before.cause) == (1, "permanent")
    assert (after.failures, after.losses, after.cause, after.ended_at) == (0, 0, "", None)


def test_the_old_task_of_a_retried_batch_does_no_work(
    instance: Instance, queue: QueueInMemory, application: Numbers, database: Database
) -> None:
    application.count = 1
    application.on_work = refuse
    instance.start()
    (old,) = queue.tasks.values()
    deliver_all(queue, instance)
    application.on_work = lambda batch: None
    instance.operators.dead_letters.retry(*dead_ids(instance), actor=ADA)
    instance.deliver(old, [1])
    assert written(database) == []
    drain(queue, instance)
    assert written(database) == [1]


def test_items_that_are_done_stay_done(
    instance: Instance, queue: QueueInMemory, application: Numbers, database: Database
) -> None:
    worked: list[int] = []
    broken = {2}

    def work(number: Any) -> None:
        worked.append(number.value)
        if number.value in broken:
            raise PermanentFailure("no such number")

    def each(batch: Batch) -> None:
        batch.for_each(work)
        if broken:
            raise PermanentFailure("not all went well")

    application.count = 3
    application.on_work = each
    run_id = instance.start().run_id
    deliver_all(queue, instance)
    assert [item["value"] for item in instance.show(run_id)["failed_items"]] == [2]
    broken.clear()
    worked.clear()
    instance.operators.dead_letters.retry(*dead_ids(instance), actor=ADA)
    assert instance.show(run_id)["failed_items"] == [], "it is left, not failed"
    drain(queue, instance)
    assert worked == [2]
    shown = instance.show(run_id)
    assert (shown["state"], shown["items_done"], shown["items_failed"]) == ("completed", 3, 0)


def test_what_is_not_dead_is_left_alone(instance: Instance, database: Database, run_id: str) -> None:
    (first, *_) = dead_ids(instance)
    letters = instance.operators.dead_letters
    actions: list[Callable[[int], None]] = [
        partial(letters.retry, actor=ADA),
        partial(letters.edit, payload=[1], actor=ADA),
        partial(letters.discard, actor=ADA),
    ]
    for state in (BatchState.PENDING, BatchState.PUSHED, BatchState.RUNNING, BatchState.DONE):
        with database.write() as connection:
            connection.execute(update(batches).where(batches.c.id == first).values(state=state))
        before = batch_of(database, first)
        for act in actions:
            with pytest.raises(WrongState, match=f"Batch {first} is {state.value}, not dead"):
                act(first)
        assert batch_of(database, first) == before
    for act in actions:
        with pytest.raises(NotFound, match="There is no batch 4711"):
            act(4711)
    assert audited(database) == []


def test_a_batch_of_a_cancelled_run_is_not_tried_again(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 6
    application.on_work = refuse
    run_id = instance.start().run_id
    push, *_ = queue.tasks.values()
    instance.deliver(push, [1, 2, 3])
    instance.operators.cancelling.cancel(run_id, reason="", actor=ADA)
    (dead,) = dead_ids(instance)
    with pytest.raises(WrongState, match="was cancelled"):
        instance.operators.dead_letters.retry(dead, actor=ADA)
    assert batch_of(database, dead).state is BatchState.DEAD
    assert instance.operators.dead_letters.retry_all(Matching(), actor=ADA) == 0
    assert instance.operators.dead_letters.discard_all(Matching(), actor=ADA) == 1


def test_an_edited_batch_runs_with_its_new_payload(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    (first, *_) = dead_ids(instance)
    instance.operators.dead_letters.edit(first, [10, 20], actor=ADA)
    drain(queue, instance)
    assert written(database) == [10, 20]
    shown = instance.show(run_id)
    assert (shown["items"], shown["items_done"]) == (6, 2)
    (row,) = audited(database)
    assert (row.action, row.old, row.new) == ("edit_dead", "[1,2,3]", "[10,20]")


def test_a_payload_that_breaks_the_schema_is_refused_at_its_pointer(
    instance: Instance, database: Database, run_id: str
) -> None:
    (first, *_) = dead_ids(instance)
    before = batch_of(database, first)
    with pytest.raises(BadRequest) as raised:
        instance.operators.dead_letters.edit(first, [1, "two"], actor=ADA)
    assert raised.value.pointer == "/payload/1"
    assert batch_of(database, first) == before
    assert audited(database) == []


def test_a_payload_that_is_too_large_is_refused(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    instance = Instance(database, queue, clock, application, policy=RunPolicy(max_payload=20))
    application.count, application.on_work = 3, refuse
    instance.start()
    deliver_all(queue, instance)
    with pytest.raises(BadRequest, match="larger than the 20"):
        instance.operators.dead_letters.edit(*dead_ids(instance), list(range(20)), actor=ADA)
    assert len(dead_ids(instance)) == 1


def test_a_discarded_batch_is_cancelled(instance: Instance, database: Database, run_id: str) -> None:
    (first, *_) = dead_ids(instance)
    instance.operators.dead_letters.discard(first, actor=ADA)
    assert batch_of(database, first).state is BatchState.CANCELLED
    tasks = instance.show(run_id)["tasks"]
    assert (tasks["dead"], tasks["cancelled"]) == (2, 1)
    assert len(dead_ids(instance)) == 2


def test_all_that_match_are_retried_or_discarded(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    letters = instance.operators.dead_letters
    assert letters.retry_all(Matching(cause="poison"), actor=ADA) == 0
    assert letters.retry_all(Matching(handler=HANDLER, cause="permanent"), actor=ADA) == 3
    assert len(queue.tasks) == 3
    assert letters.discard_all(Matching(), actor=ADA) == 0
    drain(queue, instance)
    assert written(database) == list(range(1, 8))
    assert instance.show(run_id)["state"] == "completed"


def test_more_than_a_page_is_retried_whole(
    database: Database,
    queue: QueueInMemory,
    clock: ManualClock,
    application: Numbers,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dead_letters, "_PAGE", 4)
    instance = Instance(database, queue, clock, application, batch_size=1)
    application.count = 10
    application.on_work = refuse
    run_id = instance.start().run_id
    deliver_all(queue, instance)
    assert instance.operators.dead_letters.retry_run(run_id, actor=ADA) == 10
    assert len(queue.tasks) == 10
    assert instance.show(run_id)["tasks"]["dead"] == 0


def test_a_run_is_retried_by_its_dead_batches(
    instance: Instance, queue: QueueInMemory, database: Database, run_id: str
) -> None:
    assert instance.operators.dead_letters.retry_run(run_id, actor=ADA) == 3
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"
    with pytest.raises(WrongState, match="has no dead batch"):
        instance.operators.dead_letters.retry_run(run_id, actor=ADA)
    with pytest.raises(NotFound):
        instance.operators.dead_letters.retry_run("f" * 32, actor=ADA)


def test_every_change_is_audited_with_its_actor(instance: Instance, database: Database, run_id: str) -> None:
    first, second, third = dead_ids(instance)
    instance.operators.dead_letters.retry(first, actor="ada")
    instance.operators.dead_letters.discard(second, actor="grace")
    instance.operators.dead_letters.retry_all(Matching(), actor="ada")
    assert [(row.actor, row.action, row.object) for row in audited(database)] == [
        ("ada", "retry_dead", f"batch/{first}"),
        ("grace", "discard_dead", f"batch/{second}"),
        ("ada", "retry_dead", f"batch/{third}"),
    ]
    assert "the vendor has no such number" in (audited(database)[0].old or "")
    newest, *_ = instance.operators.audit(limit=1)
    assert (newest["object"], newest["at"]) == (f"batch/{third}", "2027-01-15T08:00:00.000Z")


@dataclass
class TwoSteps(Numbers):
    """Its second step is left out when a batch of the first is dead."""

    calls_of_job: int = 0
    second: list[list[int]] = field(default_factory=list)

    def job(self, job: Job, **parameters: Any) -> None:
        self.calls_of_job += 1
        job.split(self.work, self.numbers)
        job.split(self.work_behind, self.numbers)

    def work_behind(self, batch: Batch) -> None:
        self.second.append(batch.items)


def test_steps_that_were_left_out_because_of_it_wait_again_and_are_split(
    database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    application = TwoSteps(count=3)
    behind = handler("behind", application.work_behind)
    instance = Instance(database, queue, clock, application, others=[behind])
    application.on_work = refuse
    run_id = instance.start().run_id
    deliver_all(queue, instance)
    for each in instance.asked_to_go_on:
        instance.starter.resume(each)
    shown = instance.show(run_id)
    assert (shown["state"], [step["state"] for step in shown["steps"]]) == ("failed", ["failed", "left out"])

    application.on_work = lambda batch: None
    instance.asked_to_go_on.clear()
    instance.operators.dead_letters.retry(*dead_ids(instance), actor=ADA)
    assert [step["state"] for step in instance.show(run_id)["steps"]] == ["running", "waiting"]
    drain(queue, instance)
    assert instance.asked_to_go_on == [run_id]
    instance.starter.resume(run_id)
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"
    assert application.second == [[1], [2], [3]]


def test_a_run_whose_split_failed_fails_again_when_its_dead_batches_are_done(
    database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers
) -> None:
    def stop(item: int) -> None:
        if item == 8:
            raise ValueError("the source ended badly")

    instance = Instance(database, queue, clock, application, policy=RunPolicy(chunk_batches=1))
    application.count, application.on_item, application.on_work = 9, stop, refuse
    with pytest.raises(ValueError, match="ended badly"):
        instance.start()
    deliver_all(queue, instance)
    (run_id,) = [run["run_id"] for run in instance.progress.list(state="failed")]
    application.on_work = lambda batch: None
    instance.operators.dead_letters.retry_run(run_id, actor=ADA)
    drain(queue, instance)
    shown = instance.show(run_id)
    assert written(database) == [1, 2, 3, 4, 5, 6]
    assert (shown["state"], shown["reason"]) == ("failed", "ValueError: the source ended badly")


@pytest.mark.parametrize(
    ("outcomes", "expected"), [(None, None), ("", ""), ("drf.", "d..."), ("dd", "dd"), ("ff", "..")]
)
def test_what_is_left_of_a_batch_that_is_tried_again(outcomes: str | None, expected: str | None) -> None:
    assert left(outcomes) == expected


@pytest.mark.parametrize(
    ("outcomes", "old", "new", "expected"),
    [
        (None, [1], [2], None),
        ("df", [1, 2], [1, 3], "d."),
        ("dd", [1, 2], [2, 1], ".."),
        ("dd", [1, 2], [1], "d"),
        ("d", [1], [1, 2, 3], "d.."),
        ("d", {"a": 1}, {"a": 1}, None),
    ],
)
def test_what_stays_done_under_another_payload(outcomes: str | None, old: Any, new: Any, expected: str | None) -> None:
    assert kept(outcomes, old, new) == expected
