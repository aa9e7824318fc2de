"""Queries of batches. Times are epoch milliseconds.

A batch changes state only by an update that names the state, generation or fence it expects and must touch one
row: who comes late changes nothing and is told so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.engine import RowMapping

from headrace.database.states import LIVE, BatchState, Cause
from headrace.database.tables import batches, runs, steps


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch as it stands, with its step's handler and its run's trace context. Payload, saved, result: JSON text.

    `due_at`: it is not to be pushed for a time before. `queue` is set where its queue has a cap.
    """

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
    check_at: int | None
    adopted_from: str | None
    due_at: int | None
    order_key: str | None
    queue: str | None
    failures: int
    losses: int
    outcomes: str | None
    saved: str | None
    result: str | None
    cause: str
    error: str
    ended_at: int | None
    handler: str
    trace: str | None


_trace = select(runs.c.trace).where(runs.c.id == batches.c.run_id).scalar_subquery().label("trace")
_OWN = [batches.c[name] for name in BatchRow.__dataclass_fields__ if name not in ("handler", "trace")]
_SELECT = select(*_OWN, steps.c.handler, _trace).join(steps, steps.c.id == batches.c.step_id)


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


def first_batch(connection: Connection, run_id: str) -> BatchRow | None:
    """The first batch of a run's first step: the only one of a task that was pushed by itself. None before it is."""
    statement = _SELECT.where(steps.c.run_id == run_id).order_by(steps.c.number, batches.c.number).limit(1)
    row = connection.execute(statement).one_or_none()
    return None if row is None else _batch(row._mapping)


def first_of_key(connection: Connection, order_key: str) -> int | None:
    """The oldest batch of an order key that has not ended: the others wait for it."""
    statement = select(func.min(batches.c.id)).where(batches.c.order_key == order_key, batches.c.ended_at.is_(None))
    return connection.execute(statement).scalar_one_or_none()


def list_batches(
    connection: Connection,
    *,
    state: BatchState,
    limit: int,
    before: int | None = None,
    handler: str | None = None,
    cause: str | None = None,
    run_id: str | None = None,
) -> list[BatchRow]:
    """Batches in a state, the newest first, from the one below the id `before`; narrowed to what else is given."""
    statement = _SELECT.where(batches.c.state == state).order_by(batches.c.id.desc()).limit(limit)
    given = ((steps.c.handler, handler), (batches.c.cause, cause), (batches.c.run_id, run_id))
    for column, value in given:
        if value is not None:
            statement = statement.where(column == value)
    if before is not None:
        statement = statement.where(batches.c.id < before)
    return [_batch(row._mapping) for row in connection.execute(statement)]


@dataclass(frozen=True, slots=True)
class Cell:
    """A batch as a picture of its run needs it."""

    id: int
    number: int
    state: BatchState


def cells_of_run(connection: Connection, run_id: str, *, limit: int) -> list[Cell]:
    """Batches of a run in the order of their steps and numbers.

    Step by step, along the index: in one query PostgreSQL would sort all batches of a large step.
    """
    cells: list[Cell] = []
    for step_id in connection.execute(_steps_of_run, {"run_id": run_id}).scalars():
        found = connection.execute(_cells_of_step, {"step_id": step_id, "at_most": limit - len(cells)})
        cells += [Cell(own_id, number, BatchState(state)) for own_id, number, state in found]
        if len(cells) == limit:
            break
    return cells


_steps_of_run = (
    select(steps.c.id).where(steps.c.run_id == bindparam("run_id"), steps.c.batches > 0).order_by(steps.c.number)
)
_cells_of_step = (
    select(batches.c.id, batches.c.number, batches.c.state)
    .where(batches.c.step_id == bindparam("step_id"))
    .order_by(batches.c.number)
    .limit(bindparam("at_most"))
)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to write: its payload as JSON text and how many items it has; the rest as in `BatchRow`."""

    payload: str
    items: int
    due_at: int | None = None
    order_key: str | None = None
    queue: str | None = None


def insert_batches(
    connection: Connection, *, run_id: str, step_id: int, first_number: int, new: Sequence[NewBatch]
) -> None:
    """Write pending batches, numbered in order.

    Batches of one order key that are written at the same moment are kept in the order of their ids.
    """
    if not new:
        return
    _serialize(connection, {each.order_key for each in new if each.order_key is not None})
    connection.execute(
        insert(batches),
        [
            {
                "run_id": run_id,
                "step_id": step_id,
                "number": first_number + index,
                "state": BatchState.PENDING,
                "payload": each.payload,
                "item_count": each.items,
                "due_at": each.due_at,
                "order_key": each.order_key,
                "queue": each.queue,
            }
            for index, each in enumerate(new)
        ],
    )


def _serialize(connection: Connection, order_keys: set[str]) -> None:
    # PostgreSQL gives out ids before the commit: two writers of one key must not commit in the other order.
    if connection.dialect.name == "postgresql":
        for key in sorted(order_keys):
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


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


_older = batches.alias("older")


def _oldest_of(order_key: Any) -> ScalarSelect[Any]:
    # Asked for as a range in the order of the index: with "=" and the least id, PostgreSQL would read the table by id
    # from its beginning, through all that has ended.
    statement = select(_older.c.id).where(
        _older.c.order_key >= order_key, _older.c.order_key <= order_key, _older.c.ended_at.is_(None)
    )
    return statement.order_by(_older.c.order_key, _older.c.id).limit(1).scalar_subquery()


# Of the batches with one order key, only the oldest that lives is pushed.
_first_of_its_key = or_(batches.c.order_key.is_(None), batches.c.id == _oldest_of(batches.c.order_key))


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Which batches alone: one, those of some steps from a number on, those of an order key, or of a capped queue."""

    batch_id: int | None = None
    step_ids: tuple[int, ...] | None = None
    first_number: int = 1
    order_key: str | None = None
    queue: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """As conditions; each finds an index of its own."""
        conditions: list[ColumnElement[bool]] = []
        if self.batch_id is not None:
            conditions.append(batches.c.id == self.batch_id)
        if self.step_ids is not None:
            conditions += [batches.c.step_id.in_(self.step_ids), batches.c.number >= self.first_number]
        if self.order_key is not None:
            conditions.append(batches.c.id == _oldest_of(self.order_key))
        if self.queue is not None:
            conditions += [batches.c.queue == self.queue, batches.c.ended_at.is_(None)]
        return conditions


ALL = Narrowing()


def pending_batches(
    connection: Connection,
    *,
    limit: int,
    after: int = 0,
    only: Narrowing = ALL,
    without_queues: Sequence[str] = (),
    longest: int | None = None,
) -> list[BatchRow]:
    """Batches that were written for at once and not pushed, in the order of their ids, from the one behind `after`.

    A payload of more than `longest` characters is not read: it is "" in the row.
    """
    statement = _waiting(only, without_queues, longest).where(batches.c.due_at.is_(None), batches.c.id > after)
    return [_batch(row) for row in connection.execute(statement.order_by(batches.c.id).limit(limit)).mappings()]


def due_batches(
    connection: Connection,
    *,
    limit: int,
    before: int,
    only: Narrowing = ALL,
    without_queues: Sequence[str] = (),
    longest: int | None = None,
) -> list[BatchRow]:
    """Batches that were written for a time until this one and not pushed, the earliest first."""
    statement = (
        _waiting(only, without_queues, longest)
        .where(batches.c.due_at.is_not(None), batches.c.due_at <= before)
        .order_by(batches.c.due_at, batches.c.id)
        .limit(limit)
    )
    return [_batch(row) for row in connection.execute(statement).mappings()]


def _waiting(only: Narrowing, without_queues: Sequence[str], longest: int | None) -> Select[Any]:
    statement = _SELECT
    if longest is not None:
        payload = case((func.length(batches.c.payload) > longest, ""), else_=batches.c.payload).label("payload")
        own = [payload if column.name == "payload" else column for column in _OWN]
        statement = select(*own, steps.c.handler, _trace).join(steps, steps.c.id == batches.c.step_id)
    statement = statement.where(batches.c.state == BatchState.PENDING, _first_of_its_key, *only.conditions())
    if without_queues:
        statement = statement.where(or_(batches.c.queue.is_(None), batches.c.queue.not_in(without_queues)))
    return statement


def count_outstanding(connection: Connection, queue: str, *, states: Sequence[BatchState], at_most: int) -> int:
    """Batches of a queue with a cap that are in one of these states, counted up to `at_most`."""
    some = (
        select(batches.c.id)
        .where(batches.c.queue == queue, batches.c.state.in_(states), batches.c.ended_at.is_(None))
        .limit(at_most)
        .subquery()
    )
    return int(connection.execute(select(func.count()).select_from(some)).scalar_one())


def oldest_waiting(connection: Connection, queue: str) -> int | None:
    """When the run of the oldest batch began that waits before a queue with a cap; None when none does."""
    oldest = (
        select(batches.c.run_id)
        .where(batches.c.queue == queue, batches.c.state == BatchState.PENDING, batches.c.ended_at.is_(None))
        .order_by(batches.c.id)
        .limit(1)
        .scalar_subquery()
    )
    return connection.execute(select(runs.c.created_at).where(runs.c.id == oldest)).scalar_one_or_none()


_mark_pushed = (
    update(batches)
    .where(
        batches.c.id == bindparam("batch_id"),
        batches.c.generation == bindparam("batch_generation"),
        batches.c.state == BatchState.PENDING,
    )
    .values(state=BatchState.PUSHED, check_at=bindparam("next_check"))
)


def mark_pushed(connection: Connection, pushed: Iterable[tuple[int, int, int]]) -> None:
    """The driver has these (batch id, generation, check_at). One that a delivery overtook keeps its newer state."""
    rows = [
        {"batch_id": batch_id, "batch_generation": generation, "next_check": check_at}
        for batch_id, generation, check_at in pushed
    ]
    if rows:
        connection.execute(_mark_pushed, rows)


def batches_to_check(connection: Connection, *, now: int, limit: int) -> list[BatchRow]:
    """Pushed batches that are overdue: their task may have vanished."""
    statement = (
        _SELECT.where(batches.c.state == BatchState.PUSHED, batches.c.check_at <= now)
        .order_by(batches.c.check_at)
        .limit(limit)
    )
    return [_batch(row) for row in connection.execute(statement).mappings()]


EMPTIED = 1
"""The `check_at` of a pushed batch whose queue was emptied: a sweep asks soon, and its task's absence is no loss."""


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
    """Make a batch whose task vanished wait for its next push; False when it moved on meanwhile.

    It was lost once more, unless its queue was emptied.
    """
    statement = (
        update(batches)
        .where(*_as_checked(batch))
        .values(
            state=BatchState.PENDING,
            generation=batches.c.generation + 1,
            losses=batches.c.losses + int(batch.check_at != EMPTIED),
            check_at=None,
            due_at=None,
        )
    )
    return connection.execute(statement).rowcount == 1


def postpone_batch(connection: Connection, run_id: str, *, due_at: int) -> tuple[int, str | None] | None:
    """Make the one batch of a run wait for another time, as another task: its `step_id` and `queue`.

    None when it has begun, or has ended.
    """
    statement = (
        update(batches)
        .where(
            batches.c.run_id == run_id,
            batches.c.state.in_((BatchState.PENDING, BatchState.PUSHED)),
            batches.c.attempt == 0,
        )
        .values(state=BatchState.PENDING, generation=batches.c.generation + 1, due_at=due_at, check_at=None)
        .returning(batches.c.step_id, batches.c.queue)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else (row.step_id, row.queue)


def bury_batch(connection: Connection, batch: BatchRow, *, cause: Cause, error: str, now: int) -> bool:
    """End a batch as dead, with the reason; False when it moved on meanwhile."""
    statement = (
        update(batches)
        .where(*_as_checked(batch))
        .values(state=BatchState.DEAD, check_at=None, cause=cause, error=error, ended_at=now)
    )
    return connection.execute(statement).rowcount == 1


def _live_of(run_id: str) -> tuple[ColumnElement[bool], ...]:
    own_steps = select(steps.c.id).where(steps.c.run_id == run_id)
    return batches.c.step_id.in_(own_steps), batches.c.state.in_(LIVE)


def lock_live(connection: Connection, run_id: str) -> None:
    """Keep all others off a run's live batches until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        # In the order of their ids, as the relay locks those that it pushed.
        locked = select(batches.c.id).where(*_live_of(run_id)).order_by(batches.c.id).with_for_update().subquery()
        connection.execute(select(func.count()).select_from(locked))


def cancel_batches(connection: Connection, run_id: str, *, lease_until: int, now: int) -> int:
    """Cancel all of a run that no attempt holds; what one holds gets until `lease_until`. How many were live.

    One statement, so that a batch which moves between the states meanwhile is met in whichever it is then.
    """
    running = batches.c.state == BatchState.RUNNING
    statement = (
        update(batches)
        .where(*_live_of(run_id))
        .values(
            state=case((running, BatchState.RUNNING), else_=BatchState.CANCELLED),
            lease_until=case(
                (and_(running, batches.c.lease_until > lease_until), lease_until), else_=batches.c.lease_until
            ),
            check_at=None,
            ended_at=case((running, None), else_=now),
        )
    )
    return connection.execute(statement).rowcount


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
