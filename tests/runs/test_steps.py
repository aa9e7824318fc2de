"""Steps: barriers, dependencies, what is left out; and who calls the job's function again."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.errors import PushRefused
from headrace.runs.job import Job
from headrace.runs.policy import RunPolicy
from tests.instance import Instance
from tests.queue_in_memory import QueueInMemory
from tests.runs.diagram import Diagram, instances, numbers, settle

Handlers = dict[str, Callable[..., Any]]


class Killed(BaseException):
    """The process dies here."""


@pytest.fixture
def diagram() -> Diagram:
    return Diagram()


@pytest.fixture
def made(diagram: Diagram, database: Database, queue: QueueInMemory, clock: ManualClock) -> tuple[Instance, Handlers]:
    (instance,), handlers = instances(diagram, "abcd", database, queue, clock)
    return instance, handlers


def in_a_row(handlers: Handlers, counts: dict[str, int]) -> Callable[[Job], None]:
    def split(job: Job) -> None:
        for name, count in counts.items():
            job.split(handlers[name], numbers(count))

    return split


def diamond(handlers: Handlers, **of_d: Any) -> Callable[[Job], None]:
    def split(job: Job) -> None:
        a = job.split(handlers["a"], numbers(3))
        b = job.split(handlers["b"], numbers(2), after=[a])
        c = job.split(handlers["c"], numbers(2), after=[a])
        job.split(handlers["d"], numbers(1), after=[b, c], **of_d)

    return split


def names(diagram: Diagram) -> str:
    return "".join(name for name, _ in diagram.worked)


def states(shown: dict[str, Any]) -> list[str]:
    return [step["state"] for step in shown["steps"]]


def test_a_step_begins_when_the_last_batch_of_the_one_before_has_ended(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory, clock: ManualClock
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 5, "b": 4})
    diagram.on_work = lambda batch: clock.advance(1)
    answer = instance.start()
    assert (answer.state, answer.tasks) == ("running", 3), "the second step is not there yet"
    settle(queue, instance)
    assert names(diagram) == "aaabb"
    shown = instance.show(answer.run_id)
    first, second = shown["steps"]
    assert shown["state"] == "completed"
    assert first["ended_at"] <= second["ended_at"]
    assert all(diagram.upstream)
    assert [step["items_done"] for step in shown["steps"]] == [5, 4]


def test_what_stands_behind_a_barrier_reads_what_the_step_before_it_did(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made

    def split(job: Job) -> None:
        job.split(handlers["a"], numbers(3))
        job.split(handlers["b"], numbers(len(diagram.worked)))

    diagram.split = split
    instance.start()
    settle(queue, instance)
    assert names(diagram) == "aab"
    assert diagram.worked[-1] == ("b", [1, 2])


def test_no_worker_is_held_while_a_run_waits_for_a_step(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 4, "b": 4, "c": 4})
    run_id = instance.start().run_id
    under_way = 0
    most = 0

    def count(_batch: object) -> None:
        nonlocal most
        most = max(most, under_way)

    diagram.on_work = count
    # One thing at a time: a worker that waited for another would never come back.
    while queue.tasks or instance.asked_to_go_on:
        under_way += 1
        if queue.tasks:
            _name, push = queue.tasks.popitem()
            instance.deliver(push, orjson.loads(push.body))
        else:
            instance.starter.resume(instance.asked_to_go_on.pop())
        under_way -= 1
    assert (names(diagram), most) == ("aabbcc", 1)
    assert instance.show(run_id)["state"] == "completed"


def test_the_two_sides_of_a_diamond_run_side_by_side_and_its_end_after_both(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = diamond(handlers)
    run_id = instance.start().run_id
    for push in list(queue.tasks.values()):
        instance.deliver(push, orjson.loads(push.body))
    queue.tasks.clear()
    assert instance.starter.resume(instance.asked_to_go_on.pop())
    assert len(queue.tasks) == 2, "b and c are both on the queue"
    settle(queue, instance)
    assert names(diagram) in ("aabcd", "aacbd")
    assert all(diagram.upstream)
    assert instance.show(run_id)["state"] == "completed"


def test_a_step_behind_one_that_failed_is_left_out_with_the_reason(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = diamond(handlers)
    diagram.failing = {"b"}
    run_id = instance.start().run_id
    settle(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], states(shown)) == ("failed", ["completed", "failed", "completed", "left out"])
    assert shown["steps"][3]["reason"] == "upstream failed: step 2"
    assert "d" not in names(diagram)


def test_what_is_behind_a_step_that_was_left_out_is_left_out_too(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 1, "b": 1, "c": 1})
    diagram.failing = {"a"}
    run_id = instance.start().run_id
    settle(queue, instance)
    shown = instance.show(run_id)
    assert states(shown) == ["failed", "left out", "left out"]
    assert [step["reason"] for step in shown["steps"]] == [
        "",
        "upstream failed: step 1",
        "upstream failed: step 1, 2",
    ]


def test_a_step_that_runs_even_if_failed_does(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = diamond(handlers, even_if_failed=True)
    diagram.failing = {"b"}
    run_id = instance.start().run_id
    settle(queue, instance)
    assert names(diagram)[-1] == "d"
    shown = instance.show(run_id)
    assert (shown["state"], states(shown)) == ("failed", ["completed", "failed", "completed", "completed"])


def test_an_empty_step_has_ended_and_the_next_begins_in_the_same_call(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 0, "b": 1, "c": 0})
    run_id = instance.start().run_id
    settle(queue, instance)
    shown = instance.show(run_id)
    assert (names(diagram), shown["state"]) == ("b", "completed")
    assert diagram.called == 2, "once at the start, once behind b"


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        ({"c": 1, "b": 1}, "Step 1 was split for handlers.a, and now for handlers.c."),
        ({"a": 1}, "The job has split 2 steps before, and now 1."),
        ({}, "The job has split 2 steps before, and now 0."),
    ],
)
def test_a_function_that_splits_otherwise_when_it_is_called_again_fails_its_run(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory, again: dict[str, int], reason: str
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 1, "b": 1})
    run_id = instance.start().run_id
    diagram.split = in_a_row(handlers, again)
    with pytest.raises(PushRefused, match="make the same calls of split each time"):
        settle(queue, instance)
    shown = instance.show(run_id)
    assert (shown["state"], shown["reason"].partition(" ")[2].startswith(reason)) == ("failed", True)
    assert states(shown) == ["completed", "left out"]


def test_a_function_that_waits_for_other_steps_than_before_fails_its_run(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 1, "b": 1})
    run_id = instance.start().run_id

    def otherwise(job: Job) -> None:
        job.split(handlers["a"], numbers(1))
        job.split(handlers["b"], numbers(1), after=[])

    diagram.split = otherwise
    with pytest.raises(PushRefused, match="Step 2 waited for other steps"):
        settle(queue, instance)
    assert instance.show(run_id)["state"] == "failed"


def test_a_run_whose_splitter_dies_between_two_steps_is_gone_on_with(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory, clock: ManualClock
) -> None:
    instance, handlers = made
    dying = True

    def split(job: Job) -> None:
        job.split(handlers["a"], numbers(2))
        if dying:
            raise Killed
        job.split(handlers["b"], numbers(2), after=[])

    diagram.split = split
    with pytest.raises(Killed):
        instance.start()
    settle(queue, instance)
    dying = False
    (run,) = instance.progress.list()
    assert run["state"] == "splitting"
    assert instance.sweeps.resume() == {"resumed": 0}, "its lease lives"
    clock.advance(61)
    assert instance.sweeps.resume() == {"resumed": 1}
    settle(queue, instance)
    assert names(diagram) == "ab"
    assert instance.show(run["run_id"])["state"] == "completed"


def test_a_continuation_is_asked_for_once_and_the_sweep_goes_on_where_it_is_lost(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory
) -> None:
    instance, handlers = made
    diagram.split = in_a_row(handlers, {"a": 4, "b": 1})
    run_id = instance.start().run_id
    first, second = queue.tasks.values()
    instance.deliver(first, [1, 2])
    assert instance.asked_to_go_on == []
    instance.deliver(second, [3, 4])
    instance.deliver(second, [3, 4])
    assert instance.asked_to_go_on == [run_id]
    instance.asked_to_go_on.clear()
    queue.tasks.clear()
    assert instance.sweeps.resume() == {"resumed": 1}
    assert instance.sweeps.resume() == {"resumed": 0}
    settle(queue, instance)
    assert names(diagram) == "aab"
    assert instance.show(run_id)["state"] == "completed"


def test_time_that_runs_out_in_the_second_step_costs_no_item(
    diagram: Diagram, database: Database, queue: QueueInMemory, clock: ManualClock
) -> None:
    policy = RunPolicy(chunk_batches=1)
    (instance,), handlers = instances(diagram, "ab", database, queue, clock, policy=policy, job_time=-1.0)
    diagram.split = in_a_row(handlers, {"a": 3, "b": 5})
    run_id = instance.start().run_id
    settle(queue, instance)
    assert [items for name, items in diagram.worked if name == "b"] == [[1, 2], [3, 4], [5]]
    assert diagram.called > 4, "each call wrote one batch"
    assert instance.show(run_id)["state"] == "completed"


def test_a_step_behind_a_barrier_that_is_ready_does_not_call_the_function_again_and_again(
    made: tuple[Instance, Handlers], diagram: Diagram, queue: QueueInMemory, database: Database
) -> None:
    """As a person's retry leaves it: the barrier waits once more, and behind it a step does not."""
    instance, handlers = made

    def split(job: Job) -> None:
        a = job.split(handlers["a"], numbers(1))
        job.split(handlers["b"], numbers(1), after=[a])
        job.split(handlers["c"], numbers(1))
        job.split(handlers["d"], numbers(1), after=[])

    diagram.split = split
    run_id = instance.start().run_id
    settle(queue, instance)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_steps SET ended_at = NULL WHERE number = 1")
        connection.exec_driver_sql("UPDATE headrace_steps SET ended_at = NULL, sealed = false WHERE number > 2")
        connection.exec_driver_sql(
            "UPDATE headrace_runs SET state = 'splitting', sealed = false, ended_at = NULL, lease_until = 0"
        )
    assert instance.starter.resume(run_id)
    assert instance.asked_to_go_on == []
    assert instance.show(run_id)["state"] == "running"
