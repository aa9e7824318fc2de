"""Deletes runs piece by piece: no transaction is long, however large a run is."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, select, tuple_

from headrace.database.tables import attempts, batches, effects, items, logs, runs, steps


@dataclass(frozen=True, slots=True)
class Purged:
    """What one piece deleted: whole runs, and whether there may be more to delete."""

    runs: int
    more: bool


def purge_piece(connection: Connection, *, ended_before: int, limit: int) -> Purged:
    """Delete of the runs that ended before a time, the oldest first: at most `limit` rows of each table.

    What belongs to batches goes before them, and they before their runs, so that no delete cascades far.
    """
    # What is selected decides, not what is deleted: another purge may be at the same rows.
    old = select(runs.c.id).where(runs.c.ended_at < ended_before).order_by(runs.c.ended_at).limit(limit)
    run_ids = list(connection.execute(old).scalars())
    of_runs = select(batches.c.id).join(steps, steps.c.id == batches.c.step_id).where(steps.c.run_id.in_(run_ids))
    theirs = of_runs.limit(limit)
    batch_ids = list(connection.execute(theirs).scalars()) if run_ids else []
    if any(_is_cut_short(connection, table, batch_ids, limit) for table in (items, effects, logs, attempts)):
        return Purged(0, more=True)
    connection.execute(delete(batches).where(batches.c.id.in_(batch_ids)))
    if len(batch_ids) == limit:
        return Purged(0, more=True)
    connection.execute(delete(runs).where(runs.c.id.in_(run_ids)))
    return Purged(len(run_ids), more=len(run_ids) == limit)


def _is_cut_short(connection: Connection, table: Table, batch_ids: Sequence[int], limit: int) -> bool:
    """Delete rows of batches, at most `limit`; whether there may be more of them."""
    key = tuple(table.primary_key.columns)
    some = select(*key).where(table.c.batch_id.in_(batch_ids)).limit(limit)
    return connection.execute(delete(table).where(tuple_(*key).in_(some))).rowcount == limit
