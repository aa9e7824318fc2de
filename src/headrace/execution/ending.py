"""How an attempt ends, in the transaction of whoever ends it: its handler, a sweep, the watchdog, an operator."""

from dataclasses import dataclass

from sqlalchemy import Connection

from headrace.database import attempt_rows, lease_rows, run_rows, step_rows
from headrace.database.lease_rows import Lease
from headrace.database.states import BatchState, ItemState, Outcome, RunState
from headrace.execution.verdicts import Verdict, cancelled
from headrace.runs.fanin import end_if_complete

_ENDS = {BatchState.DONE: "done", BatchState.DEAD: "dead", BatchState.CANCELLED: "cancelled"}


@dataclass(frozen=True, slots=True)
class Ending:
    """What an attempt's end came to: the verdict that was written, and the runs that want a splitter now."""

    verdict: Verdict
    woken: tuple[str, ...] = ()


def end_attempt(
    connection: Connection,
    lease: Lease,
    verdict: Verdict,
    *,
    now: int,
    check_at: int | None = None,
    outcomes: str | None = None,
) -> Ending | None:
    """Write a verdict: batch, attempt, counters, and whatever its last batch ends. None when another owns the batch.

    Times are epoch milliseconds. `check_at` is when a sweep may ask for the task of a batch that waits on its queue;
    `outcomes` has a letter an item, None where the batch's row knows better.
    """
    if not _leave(connection, lease, verdict, now=now, check_at=check_at, outcomes=outcomes):
        return None
    if verdict.state not in _ENDS and run_rows.state_of(connection, lease.run_id) is RunState.CANCELLING:
        verdict = cancelled(verdict)
        lease_rows.cancel_left(connection, lease.batch_id, now=now)
    if verdict.outcome is Outcome.DONE:
        attempt_rows.note_attempt(connection, lease, outcome=verdict.outcome, now=now)
    else:
        attempt_rows.record_attempt(
            connection, lease, outcome=verdict.outcome, error=verdict.error, trace=verdict.trace, now=now
        )
    if outcomes is None and verdict.state in (BatchState.DEAD, BatchState.CANCELLED):
        outcomes = lease_rows.noted_outcomes(connection, lease.batch_id)
    return Ending(verdict, _count(connection, lease, verdict, outcomes or lease.outcomes, now))


def tally(state: BatchState, outcomes: str | None, items: int) -> tuple[int, int]:
    """How many items of a batch that ended are done, and how many failed for good.

    Without `outcomes`, all of a done batch's items are done, and none of any other's.
    """
    done = outcomes.count(ItemState.DONE) if outcomes is not None else items if state is BatchState.DONE else 0
    if state is BatchState.DEAD:
        return done, items - done
    return done, outcomes.count(ItemState.FAILED) if outcomes is not None and state is BatchState.DONE else 0


def _leave(
    connection: Connection, lease: Lease, verdict: Verdict, *, now: int, check_at: int | None, outcomes: str | None
) -> bool:
    return lease_rows.leave_batch(
        connection,
        lease,
        state=verdict.state,
        check_at=check_at if verdict.state is BatchState.PUSHED else None,
        due_at=verdict.due_at,
        renews=verdict.renews,
        counts=verdict.counts,
        failures=verdict.failures,
        losses=verdict.losses,
        outcomes=outcomes,
        result=verdict.result,
        cause=verdict.cause,
        error=verdict.error,
        ended_at=now if verdict.state in _ENDS else None,
    )


def _count(connection: Connection, lease: Lease, verdict: Verdict, outcomes: str | None, now: int) -> tuple[str, ...]:
    attempts = int(verdict.counts)
    ended = _ENDS.get(verdict.state)
    if ended is None:
        if attempts:
            step_rows.count_batch(connection, lease.step_id, attempts=attempts, now=now)
        return ()
    items_done, items_failed = tally(verdict.state, outcomes, lease.item_count)
    last = step_rows.count_batch(
        connection,
        lease.step_id,
        **{ended: 1},
        items_done=items_done,
        items_failed=items_failed,
        attempts=attempts,
        now=now,
    )
    return end_if_complete(connection, lease.step_id, now=now) if last else ()
