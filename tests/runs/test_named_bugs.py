"""Five bugs that batch systems on Cloud Tasks had: a test for each."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
from sqlalchemy import event
from structlog.testing import capture_logs

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.drivers.base import Push, PushResult
from headrace.errors import DriverError
from headrace.execution.batch import Batch
from headrace.runs.job import Job
from tests.instance import Instance, Numbers, drain, written
from tests.queue_in_memory import QueueInMemory
from tests.runs.diagram import Diagram, instances, numbers, settle


def test_a_finished_task_that_is_delivered_again_after_a_timeout_does_not_roll_its_state_back(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    application.count = 6
    run_id = instance.start().run_id
    first, second = list(queue.tasks.values())
    instance.deliver(first, [1, 2, 3])
    before = instance.show(run_id)
    # The queue never saw the answer: it delivers again, minutes later, while the other batch still waits.
    clock.advance(600)
    instance.deliver(first, [1, 2, 3], retry_count=1)
    assert instance.show(run_id) == before
    instance.deliver(second, [4, 5, 6])
    instance.deliver(first, [1, 2, 3], retry_count=2)
    shown = instance.show(run_id)
    assert (shown["state"], shown["tasks"]["done"], shown["attempts"]) == ("completed", 2, 2)
    assert written(database) == [1, 2, 3, 4, 5, 6]


def test_the_last_two_batches_that_end_at_the_same_moment_start_the_next_step_exactly_once(
    database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    diagram = Diagram()
    both, handlers = instances(diagram, "ab", database, queue, clock, count=2)

    def split(job: Job) -> None:
        job.split(handlers["a"], numbers(4))
        job.split(handlers["b"], numbers(1))

    diagram.split = split
    meeting = threading.Barrier(2, timeout=30)

    def meet(_batch: Batch) -> None:
        if len(diagram.worked) <= 2:
            meeting.wait()

    diagram.on_work = meet
    run_id = both[0].start().run_id
    pushes = list(queue.tasks.values())
    queue.tasks.clear()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda instance, push: instance.deliver(push, orjson.loads(push.body)), both, pushes))
    asked = [asked for instance in both for asked in instance.asked_to_go_on]
    assert asked == [run_id]
    both[0].asked_to_go_on, both[1].asked_to_go_on = asked, []
    settle(queue, both[0])
    assert sorted(name for name, _ in diagram.worked) == ["a", "a", "b"]
    assert both[0].show(run_id)["state"] == "completed"


def test_a_push_that_de_duplication_refuses_leaves_no_batch_that_never_ends(
    instance: Instance, application: Numbers, queue: QueueInMemory, clock: ManualClock, database: Database
) -> None:
    application.count = 3
    run_id = instance.start().run_id
    # The push arrived, and the note of it was lost; then the task itself is lost as well.
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_batches SET state = 'pending', check_at = NULL")
    queue.tasks.clear()
    assert instance.sweeps.relay() == {"pushed": 1}
    assert (queue.duplicates, queue.tasks) == (1, {})
    clock.advance(61)
    instance.sweeps.sweep()
    drain(queue, instance)
    assert instance.show(run_id)["state"] == "completed"
    assert written(database) == [1, 2, 3]


def test_a_push_that_fails_after_its_row_was_written_is_pushed_later_and_its_caller_told_nothing(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    push_many = queue.push_many

    def fail(pushes: Sequence[Push]) -> list[PushResult]:
        raise DriverError("The network is gone.")

    queue.push_many = fail  # type: ignore[method-assign]
    with capture_logs() as logs, database.write() as connection:
        run_id = instance.pusher.push(connection, application.work, [7]).run_id
    assert [entry["event"] for entry in logs] == ["push put off"]
    assert instance.show(run_id)["tasks"]["pending"] == 1
    queue.push_many = push_many  # type: ignore[method-assign]
    assert instance.sweeps.relay() == {"pushed": 1}
    drain(queue, instance)
    assert written(database) == [7]


def test_progress_costs_the_same_to_read_for_a_run_of_any_size(
    instance: Instance, application: Numbers, queue: QueueInMemory, database: Database
) -> None:
    """The same statements, and none that reads all batches; those that wait or run are found by an index of theirs."""
    asked: list[tuple[str, Any]] = []

    def note(
        _connection: object, _cursor: object, statement: str, parameters: Any, _context: object, _many: bool
    ) -> None:
        asked.append((statement, parameters))

    def statements_of(run_id: str) -> list[str]:
        asked.clear()
        event.listen(database.engine, "before_cursor_execute", note)
        instance.show(run_id)
        event.remove(database.engine, "before_cursor_execute", note)
        return [statement for statement, _ in asked]

    def run_of(count: int) -> str:
        application.count = count
        run_id = instance.start().run_id
        drain(queue, instance)
        return run_id

    small = statements_of(run_of(3))
    assert statements_of(run_of(300)) == small
    of_batches = [(statement, values) for statement, values in asked if "FROM headrace_batches" in statement]
    assert of_batches
    with database.read() as connection:
        if not database.is_sqlite:
            # Small tables are read whole, whatever the indexes: forbidden, it takes an index where there is one.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
        for statement, values in of_batches:
            plan = " ".join(str(line) for line in connection.exec_driver_sql(explain + statement, values).all())
            assert "ix_headrace_batches_lease" in plan or "ix_headrace_batches_pending_of_run" in plan, plan
