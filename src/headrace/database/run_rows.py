"""Queries of runs. Times are epoch milliseconds; every change is guarded and says whether it took."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, insert, not_, select, update
from sqlalchemy.engine import Row

from headrace.database.facts import Fired, RunEnded, note
from headrace.database.states import RUN_END, RunState
from headrace.database.tables import runs


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it stands; `lease_until` and `fence` are the splitter's.

    `parameters` is JSON text. `sealed`: its job's function has returned, with no step that waits.
    """

    id: str
    job: str
    parameters: str
    state: RunState
    reason: str
    overlap_key: str | None
    overlap_scope: str | None
    sealed: bool
    lease_until: int | None
    fence: int
    failures: int
    parent_run_id: str | None
    parent_batch: int | None
    owner: str | None
    object: str | None
    schedule: str | None
    scheduled_at: int | None
    created_at: int
    ended_at: int | None


_RUN_COLUMNS = [runs.c[name] for name in RunRow.__dataclass_fields__]
_STATE = list(RunRow.__dataclass_fields__).index("state")


def _run(row: Row[Any] | None) -> RunRow | None:
    if row is None:
        return None
    values = list(row)
    values[_STATE] = RunState(values[_STATE])
    return RunRow(*values)


def find_run(connection: Connection, run_id: str) -> RunRow | None:
    """The run, or None."""
    return _run(connection.execute(select(*_RUN_COLUMNS).where(runs.c.id == run_id)).one_or_none())


def find_run_of_firing(connection: Connection, firing_key: str) -> RunRow | None:
    """The run that this firing started, or None: the firing is new."""
    statement = select(*_RUN_COLUMNS).where(runs.c.firing_key == firing_key)
    return _run(connection.execute(statement).one_or_none())


def find_live_run(connection: Connection, overlap_key: str) -> str | None:
    """Id of the run that has not ended and holds the overlap key."""
    return connection.execute(select(runs.c.id).where(runs.c.overlap_key == overlap_key)).scalar_one_or_none()


def list_runs(
    connection: Connection, *, limit: int, job: str | None, state: str | None, object: str | None = None
) -> list[RunRow]:
    """The newest runs first, at most `limit`."""
    statement = select(*_RUN_COLUMNS).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    if job is not None:
        statement = statement.where(runs.c.job == job)
    if state is not None:
        statement = statement.where(runs.c.state == state)
    if object is not None:
        statement = statement.where(runs.c.object == object)
    return [run for row in connection.execute(statement) if (run := _run(row))]


def children_of(connection: Connection, run_id: str, *, limit: int) -> list[RunRow]:
    """The newest of the runs that this one's handlers pushed, at most `limit`."""
    statement = (
        select(*_RUN_COLUMNS)
        .where(runs.c.parent_run_id == run_id)
        .order_by(runs.c.created_at.desc(), runs.c.id)
        .limit(limit)
    )
    return [run for row in connection.execute(statement) if (run := _run(row))]


def insert_run(
    connection: Connection,
    *,
    run_id: str,
    job: str,
    parameters: str,
    state: RunState,
    now: int,
    reason: str = "",
    sealed: bool = False,
    firing_key: str | None = None,
    overlap_key: str | None = None,
    overlap_scope: str | None = None,
    lease_until: int | None = None,
    parent: tuple[str, int] | None = None,
    owner: str | None = None,
    object: str | None = None,
    schedule: str | None = None,
    scheduled_at: int | None = None,
    trace: str | None = None,
) -> None:
    """Write a new run. A run that is inserted in an end state ended now. `parent` is a run and a batch's number."""
    parent_run_id, parent_batch = parent or (None, None)
    connection.execute(
        insert(runs).values(
            id=run_id,
            job=job,
            parameters=parameters,
            state=state,
            reason=reason,
            sealed=sealed,
            firing_key=firing_key,
            overlap_key=overlap_key,
            overlap_scope=overlap_scope,
            lease_until=lease_until,
            fence=1,
            parent_run_id=parent_run_id,
            parent_batch=parent_batch,
            owner=owner,
            object=object,
            schedule=schedule,
            scheduled_at=scheduled_at,
            trace=trace,
            created_at=now,
            ended_at=now if state in RUN_END else None,
        )
    )
    if firing_key is not None:
        note(connection, Fired(job))
    if state in RUN_END:
        note(connection, RunEnded(job, state))


def lease_split(connection: Connection, run_id: str, *, now: int, until: int) -> int | None:
    """Take the splitter's lease of a run whose holder is gone; its fencing number, or None: not to be had."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == RunState.SPLITTING, runs.c.lease_until <= now)
        .values(fence=runs.c.fence + 1, lease_until=until)
        .returning(runs.c.fence)
    )
    return connection.execute(statement).scalar_one_or_none()


def extend_split(connection: Connection, run_id: str, *, fence: int, until: int) -> bool:
    """Keep the splitter's lease; False when another splitter holds the run now."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.fence == fence, runs.c.state == RunState.SPLITTING)
        .values(lease_until=until)
    )
    return connection.execute(statement).rowcount == 1


def abandoned_splits(connection: Connection, *, now: int, limit: int) -> list[str]:
    """Runs whose splitter's lease has ended before the run was sealed."""
    statement = (
        select(runs.c.id)
        .where(runs.c.state == RunState.SPLITTING, runs.c.lease_until <= now)
        .order_by(runs.c.lease_until)
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def leave_split(connection: Connection, run_id: str, *, fence: int, sealed: bool, reason: str = "") -> bool:
    """The splitter lets go: it has no more to say, or waits for a step. False when another one holds the run now."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.fence == fence, runs.c.state == RunState.SPLITTING)
        .values(state=RunState.RUNNING, sealed=sealed, lease_until=None, reason=reason, failures=0)
    )
    return connection.execute(statement).rowcount == 1


def stumble_split(connection: Connection, run_id: str, *, fence: int, until: int) -> bool:
    """The splitter was let down: the next one may take over at `until`. False when another one has the run now."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.fence == fence, runs.c.state == RunState.SPLITTING)
        .values(lease_until=until, failures=runs.c.failures + 1)
    )
    return connection.execute(statement).rowcount == 1


def lock_run(connection: Connection, run_id: str) -> RunRow:
    """The run, and nobody else changes it until the transaction ends."""
    statement = update(runs).where(runs.c.id == run_id).values(fence=runs.c.fence).returning(*_RUN_COLUMNS)
    run = _run(connection.execute(statement).one())
    assert run is not None
    return run


def wake_run(connection: Connection, run_id: str, *, now: int) -> bool:
    """Ask for a splitter: a step has ended that another one waits for. False when there is one, or no use for it."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == RunState.RUNNING, not_(runs.c.sealed))
        .values(state=RunState.SPLITTING, lease_until=now)
    )
    return connection.execute(statement).rowcount == 1


def end_run(connection: Connection, run_id: str, *, state: RunState, now: int) -> bool:
    """End a run and free its overlap key; False when it had ended before."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_((RunState.RUNNING, RunState.CANCELLING)))
        .values(state=state, ended_at=now, overlap_key=None)
        .returning(runs.c.job)
    )
    job = connection.execute(statement).scalar_one_or_none()
    if job is not None:
        note(connection, RunEnded(job, state))
    return job is not None


def state_of(connection: Connection, run_id: str) -> RunState | None:
    """The state of a run, or None."""
    state = connection.execute(select(runs.c.state).where(runs.c.id == run_id)).scalar_one_or_none()
    return None if state is None else RunState(state)


def cancel_run(connection: Connection, run_id: str, *, reason: str) -> bool:
    """Begin to cancel a run: no splitter, no step begins any more. False when it has ended, or is cancelled already."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state.in_((RunState.QUEUED, RunState.SPLITTING, RunState.RUNNING)))
        .values(state=RunState.CANCELLING, sealed=True, lease_until=None, fence=runs.c.fence + 1, reason=reason)
    )
    return connection.execute(statement).rowcount == 1


def reopen_run(connection: Connection, run_id: str, *, waits: bool) -> None:
    """Make a run live again of which something is tried once more; `waits`: steps of it want its splitter again."""
    values: dict[str, Any] = {"state": RunState.RUNNING, "ended_at": None}
    if waits:
        values["sealed"] = False
    reopened = (RunState.COMPLETED, RunState.FAILED, RunState.RUNNING)
    connection.execute(update(runs).where(runs.c.id == run_id, runs.c.state.in_(reopened)).values(values))


def start_next_queued(connection: Connection, scope: str, *, overlap_key: str, now: int) -> str | None:
    """Let the run that waits longest in a scope begin, under the key that is free now; its id, or None."""
    oldest = (
        select(runs.c.id)
        .where(runs.c.overlap_scope == scope, runs.c.state == RunState.QUEUED)
        .order_by(runs.c.created_at, runs.c.id)
        .limit(1)
        .scalar_subquery()
    )
    statement = (
        update(runs)
        .where(runs.c.id == oldest, runs.c.state == RunState.QUEUED)
        .values(state=RunState.SPLITTING, overlap_key=overlap_key, lease_until=now)
        .returning(runs.c.id)
    )
    return connection.execute(statement).scalar_one_or_none()
