"""Runs as long-running operations, for whoever they belong to."""

from dataclasses import dataclass
from typing import Any

import orjson

from headrace.clock import rfc3339
from headrace.database import Database, batch_rows, run_rows
from headrace.database.batch_rows import BatchRow
from headrace.database.run_rows import RunRow
from headrace.database.states import BatchState, RunState

QUEUED, PROCESSING, SUCCESS, ERROR, CANCELLED = "QUEUED", "PROCESSING", "SUCCESS", "ERROR", "CANCELLED"
_ENDED = {
    RunState.COMPLETED: SUCCESS,
    RunState.FAILED: ERROR,
    RunState.CANCELLED: CANCELLED,
    RunState.SKIPPED: CANCELLED,
}


@dataclass(frozen=True, slots=True)
class Operations:
    """Reads runs for their owners. Times are RFC 3339 in UTC."""

    database: Database

    def show(self, run_id: str, owner: str) -> dict[str, Any] | None:
        """The run as an operation; None when there is none, or it is not this owner's.

        `state` is QUEUED (nothing of it has begun), PROCESSING, SUCCESS, ERROR or CANCELLED. `result` is what its
        handler returned, where it is one task that was pushed by itself.
        """
        with self.database.read() as connection:
            run = run_rows.find_run(connection, run_id)
            if run is None or run.owner != owner:
                return None
            batch = batch_rows.first_batch(connection, run_id)
        state = state_of(run, batch)
        return {
            "id": run.id,
            "state": state,
            "result": _result(batch) if state == SUCCESS else None,
            "error": _error(run, batch) if state in (ERROR, CANCELLED) else None,
            "created_at": rfc3339(run.created_at),
            "ended_at": None if run.ended_at is None else rfc3339(run.ended_at),
        }


def state_of(run: RunRow, first: BatchRow | None) -> str:
    """The state of an operation, from its run and its first batch. Pure."""
    if run.state in _ENDED:
        return _ENDED[run.state]
    has_begun = first is not None and (first.attempt > 0 or first.state not in (BatchState.PENDING, BatchState.PUSHED))
    return PROCESSING if has_begun else QUEUED


def _result(batch: BatchRow | None) -> Any:
    return None if batch is None or batch.result is None else orjson.loads(batch.result)


def _error(run: RunRow, batch: BatchRow | None) -> str:
    return run.reason or ("" if batch is None else batch.error)
