"""Queries of attempts that have ended. The one that did its batch stands on the batch's row alone."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from headrace.database.facts import AttemptEnded, note
from headrace.database.lease_rows import Lease
from headrace.database.states import Outcome
from headrace.database.tables import attempts, batches


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt that ended: of which batch, the how-manieth, how and when (epoch milliseconds).

    `trace` is the traceback of its error, cut at its beginning where it is long.
    """

    batch_id: int
    batch_number: int
    number: int
    outcome: Outcome
    error: str
    trace: str
    started_at: int
    ended_at: int


_record = insert(attempts)
_SELECT = select(
    attempts.c.batch_id,
    batches.c.number,
    attempts.c.number,
    attempts.c.outcome,
    attempts.c.error,
    attempts.c.trace,
    attempts.c.started_at,
    attempts.c.ended_at,
).join(batches, batches.c.id == attempts.c.batch_id)


# The next one begins with the same number.
_UNCOUNTED = (Outcome.CONTINUED, Outcome.SNOOZED, Outcome.RELEASED)


def note_attempt(connection: Connection, lease: Lease, *, outcome: Outcome, now: int) -> None:
    """Tell the database's observer of an attempt that ended."""
    again = lease.attempt > 1 and outcome not in _UNCOUNTED
    note(connection, AttemptEnded(lease.handler, outcome, (now - lease.started_at) / 1000, again))


def record_attempt(connection: Connection, lease: Lease, *, outcome: Outcome, error: str, trace: str, now: int) -> None:
    """Write down an attempt that ended."""
    note_attempt(connection, lease, outcome=outcome, now=now)
    values = {
        "batch_id": lease.batch_id,
        "run_id": lease.run_id,
        "number": lease.attempt,
        "outcome": outcome,
        "error": error,
        "trace": trace,
        "started_at": lease.started_at,
        "ended_at": now,
    }
    connection.execute(_record, values)


def attempts_of(connection: Connection, batch_id: int) -> list[AttemptRow]:
    """The attempts of a batch in order."""
    statement = _SELECT.where(attempts.c.batch_id == batch_id).order_by(attempts.c.number, attempts.c.id)
    return [_attempt(*row) for row in connection.execute(statement)]


def troubled_attempts(connection: Connection, run_id: str, *, limit: int) -> list[AttemptRow]:
    """The latest attempts of a run that did not end well, newest first."""
    # They are found before their batches are looked up: a run may have had many.
    latest = (
        select(attempts.c.id)
        .where(attempts.c.run_id == run_id, attempts.c.outcome != Outcome.DONE)
        .order_by(attempts.c.ended_at.desc(), attempts.c.id.desc())
        .limit(limit)
        .subquery()
    )
    statement = _SELECT.join(latest, latest.c.id == attempts.c.id)
    statement = statement.order_by(attempts.c.ended_at.desc(), attempts.c.id.desc())
    return [_attempt(*row) for row in connection.execute(statement)]


def first_of_the_last(connection: Connection, batch_id: int, count: int) -> int | None:
    """When the first of a batch's last `count` attempts began; None when there were none."""
    statement = (
        select(attempts.c.started_at)
        .where(attempts.c.batch_id == batch_id)
        .order_by(attempts.c.number.desc(), attempts.c.id.desc())
        .limit(count)
    )
    found = list(connection.execute(statement).scalars())
    return min(found) if found else None


def _attempt(
    batch_id: int, batch_number: int, number: int, outcome: str, error: str, trace: str, started_at: int, ended_at: int
) -> AttemptRow:
    return AttemptRow(batch_id, batch_number, number, Outcome(outcome), error, trace, started_at, ended_at)
