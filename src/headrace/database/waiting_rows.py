"""Queries of what waits for a queue, by the handlers whose tasks go through it. Times are epoch milliseconds.

Rows are found by the partial indexes of their states, so work that has ended costs nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import Column, ColumnElement, Connection, and_, func, or_, select, update

from headrace.database.batch_rows import EMPTIED, BatchRow
from headrace.database.states import BatchState
from headrace.database.tables import batches, steps

_WAITING = (BatchState.PENDING, BatchState.PUSHED)


class Waits(Enum):
    """How a batch waits: to be pushed, at once or at a time, or on its queue."""

    AT_ONCE = "at once"
    FOR_A_TIME = "for a time"
    ON_ITS_QUEUE = "on its queue"


# The order of each is that of its partial index.
_FOUND_BY: dict[Waits, tuple[ColumnElement[bool], Column[int]]] = {
    Waits.AT_ONCE: (and_(batches.c.state == BatchState.PENDING, batches.c.due_at.is_(None)), batches.c.id),
    Waits.FOR_A_TIME: (and_(batches.c.state == BatchState.PENDING, batches.c.due_at.is_not(None)), batches.c.due_at),
    Waits.ON_ITS_QUEUE: (
        and_(batches.c.state == BatchState.PUSHED, batches.c.check_at.is_not(None)),
        batches.c.check_at,
    ),
}


@dataclass(frozen=True, slots=True)
class Waiting:
    """A batch that waits: its id, and where it stands in the order of how it waits."""

    id: int
    position: int
    step_id: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A batch that was cancelled, as its step counts it."""

    step_id: int
    outcomes: str | None
    item_count: int


def list_waiting(
    connection: Connection, handlers: Sequence[str], waits: Waits, *, until: int, after: Waiting | None, limit: int
) -> list[Waiting]:
    """Batches of these handlers that wait so, with ids up to `until`, from the one behind `after` on."""
    condition, order = _FOUND_BY[waits]
    statement = (
        select(batches.c.id, order, batches.c.step_id)
        .join(steps, steps.c.id == batches.c.step_id)
        .where(condition, batches.c.id <= until, steps.c.handler.in_(handlers))
        .order_by(order, batches.c.id)
        .limit(limit)
    )
    if after is not None:
        behind = and_(order == after.position, batches.c.id > after.id)
        statement = statement.where(order >= after.position, or_(order > after.position, behind))
    return [Waiting(*row) for row in connection.execute(statement)]


def newest_id(connection: Connection) -> int:
    """The largest id of a batch; 0 where there is none."""
    return int(connection.execute(select(func.coalesce(func.max(batches.c.id), 0))).scalar_one())


def cancel_waiting(connection: Connection, batch_ids: Sequence[int], *, now: int) -> list[Cancelled]:
    """Cancel those of these batches that still wait; which they were."""
    those = _lock(connection, batch_ids, *_WAITING)
    statement = (
        update(batches)
        .where(those)
        .values(state=BatchState.CANCELLED, check_at=None, ended_at=now)
        .returning(batches.c.step_id, batches.c.outcomes, batches.c.item_count)
    )
    return [Cancelled(*row) for row in connection.execute(statement)]


def mark_emptied(connection: Connection, batch_ids: Sequence[int]) -> None:
    """Have a sweep ask soon for the tasks of those of these batches that are on a queue which was emptied."""
    those = _lock(connection, batch_ids, BatchState.PUSHED)
    connection.execute(update(batches).where(those).values(check_at=EMPTIED))


def _lock(connection: Connection, batch_ids: Sequence[int], *states: BatchState) -> ColumnElement[bool]:
    """The condition of those of these batches that are in these states, which others cannot change meanwhile."""
    those = and_(batches.c.id.in_(batch_ids), batches.c.state.in_(states))
    if connection.dialect.name == "postgresql":
        # In the order of their ids, as the relay locks those that it pushed.
        connection.execute(select(batches.c.id).where(those).order_by(batches.c.id).with_for_update()).all()
    return those


def hasten_batch(connection: Connection, batch: BatchRow) -> bool:
    """Make a batch that waits for a time wait for its next push at once, as another task; False when it moved on."""
    statement = (
        update(batches)
        .where(
            batches.c.id == batch.id,
            batches.c.state == BatchState.PENDING,
            batches.c.generation == batch.generation,
        )
        .values(generation=batches.c.generation + 1, due_at=None)
    )
    return connection.execute(statement).rowcount == 1
