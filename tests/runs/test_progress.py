"""What the world sees of a run."""

from sqlalchemy import event

from headrace.database import Database
from tests.instance import Instance, Numbers, drain
from tests.queue_in_memory import QueueInMemory


def test_progress_tells_items_and_tasks_by_state(
    instance: Instance, application: Numbers, queue: QueueInMemory
) -> None:
    application.count = 7
    run_id = instance.start(backfill=False).run_id
    name, push = next(iter(queue.tasks.items()))
    instance.deliver(push, [1, 2, 3])
    shown = instance.show(run_id)
    assert shown["tasks"] == {
        "pending": 0,
        "pushed": 2,
        "running": 0,
        "done": 1,
        "dead": 0,
        "cancelled": 0,
        "total": 3,
    }
    assert (shown["items"], shown["items_done"], shown["progress"]) == (7, 3, 1 / 3)
    assert (shown["started_at"], shown["ended_at"]) == ("2027-01-15T08:00:00.000Z", None)
    del queue.tasks[name]
    drain(queue, instance)
    assert instance.show(run_id)["ended_at"] == "2027-01-15T08:00:00.000Z"


def test_a_run_that_is_not_known_is_none(instance: Instance) -> None:
    assert instance.progress.show("f" * 32) is None


def test_reading_progress_touches_as_many_rows_for_a_large_run_as_for_a_small_one(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    def reads(count: int) -> list[str]:
        application.count = count
        run_id = instance.start().run_id
        drain(queue, instance)
        statements.clear()
        instance.show(run_id)
        return list(statements)

    event.listen(database.engine, "before_cursor_execute", note)
    small, large = reads(3), reads(300)
    event.remove(database.engine, "before_cursor_execute", note)
    assert small == large
    # What counts batches is bounded by live attempts and by the outbox's page, never by the run's size.
    counting = [statement for statement in large if "count(" in statement]
    assert len(counting) == 2
    assert "state = " in counting[0]
    assert "LIMIT" in counting[1]


def test_runs_are_listed_newest_first_and_by_job_and_state(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: object
) -> None:
    application.count = 3
    first = instance.start().run_id
    instance.start()
    assert [run["state"] for run in instance.progress.list(state="skipped")] == ["skipped"]
    assert [run["run_id"] for run in instance.progress.list(state="running")] == [first]
    assert instance.progress.list(job="none") == []
    assert len(instance.progress.list(limit=1)) == 1
