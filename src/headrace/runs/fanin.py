"""How steps and runs end: by their rows, in the transaction of the last batch.

Counters say when to look; rows decide, and mend counters that were wrong. A step's row and then its run's are locked
while that is done, so of two last batches, in one step or in two, the second sees what the first did.
"""

from collections.abc import Sequence
from enum import Enum

from sqlalchemy import Connection

from headrace.database import run_rows, step_rows
from headrace.database.run_rows import RunRow
from headrace.database.states import RunState
from headrace.database.step_rows import StepRow


class Move(Enum):
    """What a run does next."""

    STAY = "stay"
    WAKE = "wake"
    COMPLETE = RunState.COMPLETED
    FAIL = RunState.FAILED
    CANCEL = RunState.CANCELLED


def end_if_complete(connection: Connection, step_id: int, *, now: int) -> tuple[str, ...]:
    """End the step when it is sealed and every batch's row is terminal; the runs that want a splitter for it."""
    step = step_rows.recount_step(connection, step_id)
    if not step.sealed or step.terminal < step.batches or not step_rows.end_step(connection, step_id, now=now):
        return ()
    return settle_run(connection, step.run_id, now=now)


def settle_run(connection: Connection, run_id: str, *, now: int, reached: int | None = None) -> tuple[str, ...]:
    """End or wake a run by its steps' rows; the runs that want a splitter now: this one, or one that waited for it.

    `reached`: see `next_move`.
    """
    run = run_rows.lock_run(connection, run_id)
    move = next_move(run, step_rows.list_steps(connection, run_id), reached)
    if move is Move.STAY:
        return ()
    if move is Move.WAKE:
        return (run_id,) if run_rows.wake_run(connection, run_id, now=now) else ()
    if not run_rows.end_run(connection, run_id, state=RunState(move.value), now=now):
        return ()
    if run.overlap_scope is None or run.overlap_key is None:
        return ()
    queued = run_rows.start_next_queued(connection, run.overlap_scope, overlap_key=run.overlap_key, now=now)
    return () if queued is None else (queued,)


def next_move(run: RunRow, steps: Sequence[StepRow], reached: int | None = None) -> Move:
    """What a run does next. Pure.

    `reached`: the splitter that has just let go came to the step of this number, and would come no further now.
    """
    if run.state not in (RunState.RUNNING, RunState.CANCELLING):
        return Move.STAY
    if any(step.ended_at is None for step in steps):
        waits = run.state is RunState.RUNNING and not run.sealed
        return Move.WAKE if waits and any(is_ready(step, steps) for step in steps[:reached]) else Move.STAY
    if run.state is RunState.CANCELLING:
        return Move.CANCEL
    if not run.sealed:
        return Move.WAKE
    return Move.FAIL if run.reason or any(step.failed for step in steps) else Move.COMPLETE


def is_ready(step: StepRow, steps: Sequence[StepRow]) -> bool:
    """Whether a step that has not begun has nothing to wait for any more."""
    return not step.sealed and all(other.ended_at is not None for other in upstream_of(step, steps))


def upstream_of(step: StepRow, steps: Sequence[StepRow]) -> list[StepRow]:
    """The steps whose end a step waits for."""
    return [other for other in steps if other.number in step.after]
