"""The list of tasks: every state is reached by a real handler, and found; those that wait are cancelled."""

import uuid
from typing import Any

import pytest

from headrace.clock import ManualClock
from headrace.database import Database, task_rows
from headrace.database.states import BatchState, DisplayState
from headrace.errors import NotFound, PermanentFailure, PushRefused, WrongState
from headrace.execution.batch import Batch
from headrace.operators.tasks import Filters
from tests.instance import HANDLER, Instance, Numbers, drain, handler
from tests.operators.deaths import audited, batch_of, deliver_all
from tests.queue_in_memory import QueueInMemory

ADA = "ada"


@pytest.fixture
def instance(database: Database, queue: QueueInMemory, clock: ManualClock, application: Numbers) -> Instance:
    others = [handler("letters", lambda batch: None, queue="other")]
    return Instance(database, queue, clock, application, others=others)


def listed(instance: Instance, *, limit: int = 50, **filters: Any) -> list[int]:
    return [each["batch_id"] for each in instance.operators.tasks.list(Filters(**filters), limit=limit)["batches"]]


def push(instance: Instance, *items: int, **options: Any) -> str:
    with instance.database.write() as connection:
        return instance.pusher.push(connection, instance.application.work, list(items), **options).run_id


def say(application: Numbers) -> None:
    """The handler does what the first item of its batch says."""

    def work(batch: Batch) -> None:
        if batch.items[0] == 4:
            batch.warn("one has no address")
        if batch.items[0] == 7:
            raise PermanentFailure("no such user")
        if batch.items[0] == 10:
            batch.once("mail", fail)

    application.on_work = work


def fail(key: str) -> None:
    raise ConnectionError("no answer came")


def test_each_state_is_reached_by_a_handler_and_found_by_its_filter(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 18
    say(application)
    instance.start()
    seen_running: list[list[int]] = []
    work = application.on_work

    def look(batch: Batch) -> None:
        seen_running.append(listed(instance, state=DisplayState.RUNNING))
        work(batch)

    application.on_work = look
    waiting = listed(instance, state=DisplayState.WAITING)
    assert waiting == [6, 5, 4, 3, 2, 1]
    last = list(queue.tasks)[-1]
    kept = queue.tasks.pop(last)
    instance.operators.tasks.cancel(5, actor=ADA)
    deliver_all(queue, instance)
    queue.tasks[last] = kept
    assert seen_running[0] == [1]
    found = {state.value: listed(instance, state=state) for state in DisplayState}
    assert found == {
        "waiting": [6],
        "running": [],
        "successful": [1],
        "warning": [4, 2],
        "error": [3],
        "cancelled": [5],
    }
    assert listed(instance, hide_successful=True) == [6, 5, 4, 3, 2]
    assert listed(instance, hide_successful=True, state=DisplayState.SUCCESSFUL) == []


def test_tasks_are_found_by_handler_queue_run_object_and_search(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 6
    run_id = instance.start().run_id
    alone = push(instance, 1, object="user/7")
    assert listed(instance) == [3, 2, 1]
    assert listed(instance, handler=HANDLER) == [3, 2, 1]
    assert listed(instance, handler="handlers.letters") == []
    assert listed(instance, queue="work") == [3, 2, 1]
    assert listed(instance, queue="other") == []
    assert listed(instance, queue="none") == []
    assert listed(instance, run_id=run_id) == [2, 1]
    assert listed(instance, run_id="none") == []
    assert listed(instance, object="user/7") == [3]
    assert listed(instance, standalone=True) == [3]
    assert listed(instance, standalone=False) == [2, 1]
    assert listed(instance, query="2") == [2]
    assert listed(instance, query=run_id) == [2, 1]
    assert listed(instance, query=alone[:8]) == [3]
    assert listed(instance, query="user/7") == [3]
    assert listed(instance, query="user/7", object="user/8") == []
    assert listed(instance, query="no word of ours") == []
    assert listed(instance, run_id=run_id, state=DisplayState.ERROR) == []
    (shown,) = instance.operators.tasks.list(Filters(object="user/7"), limit=5)["batches"]
    assert (shown["standalone"], shown["object"], shown["display_state"]) == (True, "user/7", "waiting")


def test_digits_find_a_task_or_where_there_is_none_the_run_whose_id_they_begin(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID("4711" + "a" * 28))
    push(instance, 1)
    assert listed(instance, query="4711") == [1]
    assert listed(instance, query="4712") == []
    assert listed(instance, query="1") == [1]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"state": DisplayState.WAITING},
        {"hide_successful": True},
        {"handler": HANDLER},
        {"standalone": True},
        {"object": "user/7"},
        {"object": "user/7", "state": DisplayState.WAITING},
    ],
)
@pytest.mark.parametrize("looked_at", [2, 3, 1_000])
def test_pages_show_each_task_once_however_far_one_looks(
    instance: Instance,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    filters: dict[str, Any],
    looked_at: int,
) -> None:
    monkeypatch.setattr(task_rows, "LOOKED_AT", looked_at)
    monkeypatch.setattr(task_rows, "RUNS_LOOKED_AT", looked_at)
    for number in range(7):
        push(instance, number, object="user/7")
        clock.advance(number % 2)
    found: list[int] = []
    before: int | None = None
    pages = 0
    while pages == 0 or before is not None:
        page = instance.operators.tasks.list(Filters(before=before, **filters), limit=3)
        found += [each["batch_id"] for each in page["batches"]]
        before, pages = page["before"], pages + 1
        assert pages < 20
    assert sorted(found) == [1, 2, 3, 4, 5, 6, 7]


def test_a_large_run_is_paged_by_the_numbers_of_its_tasks(instance: Instance, application: Numbers) -> None:
    application.count = 200
    run_id = instance.start().run_id
    first = instance.operators.tasks.list(Filters(run_id=run_id), limit=40)
    assert [each["batch_id"] for each in first["batches"]] == list(range(67, 27, -1))
    second = instance.operators.tasks.list(Filters(run_id=run_id, before=first["before"]), limit=40)
    assert [each["batch_id"] for each in second["batches"]] == list(range(27, 0, -1))
    assert second["before"] is None


def test_a_cancelled_task_is_not_executed_and_its_run_ends(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    application.count = 6
    run_id = instance.start().run_id
    instance.operators.tasks.cancel(1, actor=ADA)
    assert instance.show(run_id)["state"] == "running"
    drain(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"], shown["tasks"]["cancelled"]) == ("completed", 1, 1)
    assert application.calls == [[4, 5, 6]]
    (row,) = audited(database)
    assert (row.actor, row.action, row.object, row.old) == (ADA, "cancel_batch", "batch/1", "pushed")


def test_the_last_task_that_is_cancelled_ends_its_run(instance: Instance, queue: QueueInMemory) -> None:
    queue.down = True
    run_id = push(instance, 1)
    instance.operators.tasks.cancel(1, actor=ADA)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["cancelled"], shown["progress"]) == ("completed", 1, 1.0)


def test_only_a_task_that_waits_is_cancelled(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    refused: list[str] = []

    def cancel(batch: Batch) -> None:
        with pytest.raises(WrongState, match="cancel its run") as caught:
            instance.operators.tasks.cancel(1, actor=ADA)
        refused.append(str(caught.value))

    application.on_work = cancel
    push(instance, 1)
    drain(queue, instance)
    assert len(refused) == 1
    with pytest.raises(WrongState, match="it has ended"):
        instance.operators.tasks.cancel(1, actor=ADA)
    with pytest.raises(NotFound):
        instance.operators.tasks.cancel(4711, actor=ADA)
    assert audited(database) == []


def test_some_are_changed_and_what_is_refused_says_why(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    def die(batch: Batch) -> None:
        raise PermanentFailure("no such user")

    application.count, application.on_work = 6, die
    instance.start()
    deliver_all(queue, instance)
    push(instance, 1)
    tasks = instance.operators.tasks
    retried = tasks.retry_some([1, 3, 4711, 1], actor=ADA)
    assert retried["changed"] == 1
    assert [each["batch_id"] for each in retried["refused"]] == [3, 4711]
    assert "not dead" in retried["refused"][0]["reason"]
    assert batch_of(database, 1).state is BatchState.PUSHED
    assert tasks.discard_some([2], actor=ADA) == {"changed": 1, "refused": []}
    assert tasks.cancel_some([1, 3], actor=ADA) == {"changed": 2, "refused": []}
    assert [row.action for row in audited(database)] == ["retry_dead", "discard_dead", "cancel_batch", "cancel_batch"]


@pytest.mark.parametrize("about", ["x" * 201, "user\n7"])
def test_an_object_that_cannot_be_kept_is_refused_before_anything_is_written(instance: Instance, about: str) -> None:
    with pytest.raises(PushRefused, match="at most 200 characters"):
        push(instance, 1, object=about)
    assert listed(instance) == []
