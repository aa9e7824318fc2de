"""Queries of what handlers logged in their attempts. Times are epoch milliseconds, those of lines ISO 8601."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from headrace.database.lease_rows import Lease
from headrace.database.tables import batches, logs


@dataclass(frozen=True, slots=True)
class AttemptLog:
    """The last lines that a handler logged in one attempt, each as (time, level, text).

    `current`: no attempt of the batch has begun since. `left_out` counts lines before these that were too many to
    keep. An attempt that ended while its handler went on may have two of these.
    """

    attempt: int
    started_at: int
    current: bool
    left_out: int
    lines: tuple[tuple[str, str, str], ...]


def record_lines(
    connection: Connection, lease: Lease, lines: Sequence[tuple[str, str, str]], *, left_out: int = 0
) -> None:
    """Write down lines of an attempt, in one row."""
    values = {
        "batch_id": lease.batch_id,
        "run_id": lease.run_id,
        "attempt": lease.attempt,
        "started_at": lease.started_at,
        # In ASCII: NUL and lone surrogates, which databases refuse, are escapes then.
        "lines": json.dumps(lines),
        "left_out": left_out,
    }
    connection.execute(insert(logs).values(values))


def logs_of(connection: Connection, batch_id: int, *, limit: int = 20) -> list[AttemptLog]:
    """What was logged of a batch, the latest attempt first, at most `limit`."""
    statement = (
        select(logs, (logs.c.started_at == batches.c.started_at).label("current"))
        .join(batches, batches.c.id == logs.c.batch_id)
        .where(logs.c.batch_id == batch_id)
        .order_by(logs.c.id.desc())
        .limit(limit)
    )
    return [
        AttemptLog(
            row.attempt, row.started_at, bool(row.current), row.left_out, tuple(map(tuple, json.loads(row.lines)))
        )
        for row in connection.execute(statement)
    ]
