"""An attempt's hold on its batch: what it writes is kept only while the batch is its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection

from headrace.clock import Clock
from headrace.database import Database, lease_rows, run_rows
from headrace.database.lease_rows import Lease
from headrace.database.states import RunState
from headrace.errors import Cancel, LostLease
from headrace.execution import verdicts
from headrace.execution.ending import Ending, end_attempt

T = TypeVar("T")
_CANCEL_ASKED_EVERY = 1.0


class Hold:
    """The lease of one attempt, and the writes under it. For one thread.

    `deadline` is in epoch seconds. `outcomes` has a letter an item as they were committed last, None while nothing
    was noted. `ending` is set once a transaction has ended the attempt. `warnings` are what the attempt warned of.
    """

    __slots__ = (
        "_asked_at",
        "_next",
        "_open",
        "clock",
        "database",
        "deadline",
        "ending",
        "lease",
        "outcomes",
        "warnings",
    )

    def __init__(self, lease: Lease, *, database: Database, clock: Clock, deadline: float) -> None:
        self.lease = lease
        self.database = database
        self.clock = clock
        self.deadline = deadline
        self.outcomes = lease.outcomes
        self.ending: Ending | None = None
        self.warnings: list[str] = []
        self._asked_at = lease.started_at / 1000
        self._open: Connection | None = None
        # Outcomes and ending as they are when the open transaction commits.
        self._next: tuple[str | None, Ending | None] = (self.outcomes, None)

    @property
    def cancelled(self) -> bool:
        """Whether somebody cancelled the run; asks the database at most once a second."""
        now = self.clock.now()
        if now - self._asked_at < _CANCEL_ASKED_EVERY:
            return False
        self._asked_at = now
        with self.database.read() as connection:
            return run_rows.state_of(connection, self.lease.run_id) is RunState.CANCELLING

    def now_ms(self) -> int:
        """Now, in epoch milliseconds."""
        return int(self.clock.now() * 1000)

    def remaining(self) -> float:
        """Seconds left of the time limit; below 0 when it has passed."""
        return self.deadline - self.clock.now()

    def stop_if_cancelled(self) -> None:
        """Raise Cancel when the run was cancelled."""
        if self.cancelled:
            raise Cancel("The run was cancelled.")

    @contextmanager
    def transaction(self, outcomes: str | None = None) -> Iterator[Connection]:
        """A transaction that is kept only while the batch is the attempt's own; with it, how its items then stand.

        Raises LostLease, and Cancel when the run was cancelled.
        """
        self.stop_if_cancelled()
        with self.database.write() as connection:
            # Before what the author's work has called then: nothing that fails there hides that this has committed.
            self.database.after_commit(connection, self._committed)
            self._next = self.outcomes, self.ending
            if outcomes is not None:
                self.note(connection, outcomes)
            elif not lease_rows.hold_batch(connection, self.lease):
                raise lost(self.lease)
            self._open = connection
            try:
                yield connection
            finally:
                self._open = None

    def write(self, change: Callable[[Connection], T], outcomes: str | None = None) -> T:
        """What `change` returns, made in a short transaction as above that may share its commit with others'.

        A run that was cancelled does not stop it. Raises LostLease.
        """

        def fenced(connection: Connection) -> tuple[T] | None:
            if outcomes is None:
                own = lease_rows.hold_batch(connection, self.lease)
            else:
                own = lease_rows.note_outcomes(connection, self.lease, outcomes)
            return (change(connection),) if own else None

        written = self.database.write_together(fenced)
        if written is None:
            raise lost(self.lease)
        self.outcomes = outcomes or self.outcomes
        return written[0]

    def note(self, connection: Connection, outcomes: str) -> None:
        """Write how the items stand, in an open transaction. Raises LostLease."""
        if not lease_rows.note_outcomes(connection, self.lease, outcomes):
            raise lost(self.lease)
        self._next = outcomes, self.ending

    def save(self, text: str, committed: Callable[[], object]) -> None:
        """Keep JSON text for the next attempt, in the transaction that is open, or else in one of its own.

        Calls `committed` when it is kept. Raises LostLease.
        """
        if self._open is not None:
            saved = lease_rows.save(self._open, self.lease, text)
            self.database.after_commit(self._open, committed)
        else:
            saved = self.database.write_together(lambda connection: lease_rows.save(connection, self.lease, text))
        if not saved:
            raise lost(self.lease)
        if self._open is None:
            committed()

    def complete(self, connection: Connection, outcomes: str | None = None) -> None:
        """Have the batch be done when the open transaction commits. Raises LostLease."""
        outcomes = outcomes or self.outcomes
        verdict = verdicts.done(warning="\n".join(self.warnings))
        ending = end_attempt(connection, self.lease, verdict, now=self.now_ms(), outcomes=outcomes)
        if ending is None:
            raise lost(self.lease)
        self._next = outcomes, ending

    def _committed(self) -> None:
        self.outcomes, self.ending = self._next


def lost(lease: Lease) -> LostLease:
    """The error to raise when a batch is not the attempt's own any more."""
    return LostLease(f"Batch {lease.number} of run {lease.run_id} is another attempt's now.")
