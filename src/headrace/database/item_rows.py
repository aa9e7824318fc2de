"""Queries of items in trouble; an item without a row is as its letter in the batch's `outcomes` says, and no more.

Write in a transaction that holds the batch. Times are epoch milliseconds.
"""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import Row

from headrace.database.states import ItemState
from headrace.database.tables import items


@dataclass(frozen=True, slots=True)
class ItemRow:
    """An item that failed for good, is tried again, or is done with a warning (`error`).

    `position` counts from 0 in its batch, `value` is JSON text as in the payload, `attempt` is the batch's that it
    came from, `at` the time.
    """

    batch_id: int
    position: int
    run_id: str
    value: str
    state: ItemState
    error: str
    attempt: int
    at: int


_COLUMNS = [items.c[name] for name in ItemRow.__dataclass_fields__]


def put_item(connection: Connection, row: ItemRow) -> None:
    """Keep what is known of an item, over what was known before."""
    values = asdict(row)
    if connection.execute(update(items).where(*_is(row.batch_id, row.position)).values(values)).rowcount == 0:
        connection.execute(insert(items).values(values))


def forget_item(connection: Connection, batch_id: int, position: int) -> None:
    """The item went well after all."""
    connection.execute(delete(items).where(*_is(batch_id, position)))


def list_items(connection: Connection, batch_id: int, *, limit: int) -> list[ItemRow]:
    """A batch's items in trouble, by position."""
    statement = select(*_COLUMNS).where(items.c.batch_id == batch_id).order_by(items.c.position).limit(limit)
    return [_item(row) for row in connection.execute(statement)]


def failed_items(connection: Connection, run_id: str, *, limit: int) -> list[ItemRow]:
    """A run's items that failed for good, the latest first."""
    statement = (
        select(*_COLUMNS)
        .where(items.c.run_id == run_id, items.c.state == ItemState.FAILED)
        .order_by(items.c.at.desc(), items.c.batch_id, items.c.position)
        .limit(limit)
    )
    return [_item(row) for row in connection.execute(statement)]


def forget_trouble(connection: Connection, batch_id: int) -> None:
    """A batch's items that failed or were tried again are left once more."""
    states = (ItemState.RETRIED, ItemState.FAILED)
    connection.execute(delete(items).where(items.c.batch_id == batch_id, items.c.state.in_(states)))


def warnings_of(connection: Connection, batch_id: int) -> list[tuple[int, str]]:
    """What the done items of a batch warned of, with their positions."""
    statement = (
        select(items.c.position, items.c.error)
        .where(items.c.batch_id == batch_id, items.c.state == ItemState.DONE)
        .order_by(items.c.position)
    )
    return [(row.position, row.error) for row in connection.execute(statement)]


def _is(batch_id: int, position: int) -> tuple[Any, Any]:
    return items.c.batch_id == batch_id, items.c.position == position


def _item(row: Row[Any]) -> ItemRow:
    values = dict(row._mapping)
    values["state"] = ItemState(values["state"])
    return ItemRow(**values)
