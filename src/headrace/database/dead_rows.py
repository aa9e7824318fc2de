"""Changes that a person makes to batches which no attempt and no queue changes any more: dead ones, undecided ones.

Each names state and generation as they were seen: who comes late changes nothing and is told so.
"""

from sqlalchemy import ColumnElement, Connection, update

from headrace.database.batch_rows import BatchRow
from headrace.database.states import BatchState
from headrace.database.tables import batches


def revive_batch(connection: Connection, batch: BatchRow) -> bool:
    """Have a batch wait for its next push, with no failed try behind it; False when it moved on meanwhile.

    Payload, items, their outcomes and the order key are written as `batch` has them.
    """
    values = {
        "state": BatchState.PENDING,
        "generation": batches.c.generation + 1,
        "payload": batch.payload,
        "item_count": batch.item_count,
        "outcomes": batch.outcomes,
        "order_key": batch.order_key,
        "failures": 0,
        "losses": 0,
        "cause": "",
        "due_at": None,
        "check_at": None,
        "ended_at": None,
    }
    return connection.execute(update(batches).where(*_as_seen(batch)).values(values)).rowcount == 1


def end_batch(connection: Connection, batch: BatchRow, *, state: BatchState, now: int) -> bool:
    """End a batch as done or cancelled; False when it moved on meanwhile. `now` is in epoch milliseconds.

    The outcomes of its items and its last error are written as `batch` has them.
    """
    values = {
        "state": state,
        "outcomes": batch.outcomes,
        "error": batch.error,
        "cause": "",
        "check_at": None,
        "ended_at": now,
    }
    return connection.execute(update(batches).where(*_as_seen(batch)).values(values)).rowcount == 1


def _as_seen(batch: BatchRow) -> tuple[ColumnElement[bool], ...]:
    return batches.c.id == batch.id, batches.c.state == batch.state, batches.c.generation == batch.generation
