"""What the world sees of a run. Costs the same for a run of any size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from headrace.database import Database, batch_rows, run_rows
from headrace.database.run_rows import RunRow, StepRow

PENDING_COUNTED = 1_000
TROUBLES_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Progress:
    """Reads runs. Times are RFC 3339 in UTC."""

    database: Database

    def show(self, run_id: str) -> dict[str, Any] | None:
        """One run with its counts and latest troubles; None when there is none.

        `tasks.pending` is counted up to 1,000.
        """
        with self.database.read() as connection:
            run = run_rows.find_run(connection, run_id)
            if run is None:
                return None
            steps = run_rows.list_steps(connection, run_id)
            running = batch_rows.count_running(connection, run_id)
            pending = batch_rows.count_pending(connection, run_id, at_most=PENDING_COUNTED)
            troubles = batch_rows.troubled_attempts(connection, run_id, limit=TROUBLES_SHOWN)
        shown = _summary(run, steps)
        total = shown["tasks"]["total"]
        terminal = sum(step.terminal for step in steps)
        shown["tasks"] |= {
            "pending": pending,
            "pushed": max(0, total - terminal - running - pending),
            "running": running,
        }
        shown["parameters"] = run.parameters
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
        return shown

    def list(self, limit: int = 50, job: str | None = None, state: str | None = None) -> Sequence[Mapping[str, Any]]:
        """The newest runs first."""
        with self.database.read() as connection:
            found = run_rows.list_runs(connection, limit=limit, job=job, state=state)
            return [_summary(run, run_rows.list_steps(connection, run.id)) for run in found]


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
        "items": sum(step.item_count for step in steps),
        "items_done": sum(step.items_done for step in steps),
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


def _time(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
