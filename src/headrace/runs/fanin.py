"""How a run ends: by its batches' rows, in the transaction of the last one."""

from sqlalchemy import Connection

from headrace.database import run_rows
from headrace.database.states import RunState


def end_if_complete(connection: Connection, step_id: int, *, now: int) -> bool:
    """End the step, and with it the run, when it is sealed and every batch's row is terminal.

    Call it when the counters say so: rows decide, and mend counters that were wrong.
    """
    step = run_rows.recount_step(connection, step_id)
    if not step.sealed or step.terminal < step.batches or not run_rows.end_step(connection, step_id, now=now):
        return False
    run = run_rows.find_run(connection, step.run_id)
    failed = step.dead > 0 or (run is not None and bool(run.reason))
    run_rows.end_run(connection, step.run_id, state=RunState.FAILED if failed else RunState.COMPLETED, now=now)
    return True
