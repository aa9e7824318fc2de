"""What a handler is given."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.database import Database, batch_rows
from headrace.database.batch_rows import Lease
from headrace.database.states import Outcome
from headrace.errors import LostLease
from headrace.execution.delivery import Delivery
from headrace.execution.ending import end_attempt


class Batch:
    """The items of one task, and the attempt that works on them.

    `payload` is the JSON value. `items` are its elements where it is an array, else the payload alone; where the
    contract names a marshmallow schema, they are what the schema makes of them. `attempt` is 1 for the first
    execution; `now` is when the attempt began and `deadline` when its time limit ends, in epoch seconds; `delivery`
    tells what the queue said of this push (its retry_count is 0 for the first). `completed` says whether a
    transaction has ended the batch already.
    """

    __slots__ = (
        "_clock",
        "_database",
        "_lease",
        "attempt",
        "completed",
        "deadline",
        "delivery",
        "items",
        "now",
        "number",
        "payload",
        "run_id",
    )

    def __init__(
        self,
        payload: Any,
        items: list[Any],
        delivery: Delivery,
        lease: Lease,
        *,
        database: Database,
        clock: Clock,
        now: float,
        deadline: float,
    ) -> None:
        self.payload = payload
        self.items = items
        self.delivery = delivery
        self.run_id = lease.run_id
        self.number = lease.number
        self.attempt = lease.attempt
        self.completed = False
        self.now = now
        self.deadline = deadline
        self._lease = lease
        self._database = database
        self._clock = clock

    def remaining(self) -> float:
        """Seconds left of the time limit; below 0 when it has passed."""
        return self.deadline - self._clock.now()

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for reading."""
        return self._database.read()

    @contextmanager
    def transaction(self, *, completes: bool = False) -> Iterator[Connection]:
        """A transaction that is kept only while this attempt owns the batch.

        With `completes`, the batch is done when, and only when, this transaction commits: the work and its completion
        cannot part, and no second attempt finds the work done and the batch not. Keep it short and do no other I/O
        inside.

        Raises:
            LostLease: another attempt owns the batch now; nothing of this transaction is kept.
        """
        with self._database.write() as connection:
            if not batch_rows.hold_batch(connection, self._lease):
                raise self._lost()
            yield connection
            if completes:
                now = int(self._clock.now() * 1000)
                if not end_attempt(connection, self._lease, Outcome.DONE, now=now):
                    raise self._lost()
        self.completed = self.completed or completes

    def _lost(self) -> LostLease:
        return LostLease(f"Batch {self.number} of run {self.run_id} is another attempt's now.")
