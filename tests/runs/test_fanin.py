"""How steps and runs end, whatever ends them, in whatever order, and however many do at one moment."""

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.execution.batch import Batch
from headrace.runs.job import Job, Step
from tests.instance import Instance
from tests.queue_in_memory import QueueInMemory
from tests.runs.diagram import Diagram, instances, numbers, settle


@pytest.mark.parametrize("_round", range(5))
def test_the_last_batches_of_two_steps_at_one_moment_start_the_next_step_once(
    database: Database, queue: QueueInMemory, clock: ManualClock, _round: int
) -> None:
    diagram = Diagram()
    both, handlers = instances(diagram, "abc", database, queue, clock, count=2)
    meeting = threading.Barrier(2, timeout=30)

    def split(job: Job) -> None:
        a = job.split(handlers["a"], numbers(1))
        b = job.split(handlers["b"], numbers(1), after=[])
        job.split(handlers["c"], numbers(3), after=[a, b])

    def meet(_batch: Batch) -> None:
        meeting.wait()

    diagram.split = split
    run_id = both[0].start().run_id
    diagram.on_work = meet
    pushes = list(queue.tasks.values())
    queue.tasks.clear()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda instance, push: instance.deliver(push, [1]), both, pushes))
    diagram.on_work = lambda _batch: None
    asked = [run for instance in both for run in instance.asked_to_go_on]
    assert asked == [run_id]
    assert sorted(instance.starter.resume(run_id) for instance in both) == [False, True]
    settle(queue, both[0])
    assert Counter(name for name, _ in diagram.worked) == {"a": 1, "b": 1, "c": 2}
    assert both[0].show(run_id)["state"] == "completed"


@dataclass(frozen=True)
class Planned:
    """A step of a random job. `after` numbers steps before it, None is all of them."""

    items: int
    after: frozenset[int] | None
    even_if_failed: bool
    fails: bool


@st.composite
def plans(draw: st.DrawFn) -> list[Planned]:
    count = draw(st.integers(1, 6))
    return [
        Planned(
            items=draw(st.integers(0, 5)),
            after=draw(st.none() | st.frozensets(st.integers(1, number - 1)) if number > 1 else st.none()),
            even_if_failed=draw(st.booleans()),
            fails=draw(st.integers(0, 3)) == 0,
        )
        for number in range(1, count + 1)
    ]


def expected_states(plan: list[Planned]) -> list[str]:
    """How each step ends, from the plan alone."""
    states: list[str] = []
    for number, step in enumerate(plan, 1):
        upstream = range(1, number) if step.after is None else step.after
        if not step.even_if_failed and any(states[other - 1] != "completed" for other in upstream):
            states.append("left out")
        else:
            states.append("failed" if step.fails and step.items else "completed")
    return states


class Killed(BaseException):
    """A process dies here."""


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=plans(), seed=st.integers(0, 10_000))
@example(
    plan=[Planned(3, None, False, True), Planned(2, frozenset(), False, False), Planned(2, None, True, False)], seed=1
)
def test_any_job_of_several_steps_ends_with_each_batch_done_once(
    database: Database, plan: list[Planned], seed: int
) -> None:
    chance = random.Random(seed)
    queue, clock = QueueInMemory(), ManualClock(1_800_000_000.0)
    diagram = Diagram()
    letters = "abcdef"[: len(plan)]
    both, handlers = instances(diagram, letters, database, queue, clock, count=2)
    diagram.failing = {letter for letter, step in zip(letters, plan, strict=True) if step.fails}

    def split(job: Job) -> None:
        steps: list[Step] = []
        for letter, step in zip(letters, plan, strict=True):
            if chance.random() < 0.1:
                raise Killed
            after = None if step.after is None else [steps[number - 1] for number in sorted(step.after)]
            steps.append(
                job.split(handlers[letter], numbers(step.items), after=after, even_if_failed=step.even_if_failed)
            )

    def fail_now_and_then(_batch: Batch) -> None:
        if chance.random() < 0.2:
            diagram.worked.pop()
            raise ConnectionError("once more")

    diagram.split, diagram.on_work = split, fail_now_and_then
    # Tracebacks of what is meant to fail would cost more than all else.
    with capture_logs():
        run_id = begin(both[0])
        while both[0].show(run_id)["ended_at"] is None:
            act(chance, queue, clock, both)

    shown = both[0].show(run_id)
    states = [step["state"] for step in shown["steps"]]
    assert states == expected_states(plan)
    assert shown["state"] == ("completed" if set(states) == {"completed"} else "failed")
    assert all(diagram.upstream), "a step began before what it waits for had ended"
    worked = Counter((name, item) for name, items in diagram.worked for item in items)
    begun = [(letter, step) for letter, step, state in zip(letters, plan, states, strict=True) if state != "left out"]
    assert worked == Counter((letter, item) for letter, step in begun for item in range(1, step.items + 1))
    assert shown["items"] == sum(step.items for _, step in begun) == shown["items_done"] + shown["items_failed"]
    assert shown["tasks"]["total"] == shown["tasks"]["done"] + shown["tasks"]["dead"]
    assert not queue.tasks


def begin(instance: Instance) -> str:
    """Start the job; the run's id, also when its splitter dies."""
    try:
        return instance.start().run_id
    except Killed:
        (run,) = instance.progress.list(state="splitting")
        return str(run["run_id"])


def act(chance: random.Random, queue: QueueInMemory, clock: ManualClock, both: list[Instance]) -> None:
    """One thing that may happen next: a delivery, a continuation that arrives or is lost, a sweep behind a death."""
    instance = chance.choice(both)
    asked = instance.asked_to_go_on
    try:
        if queue.tasks and chance.random() < 0.8:
            name = chance.choice(list(queue.tasks))
            push = queue.tasks[name]
            instance.deliver(push, orjson.loads(push.body))
            del queue.tasks[name]
        elif asked:
            run_id = asked.pop()
            if chance.random() < 0.7:
                instance.starter.resume(run_id)
        elif not queue.tasks:
            clock.advance(61)
            instance.sweeps.sweep()
    except (Killed, ConnectionError):
        return
