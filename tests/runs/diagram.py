"""A job of several steps, whose handlers write down what they do and fail when they are told to."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from headrace.clock import Clock
from headrace.contract.operations import Operation, Overlap
from headrace.database import Database, step_rows
from headrace.errors import PermanentFailure
from headrace.execution.batch import Batch
from headrace.runs.job import Items, Job
from tests.instance import Instance, Numbers, handler
from tests.queue_in_memory import QueueInMemory


def numbers(count: int, *, first: int = 1) -> Items:
    """The items first, first + 1, … : `count` of them."""
    return lambda connection, after: iter(range(max(first, (after or 0) + 1), first + count))


@dataclass
class Diagram(Numbers):
    """`split` is the job's function. `failing` names handlers whose batches die, `worked` is who did what in order.

    `upstream` of each batch that began: the steps that its step waits for, and whether each had ended.
    """

    split: Callable[[Job], None] = lambda job: None
    failing: set[str] = field(default_factory=set)
    worked: list[tuple[str, list[Any]]] = field(default_factory=list)
    upstream: list[bool] = field(default_factory=list)
    called: int = 0

    def job(self, job: Job, **parameters: Any) -> None:
        self.called += 1
        self.split(job)

    def handler(self, name: str) -> Callable[[Batch], None]:
        """The function of the handler with this name."""

        def work(batch: Batch) -> None:
            with batch.read() as connection:
                steps = step_rows.list_steps(connection, batch.run_id)
            (own,) = (step for step in steps if step.handler == f"handlers.{name}")
            self.upstream += [step.ended_at is not None for step in steps if step.number in own.after]
            self.worked.append((name, batch.items))
            self.on_work(batch)
            if name in self.failing:
                raise PermanentFailure(f"{name} fails")

        return work


def instances(
    diagram: Diagram,
    names: str,
    database: Database,
    queue: QueueInMemory,
    clock: Clock,
    *,
    count: int = 1,
    **options: Any,
) -> tuple[list[Instance], dict[str, Callable[..., Any]]]:
    """Instances that share a database and a queue, and the functions of the handlers: one a letter of `names`."""
    functions = {name: diagram.handler(name) for name in names}
    others: list[Operation] = [handler(name, work, batch_size=2) for name, work in functions.items()]
    made = [
        Instance(database, queue, clock, diagram, others=others, overlap=Overlap.ALLOW, **options) for _ in range(count)
    ]
    return made, functions


def settle(queue: QueueInMemory, instance: Instance) -> None:
    """Deliver, and go on with runs that ask for it, until nothing is left to do."""
    while queue.tasks or instance.asked_to_go_on:
        while queue.tasks:
            name, push = next(iter(queue.tasks.items()))
            instance.deliver(push, orjson.loads(push.body))
            del queue.tasks[name]
        while instance.asked_to_go_on:
            instance.starter.resume(instance.asked_to_go_on.pop(0))
