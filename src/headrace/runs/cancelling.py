"""How a run is cancelled: what waits is dropped, what runs is told, and gets a little time to stop."""

from sqlalchemy import Connection

from headrace.database import attempt_rows, batch_rows, lease_rows, run_rows, step_rows
from headrace.database.facts import BatchesEnded, note
from headrace.database.states import RUN_END, BatchState, Outcome, RunState
from headrace.runs.fanin import end_if_complete, settle_run


def cancel(connection: Connection, run_id: str, *, reason: str, grace: float, now: int) -> bool:
    """Cancel a run that has not ended; False when it has, or is cancelled already. `now` is in epoch milliseconds.

    Its attempts may go on for `grace` seconds, and what one of them completes meanwhile counts. With 0 they are
    fenced off at once, also where an earlier cancel gave them time.
    """
    return cancel_waking(connection, run_id, reason=reason, grace=grace, now=now) is not None


def cancel_waking(
    connection: Connection, run_id: str, *, reason: str, grace: float, now: int
) -> tuple[str, ...] | None:
    """As `cancel`: the runs that want a splitter now, because they waited for this one; None for its False."""
    state = run_rows.state_of(connection, run_id)
    if state is None or state in RUN_END:
        return None
    # Attempts lock their batch, then its step, then the run; so does this.
    batch_rows.lock_live(connection, run_id)
    begun = run_rows.cancel_run(connection, run_id, reason=reason)
    if not begun and (grace > 0 or run_rows.state_of(connection, run_id) is not RunState.CANCELLING):
        return None
    batch_rows.cancel_batches(connection, run_id, lease_until=now + int(grace * 1000), now=now)
    if grace <= 0:
        _fence_off(connection, run_id, reason=reason, now=now)
    step_rows.seal_all(connection, run_id)
    steps = step_rows.list_steps(connection, run_id)
    woken: tuple[str, ...] = ()
    for step in steps:
        if step.ended_at is None:
            woken += end_if_complete(connection, step.id, now=now)
    for before, after in zip(steps, step_rows.list_steps(connection, run_id), strict=True):
        if after.cancelled > before.cancelled:
            note(connection, BatchesEnded(after.handler, cancelled=after.cancelled - before.cancelled))
    return woken + settle_run(connection, run_id, now=now)


def _fence_off(connection: Connection, run_id: str, *, reason: str, now: int) -> None:
    for lease in lease_rows.running_leases(connection, run_id):
        left = lease_rows.leave_batch(
            connection,
            lease,
            state=BatchState.CANCELLED,
            failures=lease.failures,
            losses=lease.losses,
            error=reason,
            ended_at=now,
        )
        if left:
            attempt_rows.record_attempt(connection, lease, outcome=Outcome.CANCELLED, error=reason, trace="", now=now)
            step_rows.count_batch(connection, lease.step_id, attempts=1)
