"""Why a batch is not running."""

from sqlalchemy import Connection

from headrace.clock import rfc3339
from headrace.database import batch_rows
from headrace.database.batch_rows import BatchRow
from headrace.database.states import BatchState, Cause


def why_waiting(connection: Connection, batch: BatchRow) -> str:
    """In a sentence or two; "" for one that runs, or has ended."""
    if batch.state is BatchState.UNDECIDED:
        return "Somebody is to decide what becomes of it."
    if batch.state in (BatchState.PENDING, BatchState.PUSHED) and batch.cause == Cause.CAPPED and batch.due_at:
        return (
            "All places of the concurrency cap (task_inline_max_concurrent) were taken when it came. "
            f"It comes again at {rfc3339(batch.due_at)}."
        )
    if batch.state is BatchState.PUSHED:
        return _on_its_queue(batch)
    if batch.state is not BatchState.PENDING:
        return ""
    if batch.due_at is not None:
        return f"It is not to be pushed for a time before {rfc3339(batch.due_at)}."
    first = None if batch.order_key is None else batch_rows.first_of_key(connection, batch.order_key)
    if first is not None and first != batch.id:
        return f"It is behind task {first}: batches of the key {batch.order_key} run one at a time."
    if batch.queue is not None:
        return f"Its queue {batch.queue} has a cap of what may be outstanding, or it could not be reached."
    return "It is not on its queue yet: the next relay pushes it, when the queue can be reached."


def _on_its_queue(batch: BatchRow) -> str:
    due = "" if batch.due_at is None else f" It is due at {rfc3339(batch.due_at)}."
    if batch.failures:
        return f"It is on its queue, which waits before the next try: {batch.failures} failed so far.{due}"
    return f"It is on its queue, which delivers it as its rate, its concurrency and a pause allow.{due}"
