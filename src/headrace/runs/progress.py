"""What the world sees of a run. Costs the same for a run of any size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from headrace.clock import rfc3339
from headrace.database import Database, attempt_rows, batch_rows, item_rows, run_rows, step_rows
from headrace.database.item_rows import ItemRow
from headrace.database.run_rows import RunRow
from headrace.database.states import ItemState
from headrace.database.step_rows import StepRow

PENDING_COUNTED = 1_000
TROUBLES_SHOWN = 20
ITEMS_SHOWN = 100
CHILDREN_SHOWN = 20
_ITEM_STATES = {ItemState.DONE: "warned", ItemState.RETRIED: "retried", ItemState.FAILED: "failed"}


@dataclass(frozen=True, slots=True)
class Progress:
    """Reads runs. Times are RFC 3339 in UTC."""

    database: Database

    def show(self, run_id: str) -> dict[str, Any] | None:
        """One run with its counts and latest troubles; None when there is none.

        `tasks.pending` is counted up to 1,000; `failed_items` are the latest 100, `children` the newest 20.
        """
        with self.database.read() as connection:
            run = run_rows.find_run(connection, run_id)
            if run is None:
                return None
            steps = step_rows.list_steps(connection, run_id)
            running = batch_rows.count_running(connection, run_id)
            pending = batch_rows.count_pending(connection, run_id, at_most=PENDING_COUNTED)
            troubles = attempt_rows.troubled_attempts(connection, run_id, limit=TROUBLES_SHOWN)
            failed = item_rows.failed_items(connection, run_id, limit=ITEMS_SHOWN)
            children = run_rows.children_of(connection, run_id, limit=CHILDREN_SHOWN)
        shown = _summary(run, steps)
        total = shown["tasks"]["total"]
        terminal = sum(step.terminal for step in steps)
        shown["tasks"] |= {
            "pending": pending,
            "pushed": max(0, total - terminal - running - pending),
            "running": running,
        }
        shown["parameters"] = run.parameters
        shown["parent"] = (
            None if run.parent_run_id is None else {"run_id": run.parent_run_id, "batch": run.parent_batch}
        )
        shown["children"] = [
            {"run_id": child.id, "job": child.job, "state": child.state.value, "batch": child.parent_batch}
            for child in children
        ]
        shown["steps"] = [_step(step) for step in steps]
        shown["troubles"] = [
            {
                "batch": attempt.batch_number,
                "attempt": attempt.number,
                "outcome": attempt.outcome.value,
                "error": attempt.error,
                "ended_at": _time(attempt.ended_at),
            }
            for attempt in troubles
        ]
        shown["failed_items"] = [show_item(item) for item in failed]
        return shown

    def list(
        self, limit: int = 50, job: str | None = None, state: str | None = None, object: str | None = None
    ) -> Sequence[Mapping[str, Any]]:
        """The newest runs first; of one job, in one state, about one object where these are given."""
        with self.database.read() as connection:
            found = run_rows.list_runs(connection, limit=limit, job=job, state=state, object=object)
            steps = step_rows.steps_of(connection, [run.id for run in found])
        return [_summary(run, steps[run.id]) for run in found]


def show_item(item: ItemRow) -> dict[str, Any]:
    """An item in trouble."""
    return {
        "batch_id": item.batch_id,
        "position": item.position,
        "value": orjson.loads(item.value),
        "state": _ITEM_STATES[item.state],
        "error": item.error,
        "attempt": item.attempt,
        "at": rfc3339(item.at),
    }


def _summary(run: RunRow, steps: list[StepRow]) -> dict[str, Any]:
    total = sum(step.batches for step in steps)
    terminal = sum(step.terminal for step in steps)
    done = sum(step.done for step in steps)
    attempts = sum(step.attempts for step in steps)
    return {
        "run_id": run.id,
        "job": run.job,
        "state": run.state.value,
        "reason": run.reason,
        "object": run.object,
        "items": sum(step.item_count for step in steps),
        "items_done": sum(step.items_done for step in steps),
        "items_failed": sum(step.items_failed for step in steps),
        "tasks": {
            "done": done,
            "dead": sum(step.dead for step in steps),
            "cancelled": sum(step.cancelled for step in steps),
            "total": total,
        },
        "attempts": attempts,
        "retries": max(0, attempts - terminal),
        "progress": 1.0 if run.ended_at is not None else (terminal / total if total else 0.0),
        "started_at": _time(run.created_at),
        "ended_at": _time(run.ended_at),
    }


def _step(step: StepRow) -> dict[str, Any]:
    return {
        "number": step.number,
        "handler": step.handler,
        "after": list(step.after),
        "state": _state_of(step),
        "reason": step.reason,
        "items": step.item_count,
        "items_done": step.items_done,
        "items_failed": step.items_failed,
        "tasks": {"done": step.done, "dead": step.dead, "cancelled": step.cancelled, "total": step.batches},
        "started_at": _time(step.created_at),
        "ended_at": _time(step.ended_at),
    }


def _state_of(step: StepRow) -> str:
    if step.reason:
        return "left out"
    if step.ended_at is not None:
        return "failed" if step.failed else "completed"
    return "running" if step.batches or step.sealed else "waiting"


def _time(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    return rfc3339(epoch_ms)
