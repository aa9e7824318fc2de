"""Queries of batches and their attempts. Times are epoch milliseconds.

A batch changes state only by an update that names the state, generation or fence it expects and must touch one
row: who comes late changes nothing and is told so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, insert, or_, select, update
from sqlalchemy.engine import RowMapping

from headrace.database.prepared import Prepared
from headrace.database.states import BatchState, Outcome
from headrace.database.tables import attempts, batches, steps


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch as it stands, with its step's handler. `payload` is JSON text."""

    id: int
    run_id: str
    step_id: int
    number: int
    generation: int
    state: BatchState
    payload: str
    item_count: int
    lease_until: int | None
    fence: int
    attempt: int
    started_at: int | None
    error: str
    adopted_from: str | None
    handler: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What an attempt holds: the batch is its own while the fence is. `attempt` counts from 1."""

    batch_id: int
    run_id: str
    step_id: int
    number: int
    item_count: int
    fence: int
    attempt: int
    started_at: int
    until: int


_OWN = [batches.c[name] for name in BatchRow.__dataclass_fields__ if name != "handler"]
_SELECT = select(*_OWN, steps.c.handler).join(steps, steps.c.id == batches.c.step_id)


def _batch(row: RowMapping) -> BatchRow:
    values: dict[str, Any] = dict(row)
    values["state"] = BatchState(values["state"])
    return BatchRow(**values)


def find_batch(connection: Connection, batch_id: int) -> BatchRow | None:
    """The batch, or None."""
    row = connection.execute(_SELECT.where(batches.c.id == batch_id)).one_or_none()
    return None if row is None else _batch(row._mapping)


def find_adopted(connection: Connection, adopted_from: str) -> BatchRow | None:
    """The batch made for a task of somebody else, or None."""
    row = connection.execute(_SELECT.where(batches.c.adopted_from == adopted_from)).one_or_none()
    return None if row is None else _batch(row._mapping)


def insert_batches(
    connection: Connection,
    *,
    run_id: str,
    step_id: int,
    first_number: int,
    payloads: Sequence[tuple[str, int]],
) -> None:
    """Write pending batches, numbered in order; `payloads` are (JSON text, number of items)."""
    if not payloads:
        return
    connection.execute(
        insert(batches),
        [
            {
                "run_id": run_id,
                "step_id": step_id,
                "number": first_number + index,
                "state": BatchState.PENDING,
                "payload": payload,
                "item_count": items,
            }
            for index, (payload, items) in enumerate(payloads)
        ],
    )


def insert_adopted(
    connection: Connection, *, run_id: str, step_id: int, payload: str, items: int, adopted_from: str
) -> int:
    """Write the batch of a task that is already on a queue; its id."""
    statement = (
        insert(batches)
        .values(
            run_id=run_id,
            step_id=step_id,
            number=1,
            state=BatchState.PUSHED,
            payload=payload,
            item_count=items,
            adopted_from=adopted_from,
        )
        .returning(batches.c.id)
    )
    return int(connection.execute(statement).scalar_one())


def pending_batches(connection: Connection, *, limit: int, after: int = 0, run_id: str | None = None) -> list[BatchRow]:
    """Batches that were written and not pushed, in the order of their ids, from the one behind `after`."""
    statement = (
        _SELECT.where(batches.c.state == BatchState.PENDING, batches.c.id > after).order_by(batches.c.id).limit(limit)
    )
    if run_id is not None:
        statement = statement.where(batches.c.run_id == run_id)
    return [_batch(row) for row in connection.execute(statement).mappings()]


_mark_pushed = (
    update(batches)
    .where(
        batches.c.id == bindparam("batch_id"),
        batches.c.generation == bindparam("batch_generation"),
        batches.c.state == BatchState.PENDING,
    )
    .values(state=BatchState.PUSHED, check_at=bindparam("next_check"))
)


def mark_pushed(connection: Connection, pushed: Iterable[tuple[int, int]], *, check_at: int) -> None:
    """The driver has these (batch id, generation). One that a delivery overtook keeps its newer state."""
    rows = [
        {"batch_id": batch_id, "batch_generation": generation, "next_check": check_at}
        for batch_id, generation in pushed
    ]
    if rows:
        connection.execute(_mark_pushed, rows)


_lease = Prepared(
    update(batches)
    .where(
        batches.c.id == bindparam("batch_id"),
        batches.c.generation == bindparam("batch_generation"),
        or_(batches.c.state == BatchState.PENDING, batches.c.state == BatchState.PUSHED),
    )
    .values(
        state=BatchState.RUNNING,
        fence=batches.c.fence + 1,
        attempt=batches.c.attempt + 1,
        started_at=bindparam("now"),
        lease_until=bindparam("until"),
    )
    .returning(
        batches.c.run_id,
        batches.c.step_id,
        batches.c.number,
        batches.c.item_count,
        batches.c.fence,
        batches.c.attempt,
    )
)


def lease_batch(connection: Connection, batch_id: int, *, generation: int, now: int, until: int) -> Lease | None:
    """Take a waiting batch for one attempt; None when it does not wait in this generation."""
    values = {"batch_id": batch_id, "batch_generation": generation, "now": now, "until": until}
    for run_id, step_id, number, items, fence, attempt in _lease.rows(connection, values):
        return Lease(batch_id, run_id, step_id, number, items, fence, attempt, now, until)
    return None


_owned = (batches.c.id == bindparam("batch_id"), batches.c.fence == bindparam("own_fence"))
_hold = Prepared(update(batches).where(*_owned, batches.c.state == BatchState.RUNNING).values(fence=batches.c.fence))


def hold_batch(connection: Connection, lease: Lease) -> bool:
    """Lock the batch's row for this transaction; False when the attempt no longer owns it."""
    values = {"batch_id": lease.batch_id, "own_fence": lease.fence}
    return _hold.count(connection, values) == 1


_leave = Prepared(
    update(batches)
    .where(*_owned, batches.c.state == BatchState.RUNNING)
    .values(
        state=bindparam("next_state"),
        lease_until=None,
        check_at=bindparam("next_check"),
        error=bindparam("last_error"),
        ended_at=bindparam("end"),
    )
)
_record = insert(attempts)


def end_attempt(
    connection: Connection, lease: Lease, *, outcome: Outcome, now: int, check_at: int | None, error: str = ""
) -> bool:
    """End an attempt: its batch is done, or waits again; False when the attempt no longer owns it.

    The last attempt of a batch that is done stands on the batch's own row; every other becomes one of `attempts`.
    `check_at` is when a sweep may ask for the task of a batch that waits again.
    """
    done = outcome is Outcome.DONE
    left = _leave.count(
        connection,
        {
            "batch_id": lease.batch_id,
            "own_fence": lease.fence,
            "next_state": BatchState.DONE if done else BatchState.PUSHED,
            "next_check": None if done else check_at,
            "last_error": error,
            "end": now if done else None,
        },
    )
    if left != 1:
        return False
    if done:
        return True
    connection.execute(
        _record,
        {
            "batch_id": lease.batch_id,
            "run_id": lease.run_id,
            "number": lease.attempt,
            "outcome": outcome,
            "error": error,
            "started_at": lease.started_at,
            "ended_at": now,
        },
    )
    return True


def give_back(connection: Connection, lease: Lease, *, now: int) -> bool:
    """End a lease as if the attempt had not begun: it does not count. False when it was not held."""
    statement = (
        update(batches)
        .where(*_owned, batches.c.state == BatchState.RUNNING)
        .values(state=BatchState.PUSHED, lease_until=None, check_at=now, attempt=batches.c.attempt - 1)
    )
    values = {"batch_id": lease.batch_id, "own_fence": lease.fence}
    return connection.execute(statement, values).rowcount == 1


_LEASE = select(
    batches.c.id,
    batches.c.run_id,
    batches.c.step_id,
    batches.c.number,
    batches.c.item_count,
    batches.c.fence,
    batches.c.attempt,
    batches.c.started_at,
    batches.c.lease_until,
).where(batches.c.state == BatchState.RUNNING)


def expired_leases(connection: Connection, *, now: int, limit: int) -> list[Lease]:
    """Leases whose time ended before their attempt said anything."""
    statement = _LEASE.where(batches.c.lease_until <= now).order_by(batches.c.lease_until).limit(limit)
    return [Lease(*row) for row in connection.execute(statement)]


def expired_lease(connection: Connection, batch_id: int, *, now: int) -> Lease | None:
    """The lease of one batch, when its time has ended."""
    statement = _LEASE.where(batches.c.id == batch_id, batches.c.lease_until <= now)
    row = connection.execute(statement).one_or_none()
    return None if row is None else Lease(*row)


def batches_to_check(connection: Connection, *, now: int, limit: int) -> list[BatchRow]:
    """Pushed batches that are overdue: their task may have vanished."""
    statement = (
        _SELECT.where(batches.c.state == BatchState.PUSHED, batches.c.check_at <= now)
        .order_by(batches.c.check_at)
        .limit(limit)
    )
    return [_batch(row) for row in connection.execute(statement).mappings()]


def check_later(connection: Connection, batch_ids: Sequence[int], *, check_at: int) -> None:
    """These tasks still exist: ask again at `check_at`."""
    if batch_ids:
        connection.execute(
            update(batches)
            .where(batches.c.id.in_(batch_ids), batches.c.state == BatchState.PUSHED)
            .values(check_at=check_at)
        )


def _as_checked(batch: BatchRow) -> tuple[ColumnElement[bool], ...]:
    return (
        batches.c.id == batch.id,
        batches.c.state == batch.state,
        batches.c.generation == batch.generation,
        batches.c.attempt == batch.attempt,
    )


def renew_batch(connection: Connection, batch: BatchRow) -> bool:
    """Make a batch whose task vanished wait for its next push; False when it moved on meanwhile."""
    statement = (
        update(batches)
        .where(*_as_checked(batch))
        .values(state=BatchState.PENDING, generation=batches.c.generation + 1, check_at=None)
    )
    return connection.execute(statement).rowcount == 1


def bury_batch(connection: Connection, batch: BatchRow, *, error: str, now: int) -> bool:
    """End a batch as dead, with the reason; False when it moved on meanwhile."""
    statement = (
        update(batches)
        .where(*_as_checked(batch))
        .values(state=BatchState.DEAD, check_at=None, error=error, ended_at=now)
    )
    return connection.execute(statement).rowcount == 1


def count_running(connection: Connection, run_id: str) -> int:
    """Batches of a run that an attempt holds: costs as much as attempts are live, whatever the run's size."""
    statement = (
        select(func.count())
        .select_from(batches)
        .where(batches.c.run_id == run_id, batches.c.state == BatchState.RUNNING)
    )
    return int(connection.execute(statement).scalar_one())


def count_pending(connection: Connection, run_id: str, *, at_most: int) -> int:
    """Batches of a run that wait to be pushed, counted up to `at_most`."""
    some = (
        select(batches.c.id)
        .where(batches.c.run_id == run_id, batches.c.state == BatchState.PENDING)
        .limit(at_most)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """An attempt that ended: of which batch, the how-manieth, how and when."""

    batch_number: int
    number: int
    outcome: Outcome
    error: str
    started_at: int
    ended_at: int


def troubled_attempts(connection: Connection, run_id: str, *, limit: int) -> list[AttemptRow]:
    """The latest attempts of a run that did not end well, newest first."""
    statement = (
        select(
            batches.c.number,
            attempts.c.number,
            attempts.c.outcome,
            attempts.c.error,
            attempts.c.started_at,
            attempts.c.ended_at,
        )
        .join(batches, batches.c.id == attempts.c.batch_id)
        .where(attempts.c.run_id == run_id, attempts.c.outcome != Outcome.DONE)
        .order_by(attempts.c.ended_at.desc(), attempts.c.id.desc())
        .limit(limit)
    )
    return [
        AttemptRow(batch_number, number, Outcome(outcome), error, started_at, ended_at)
        for batch_number, number, outcome, error, started_at, ended_at in connection.execute(statement)
    ]
