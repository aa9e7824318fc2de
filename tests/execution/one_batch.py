"""A run of one batch, and what is known of it: for tests of what a handler does with its items and effects."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, text

from headrace.clock import ManualClock
from headrace.database import Database, attempt_rows, batch_rows, effect_rows, item_rows
from headrace.database.attempt_rows import AttemptRow
from headrace.database.batch_rows import BatchRow
from headrace.database.effect_rows import EffectRow
from headrace.database.item_rows import ItemRow
from headrace.execution.batch import Batch
from headrace.runs.cancelling import cancel
from tests.instance import UNLIMITED, Instance, Numbers
from tests.queue_in_memory import QueueInMemory


class Killed(BaseException):
    """Stands for the death of the process: nothing behind it is executed."""


class OneBatch:
    """The items 1 to `count`; `handle` is set to what its handler does. Options are those of x-task."""

    def __init__(
        self,
        database: Database,
        queue: QueueInMemory,
        clock: ManualClock,
        handle: Callable[[Batch], Any],
        *,
        count: int = 3,
        retry: Any = UNLIMITED,
        **options: Any,
    ) -> None:
        self.database, self.queue, self.clock, self.handle = database, queue, clock, handle
        application = Numbers(count=count)
        application.work = lambda batch: self.handle(batch)  # type: ignore[method-assign]
        self.instance = Instance(database, queue, clock, application, batch_size=count, retry=retry)
        handler = self.instance.handler
        object.__setattr__(handler, "task", replace(handler.task, **options))
        self.run_id = self.instance.start().run_id
        self.items = list(range(1, count + 1))

    def deliver(self) -> None:
        """Deliver the one task on the queue, which forgets it when the answer is a success."""
        (push,) = self.queue.tasks.values()
        self.instance.deliver(push, self.items)
        del self.queue.tasks[push.name]

    def drain(self) -> int:
        """Deliver until no task is left; how many deliveries that were."""
        deliveries = 0
        while self.queue.tasks:
            self.deliver()
            deliveries += 1
        return deliveries

    def cancel(self) -> None:
        with self.database.write() as connection:
            assert cancel(connection, self.run_id, reason="enough", grace=5.0, now=int(self.clock.now() * 1000))

    def shown(self) -> dict[str, Any]:
        return self.instance.show(self.run_id)

    def row(self) -> BatchRow:
        with self.database.read() as connection:
            row = batch_rows.first_batch(connection, self.run_id)
        assert row is not None
        return row

    def attempts(self) -> list[AttemptRow]:
        batch_id = self.row().id
        with self.database.read() as connection:
            return attempt_rows.attempts_of(connection, batch_id)

    def troubled(self) -> list[ItemRow]:
        batch_id = self.row().id
        with self.database.read() as connection:
            return item_rows.list_items(connection, batch_id, limit=1_000)

    def effects(self) -> list[EffectRow]:
        batch_id = self.row().id
        with self.database.read() as connection:
            return effect_rows.list_effects(connection, batch_id)


def write(connection: Connection, number: int) -> None:
    """What a handler does with an item: see `tests.instance.written`."""
    connection.execute(text("INSERT INTO written (number, run) VALUES (:number, '')"), {"number": number})
