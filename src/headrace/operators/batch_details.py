"""What people see of one batch."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from headrace.clock import rfc3339
from headrace.database import Database, attempt_rows, batch_rows, effect_rows, item_rows, log_rows
from headrace.database.attempt_rows import AttemptRow
from headrace.database.batch_rows import BatchRow
from headrace.database.effect_rows import EffectRow
from headrace.database.log_rows import AttemptLog
from headrace.database.states import BatchState, Outcome, display_state
from headrace.database.task_rows import TaskRow
from headrace.errors import NotFound, WrongState
from headrace.operators.waiting import why_waiting
from headrace.runs.progress import show_item

ITEMS_SHOWN = 100


@dataclass(frozen=True, slots=True)
class BatchDetails:
    """Reads single batches. Times are RFC 3339 in UTC."""

    database: Database

    def show(self, batch_id: int) -> dict[str, Any]:
        """A batch with its payload, all its attempts and effects, and its first 100 items in trouble.

        Raises NotFound.
        """
        with self.database.read() as connection:
            return details_of(connection, find(connection, batch_id))

    def of_run(self, run_id: str, *, limit: int) -> list[dict[str, Any]]:
        """The batches of a run, each with its id, number and state: at most `limit`, in the order of their steps."""
        with self.database.read() as connection:
            cells = batch_rows.cells_of_run(connection, run_id, limit=limit)
        return [{"batch_id": cell.id, "number": cell.number, "state": cell.state} for cell in cells]


def find(connection: Connection, batch_id: int) -> BatchRow:
    """The batch.

    Raises NotFound.
    """
    batch = batch_rows.find_batch(connection, batch_id)
    if batch is None:
        raise NotFound(f"There is no batch {batch_id}.", hint="It may have been purged with its run.")
    return batch


def moved(batch: BatchRow) -> WrongState:
    """What to raise where a batch is not any more as it was seen."""
    return WrongState(f"Batch {batch.id} was changed by somebody else at this moment.", hint="Look at it again.")


def summary_of(batch: BatchRow | TaskRow) -> dict[str, Any]:
    """A batch in a few words."""
    return {
        "batch_id": batch.id,
        "run_id": batch.run_id,
        "handler": batch.handler,
        "number": batch.number,
        "state": batch.state.value,
        "display_state": display_state(batch.state, batch.error).value,
        "cause": batch.cause if batch.state is BatchState.DEAD else "",
        "error": batch.error,
        "items": batch.item_count,
        "attempt": batch.attempt,
        "ended_at": _time(batch.ended_at),
    }


def details_of(connection: Connection, batch: BatchRow) -> dict[str, Any]:
    """All that is known of a batch."""
    items = item_rows.list_items(connection, batch.id, limit=ITEMS_SHOWN)
    return {
        **summary_of(batch),
        "generation": batch.generation,
        "payload": _value(batch.payload),
        "saved": _value(batch.saved),
        "result": _value(batch.result),
        "due_at": _time(batch.due_at),
        "waits_for": why_waiting(connection, batch),
        "items_in_trouble": [show_item(item) for item in items],
        "effects": [show_effect(effect) for effect in effect_rows.list_effects(connection, batch.id)],
        "logs": [_log(each) for each in log_rows.logs_of(connection, batch.id)],
        "attempts": _attempts(batch, attempt_rows.attempts_of(connection, batch.id)),
    }


def _attempts(batch: BatchRow, ended: list[AttemptRow]) -> list[dict[str, Any]]:
    """Those that ended, and the one that stands on the batch's own row: it runs, or did the batch."""
    shown: list[dict[str, Any]] = [
        {
            "number": attempt.number,
            "outcome": attempt.outcome.value,
            "error": attempt.error,
            "trace": attempt.trace,
            "started_at": rfc3339(attempt.started_at),
            "ended_at": rfc3339(attempt.ended_at),
        }
        for attempt in ended
    ]
    runs = batch.state is BatchState.RUNNING
    did = batch.state is BatchState.DONE and (not ended or ended[-1].number < batch.attempt)
    if runs or did:
        shown.append(
            {
                "number": batch.attempt,
                "outcome": None if runs else Outcome.DONE.value,
                "error": "",
                "trace": "",
                "started_at": _time(batch.started_at),
                "ended_at": None if runs else _time(batch.ended_at),
            }
        )
    return shown


def _log(log: AttemptLog) -> dict[str, Any]:
    return {
        "attempt": log.attempt,
        "current": log.current,
        "started_at": rfc3339(log.started_at),
        "left_out": log.left_out,
        "lines": [{"at": at, "level": level, "text": text} for at, level, text in log.lines],
    }


def show_effect(effect: EffectRow) -> dict[str, Any]:
    """An effect of a batch."""
    return {
        "key": effect.key,
        "state": effect.state.value,
        "repeatable": effect.repeatable,
        "in_doubt": effect.in_doubt,
        "result": _value(effect.result),
        "error": effect.error,
        "begun_at": rfc3339(effect.begun_at),
        "done_at": _time(effect.done_at),
    }


def _value(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)


def _time(epoch_ms: int | None) -> str | None:
    return None if epoch_ms is None else rfc3339(epoch_ms)
