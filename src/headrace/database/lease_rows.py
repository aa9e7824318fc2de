"""Queries of leases: what keeps two attempts of one batch apart. Times are epoch milliseconds.

A lease is on the batch's own row. Who holds it changes the row only while the fencing number is still its own; who
comes late changes nothing and is told so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, func, or_, select, update

from headrace.database.prepared import Prepared
from headrace.database.states import BatchState, Cause
from headrace.database.tables import batches, steps


@dataclass(frozen=True, slots=True)
class Lease:
    """What an attempt holds: the batch is its own while the fence is.

    `attempt` counts from 1. `failures` and `losses` count attempts before it. `outcomes` has a letter an item, None
    while all are left; `saved` is the JSON text that an attempt before it kept.
    """

    batch_id: int
    run_id: str
    step_id: int
    number: int
    item_count: int
    generation: int
    fence: int
    attempt: int
    failures: int
    losses: int
    outcomes: str | None
    saved: str | None
    order_key: str | None
    queue: str | None
    handler: str
    started_at: int
    until: int


_OWN: list[ColumnElement[Any]] = [
    batches.c[name]
    for name in (
        "run_id",
        "step_id",
        "number",
        "item_count",
        "generation",
        "fence",
        "attempt",
        "failures",
        "losses",
        "outcomes",
        "saved",
        "order_key",
        "queue",
    )
]
_OWN.append(select(steps.c.handler).where(steps.c.id == batches.c.step_id).scalar_subquery().label("handler"))
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
    .returning(*_OWN)
)


def lease_batch(connection: Connection, batch_id: int, *, generation: int, now: int, until: int) -> Lease | None:
    """Take a waiting batch for one attempt; None when it does not wait in this generation."""
    values = {"batch_id": batch_id, "batch_generation": generation, "now": now, "until": until}
    rows: list[Any] = _lease.rows(connection, values)
    return _held((batch_id, *rows[0], now, until)) if rows else None


def hold_delivered(connection: Connection, batch_id: int, *, generation: int) -> BatchState | None:
    """Lock the row of a batch for this transaction; its state, None when it is not of this generation."""
    statement = (
        select(batches.c.state)
        .where(batches.c.id == batch_id, batches.c.generation == generation)
        # As an update locks it: whoever writes rows that refer to it goes on.
        .with_for_update(key_share=True)
    )
    state = connection.execute(statement).scalar_one_or_none()
    return None if state is None else BatchState(state)


def count_live(connection: Connection, *, now: int, at_most: int) -> int:
    """Leases that have not ended, counted up to `at_most`. Until the transaction ends nobody else who counts takes one.

    So whoever counts waits for no row from here on: all that it changes afterwards it has locked before.
    SQLite has one writer anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_CAP)))
    some = (
        select(batches.c.id)
        .where(batches.c.state == BatchState.RUNNING, batches.c.lease_until > now)
        .limit(at_most)
        .subquery()
    )
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def waiting_of(connection: Connection, batch_ids: Sequence[int]) -> set[int]:
    """Those of some batches that wait to be executed."""
    waits = batches.c.state.in_((BatchState.PENDING, BatchState.PUSHED))
    return set(connection.execute(select(batches.c.id).where(batches.c.id.in_(batch_ids), waits)).scalars())


_CAP = 0x48524341
"""Who counts leases holds this advisory lock."""


@dataclass(frozen=True, slots=True)
class PutOff:
    """A batch that found no place: which run's it is, and its queue where that has a cap."""

    run_id: str
    queue: str | None


def put_off(connection: Connection, batch_id: int, *, generation: int, due_at: int) -> PutOff | None:
    """Have a batch pushed again for a later time, as its next generation; None when it does not wait in this one."""
    statement = (
        update(batches)
        .where(
            batches.c.id == batch_id,
            batches.c.generation == generation,
            batches.c.state.in_((BatchState.PENDING, BatchState.PUSHED)),
        )
        .values(
            state=BatchState.PENDING,
            generation=batches.c.generation + 1,
            due_at=due_at,
            check_at=None,
            cause=Cause.CAPPED,
        )
        .returning(batches.c.run_id, batches.c.queue)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else PutOff(row.run_id, row.queue)


_owned = (
    batches.c.id == bindparam("batch_id"),
    batches.c.fence == bindparam("own_fence"),
    batches.c.state == BatchState.RUNNING,
)
_hold = Prepared(update(batches).where(*_owned).values(fence=batches.c.fence))


def hold_batch(connection: Connection, lease: Lease) -> bool:
    """Lock the batch's row for this transaction; False when the attempt no longer owns it."""
    return _hold.count(connection, {"batch_id": lease.batch_id, "own_fence": lease.fence}) == 1


def take_over(connection: Connection, lease: Lease, *, until: int) -> Lease | None:
    """The same attempt under the next fence, for who goes on in its place; None when it no longer owns the batch."""
    statement = (
        update(batches)
        .where(*_owned)
        .values(fence=batches.c.fence + 1, lease_until=until)
        .returning(batches.c.outcomes, batches.c.saved)
    )
    row = connection.execute(statement, {"batch_id": lease.batch_id, "own_fence": lease.fence}).one_or_none()
    if row is None:
        return None
    return replace(lease, fence=lease.fence + 1, until=until, outcomes=row.outcomes, saved=row.saved)


_note = Prepared(update(batches).where(*_owned).values(outcomes=bindparam("new_outcomes")))


def note_outcomes(connection: Connection, lease: Lease, outcomes: str) -> bool:
    """Write how each item stands, and lock the batch's row; False when the attempt no longer owns it."""
    values = {"batch_id": lease.batch_id, "own_fence": lease.fence, "new_outcomes": outcomes}
    return _note.count(connection, values) == 1


def noted_outcomes(connection: Connection, batch_id: int) -> str | None:
    """How each item of a batch stands; None while nothing was noted."""
    found: str | None = connection.execute(select(batches.c.outcomes).where(batches.c.id == batch_id)).scalar_one()
    return found


def save(connection: Connection, lease: Lease, saved: str) -> bool:
    """Keep a value for the next attempt; False when the attempt no longer owns the batch."""
    statement = update(batches).where(*_owned).values(saved=saved)
    return connection.execute(statement, {"batch_id": lease.batch_id, "own_fence": lease.fence}).rowcount == 1


_leave = Prepared(
    update(batches)
    .where(*_owned)
    .values(
        state=bindparam("next_state"),
        lease_until=None,
        check_at=bindparam("next_check"),
        due_at=bindparam("next_due"),
        generation=batches.c.generation + bindparam("renewed"),
        attempt=batches.c.attempt - bindparam("uncounted"),
        failures=bindparam("new_failures"),
        losses=bindparam("new_losses"),
        outcomes=func.coalesce(bindparam("new_outcomes"), batches.c.outcomes),
        result=bindparam("new_result"),
        cause=bindparam("new_cause"),
        error=bindparam("last_error"),
        ended_at=bindparam("end"),
    )
)


def leave_batch(
    connection: Connection,
    lease: Lease,
    *,
    state: BatchState,
    check_at: int | None = None,
    due_at: int | None = None,
    renews: bool = False,
    counts: bool = True,
    failures: int = 0,
    losses: int = 0,
    outcomes: str | None = None,
    result: str | None = None,
    cause: str = "",
    error: str = "",
    ended_at: int | None = None,
) -> bool:
    """End the lease with what becomes of the batch; False when the attempt no longer owns it.

    `renews` makes it the next generation, `counts` says whether this was an attempt; `outcomes` None leaves them as
    they are. `check_at` is when a sweep may ask for the task of a batch that waits on its queue.
    """
    values: dict[str, Any] = {
        "batch_id": lease.batch_id,
        "own_fence": lease.fence,
        "next_state": state,
        "next_check": check_at,
        "next_due": due_at,
        "renewed": int(renews),
        "uncounted": int(not counts),
        "new_failures": failures,
        "new_losses": losses,
        "new_outcomes": outcomes,
        "new_result": result,
        "new_cause": cause,
        "last_error": error,
        "end": ended_at,
    }
    return _leave.count(connection, values) == 1


_RUNNING = select(batches.c.id, *_OWN, batches.c.started_at, batches.c.lease_until).where(
    batches.c.state == BatchState.RUNNING
)


def _held(row: Any) -> Lease:
    return Lease(*row)


def expired_leases(connection: Connection, *, now: int, limit: int) -> list[Lease]:
    """Leases whose time ended before their attempt said anything."""
    statement = _RUNNING.where(batches.c.lease_until <= now).order_by(batches.c.lease_until).limit(limit)
    return [_held(row) for row in connection.execute(statement)]


def expired_lease(connection: Connection, batch_id: int, *, now: int) -> Lease | None:
    """The lease of one batch, when its time has ended."""
    statement = _RUNNING.where(batches.c.id == batch_id, batches.c.lease_until <= now)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _held(row)


def running_leases(connection: Connection, run_id: str) -> list[Lease]:
    """The leases that attempts of a run hold."""
    return [_held(row) for row in connection.execute(_RUNNING.where(batches.c.run_id == run_id))]


def cancel_left(connection: Connection, batch_id: int, *, now: int) -> None:
    """Cancel a batch that its attempt has just left, in the same transaction."""
    values = {"state": BatchState.CANCELLED, "check_at": None, "due_at": None, "ended_at": now}
    connection.execute(update(batches).where(batches.c.id == batch_id).values(values))
