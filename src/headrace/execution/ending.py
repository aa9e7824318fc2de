"""How an attempt ends, in the transaction of whoever ends it."""

from sqlalchemy import Connection

from headrace.database import batch_rows, run_rows
from headrace.database.batch_rows import Lease
from headrace.database.states import Outcome
from headrace.runs.fanin import end_if_complete


def end_attempt(
    connection: Connection, lease: Lease, outcome: Outcome, *, now: int, check_at: int | None = None, error: str = ""
) -> bool:
    """End an attempt, count it, and end the run when its last batch is done; False when another owns the batch.

    Times are epoch milliseconds; `check_at` is when a sweep may ask for the task of a batch that waits again.
    """
    if not batch_rows.end_attempt(connection, lease, outcome=outcome, now=now, check_at=check_at, error=error):
        return False
    done = outcome is Outcome.DONE
    items_done = lease.item_count if done else 0
    if run_rows.count_batch(connection, lease.step_id, done=int(done), items_done=items_done, attempts=1):
        end_if_complete(connection, lease.step_id, now=now)
    return True
