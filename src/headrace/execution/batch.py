"""What a handler is given."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NoReturn, TypeVar

import orjson
from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.database import Database
from headrace.database.lease_rows import Lease
from headrace.execution.control import ContinueLater
from headrace.execution.delivery import Delivery
from headrace.execution.effects import do_once
from headrace.execution.ending import Ending
from headrace.execution.hold import Hold
from headrace.execution.items import Item, Round

T = TypeVar("T")


class Batch:
    """The items of one task, and the attempt that works on them.

    `payload` is the JSON value. `items` are its elements where it is an array, else the payload alone; where the
    contract names a marshmallow schema, they are what the schema makes of them. `attempt` is 1 for the first
    execution; `now` is when the attempt began and `deadline` when its time limit ends, in epoch seconds; `delivery`
    tells what the queue said of this push (its retry_count is 0 for the first). `saved` is what `checkpoint` kept
    last, in this attempt or one before it; None at first.
    """

    __slots__ = (
        "_hold",
        "_permanent",
        "attempt",
        "deadline",
        "delivery",
        "items",
        "now",
        "number",
        "payload",
        "run_id",
        "saved",
    )

    def __init__(
        self,
        payload: Any,
        delivery: Delivery,
        lease: Lease,
        *,
        database: Database,
        clock: Clock,
        now: float,
        deadline: float,
        permanent: tuple[type[Exception], ...] = (),
    ) -> None:
        self.payload = payload
        self.items: list[Any] = payload if isinstance(payload, list) else [payload]
        self.delivery = delivery
        self.run_id = lease.run_id
        self.number = lease.number
        self.attempt = lease.attempt
        self.now = now
        self.deadline = deadline
        self.saved: Any = None if lease.saved is None else orjson.loads(lease.saved)
        self._permanent = permanent
        self._hold = Hold(lease, database=database, clock=clock, deadline=deadline)

    @property
    def outcomes(self) -> str | None:
        """A letter an item, as they stand now; None while nothing was noted of items."""
        return self._hold.outcomes

    @property
    def ending(self) -> Ending | None:
        """How a transaction has ended this attempt already; None while none has."""
        return self._hold.ending

    @property
    def warning(self) -> str:
        """What `warn` was told, a line each."""
        return "\n".join(self._hold.warnings)

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the run; asks the database at most once a second."""
        return self._hold.cancelled

    def remaining(self) -> float:
        """Seconds left of the time limit; below 0 when it has passed."""
        return self._hold.remaining()

    def read(self) -> AbstractContextManager[Connection]:
        """A connection for reading."""
        return self._hold.database.read()

    @contextmanager
    def transaction(self, *, completes: bool = False) -> Iterator[Connection]:
        """A transaction that is kept only while this attempt owns the batch.

        With `completes`, the batch is done when, and only when, this transaction commits: the work and its completion
        cannot part, and no second attempt finds the work done and the batch not. Keep it short and do no other I/O
        inside.

        Raises:
            LostLease: another attempt owns the batch now; nothing of this transaction is kept.
            Cancel: the run was cancelled.
        """
        with self._hold.transaction() as connection:
            yield connection
            if completes:
                self._hold.complete(connection)

    def for_each(self, work: Callable[[Item], object]) -> None:
        """Work on each item that is left, one after the other. A handler calls it, or `write_each`, once.

        An item is done when its transaction commits or, where its work opens none, when its work returns. One whose
        work raises is left for the next attempt, and the others go on; PermanentFailure and the errors of
        `x-task.permanent` fail it for good, and not the batch. Retry, Snooze and Cancel mean what they mean of a
        batch. Near the deadline, after one item at least, what is left goes on as the next task.

        Raises:
            ItemsFailed: all were tried, and these are left.
            LostLease: another attempt owns the batch now.
            Cancel: the run was cancelled.
        """
        self._round().for_each(work)

    def write_each(self, work: Callable[[Connection, Any], object]) -> None:
        """As `for_each`, for work that writes the database alone: many items share one fenced transaction.

        An item whose work raises takes back its own writes and no other's. A transaction has at most 100 items and
        lasts about 0.2 s; the one that leaves no item is the one that completes the batch.
        """
        self._round().write_each(work)

    def once(self, key: str, effect: Callable[[str], T], *, repeatable: bool = False) -> T:
        """Cause a side effect that must happen once: the result of `effect`, as JSON keeps it.

        Its first caller calls `effect` with an idempotency key, which is the same in every attempt of this batch; the
        attempts behind it get the result that was kept. `key` tells the effects of one batch apart. With
        `repeatable`, whoever it reaches takes the idempotency key, so what was begun, or raised, is called again
        with it. Without, such an effect is in doubt: this method does not return, and the batch waits for a person's
        decision, unless the effect raised EffectNotDone. Not inside a transaction.

        Raises:
            EffectNotDone: as `effect` raised it; the next attempt calls it again.
            Exception: what a repeatable `effect` raised.
            LostLease: another attempt owns the batch now.
            Cancel: the run was cancelled.
        """
        return do_once(self._hold, key, effect, repeatable=repeatable)

    def checkpoint(self, value: Any) -> None:
        """Keep a JSON value for the next attempt of this batch, which finds it as `saved`.

        Inside a transaction of this batch it is kept when that commits.

        Raises:
            LostLease: another attempt owns the batch now.
        """

        def committed() -> None:
            self.saved = value

        self._hold.save(orjson.dumps(value).decode(), committed)

    def continue_later(self) -> NoReturn:
        """End this attempt here: what is left goes on as the next task, and that is no failure."""
        raise ContinueLater

    def warn(self, text: str) -> None:
        """Be done, but with a warning that people see; it counts in the attempt that is done."""
        self._hold.warnings.append(text)

    def _round(self) -> Round:
        values = self.payload if isinstance(self.payload, list) else [self.payload]
        limit = self.deadline - self.now
        return Round(self._hold, self.items, values, time_limit=limit, permanent=self._permanent)
