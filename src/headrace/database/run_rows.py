"""Queries of runs and steps. Times are epoch milliseconds; every change is guarded and says whether it took."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, not_, select, update
from sqlalchemy.engine import Row

from headrace.database.prepared import Prepared
from headrace.database.states import BatchState, RunState
from headrace.database.tables import batches, runs, steps

LIVE = (BatchState.PENDING, BatchState.PUSHED, BatchState.RUNNING)
RUN_END = (RunState.COMPLETED, RunState.FAILED, RunState.SKIPPED)


@dataclass(frozen=True, slots=True)
class RunRow:
    """A run as it stands; `lease_until` and `fence` are the splitter's."""

    id: str
    job: str
    parameters: str
    state: RunState
    reason: str
    lease_until: int | None
    fence: int
    created_at: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step with its counters; `cursor` is JSON text, None before the first batch."""

    id: int
    run_id: str
    number: int
    handler: str
    cursor: str | None
    sealed: bool
    item_count: int
    batches: int
    done: int
    dead: int
    cancelled: int
    items_done: int
    attempts: int
    ended_at: int | None

    @property
    def terminal(self) -> int:
        """Batches that will not change any more."""
        return self.done + self.dead + self.cancelled


_RUN_COLUMNS = [runs.c[name] for name in RunRow.__dataclass_fields__]
_STEP_COLUMNS = [steps.c[name] for name in StepRow.__dataclass_fields__]


def _run(row: Row[Any] | None) -> RunRow | None:
    if row is None:
        return None
    values = dict(row._mapping)
    values["state"] = RunState(values["state"])
    return RunRow(**values)


def _step(row: Row[Any] | None) -> StepRow | None:
    return None if row is None else StepRow(**row._mapping)


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


def list_runs(connection: Connection, *, limit: int, job: str | None, state: str | None) -> list[RunRow]:
    """The newest runs first, at most `limit`."""
    statement = select(*_RUN_COLUMNS).order_by(runs.c.created_at.desc(), runs.c.id).limit(limit)
    if job is not None:
        statement = statement.where(runs.c.job == job)
    if state is not None:
        statement = statement.where(runs.c.state == state)
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
    firing_key: str | None = None,
    overlap_key: str | None = None,
    lease_until: int | None = None,
) -> None:
    """Write a new run. A run that is inserted in an end state ended now."""
    connection.execute(
        insert(runs).values(
            id=run_id,
            job=job,
            parameters=parameters,
            state=state,
            reason=reason,
            firing_key=firing_key,
            overlap_key=overlap_key,
            lease_until=lease_until,
            fence=1,
            created_at=now,
            ended_at=now if state in RUN_END else None,
        )
    )


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


def seal_run(connection: Connection, run_id: str, *, fence: int, reason: str = "") -> bool:
    """The splitter has no more to say. False when another splitter holds the run now."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.fence == fence, runs.c.state == RunState.SPLITTING)
        .values(state=RunState.RUNNING, lease_until=None, reason=reason)
    )
    return connection.execute(statement).rowcount == 1


def end_run(connection: Connection, run_id: str, *, state: RunState, now: int) -> bool:
    """End a sealed run and free its overlap key; False when it had ended before."""
    statement = (
        update(runs)
        .where(runs.c.id == run_id, runs.c.state == RunState.RUNNING)
        .values(state=state, ended_at=now, overlap_key=None)
    )
    return connection.execute(statement).rowcount == 1


def find_step(connection: Connection, run_id: str, number: int) -> StepRow | None:
    """Step `number` (from 1) of a run, or None."""
    statement = select(*_STEP_COLUMNS).where(steps.c.run_id == run_id, steps.c.number == number)
    return _step(connection.execute(statement).one_or_none())


def list_steps(connection: Connection, run_id: str) -> list[StepRow]:
    """The steps of a run in order."""
    statement = select(*_STEP_COLUMNS).where(steps.c.run_id == run_id).order_by(steps.c.number)
    return [step for row in connection.execute(statement) if (step := _step(row))]


def insert_step(connection: Connection, *, run_id: str, number: int, handler: str, now: int) -> int:
    """Write a step without batches; its id."""
    statement = (
        insert(steps).values(run_id=run_id, number=number, handler=handler, created_at=now).returning(steps.c.id)
    )
    return int(connection.execute(statement).scalar_one())


_grow = (
    update(steps)
    .where(steps.c.id == bindparam("step_id"))
    .values(
        cursor=bindparam("new_cursor"),
        batches=steps.c.batches + bindparam("more_batches"),
        item_count=steps.c.item_count + bindparam("more_items"),
    )
)


def grow_step(connection: Connection, step_id: int, *, cursor: str | None, batches: int, items: int) -> None:
    """Add to a step's totals and move its cursor."""
    values = {"step_id": step_id, "new_cursor": cursor, "more_batches": batches, "more_items": items}
    connection.execute(_grow, values)


def seal_step(connection: Connection, step_id: int) -> StepRow:
    """Mark that no batch will be added. Locks the step's row until the transaction ends."""
    statement = update(steps).where(steps.c.id == step_id).values(sealed=True).returning(*_STEP_COLUMNS)
    return StepRow(**connection.execute(statement).one()._mapping)


_count = Prepared(
    update(steps)
    .where(steps.c.id == bindparam("step_id"))
    .values(
        done=steps.c.done + bindparam("more_done"),
        dead=steps.c.dead + bindparam("more_dead"),
        items_done=steps.c.items_done + bindparam("more_items_done"),
        attempts=steps.c.attempts + bindparam("more_attempts"),
    )
    .returning(steps.c.sealed, steps.c.batches - steps.c.done - steps.c.dead - steps.c.cancelled)
)


def count_batch(
    connection: Connection,
    step_id: int,
    *,
    done: int = 0,
    dead: int = 0,
    items_done: int = 0,
    attempts: int = 0,
) -> bool:
    """Add to a step's counters; True when they say that its last batch has ended.

    Locks the step's row until the transaction ends, so of two last batches the second sees the first.
    """
    values = {
        "step_id": step_id,
        "more_done": done,
        "more_dead": dead,
        "more_items_done": items_done,
        "more_attempts": attempts,
    }
    ((sealed, left),) = _count.rows(connection, values)
    return bool(sealed) and left <= 0


def end_step(connection: Connection, step_id: int, *, now: int) -> bool:
    """End a sealed step; False when it had ended before."""
    statement = (
        update(steps).where(steps.c.id == step_id, steps.c.sealed, steps.c.ended_at.is_(None)).values(ended_at=now)
    )
    return connection.execute(statement).rowcount == 1


def unended_steps(connection: Connection, *, limit: int) -> list[StepRow]:
    """Sealed steps that have not ended although no batch of theirs is live: counters were wrong."""
    live = exists().where(batches.c.step_id == steps.c.id, batches.c.state.in_(LIVE))
    statement = (
        select(*_STEP_COLUMNS)
        .join(runs, runs.c.id == steps.c.run_id)
        .where(runs.c.state == RunState.RUNNING, steps.c.sealed, steps.c.ended_at.is_(None), not_(live))
        .limit(limit)
    )
    return [step for row in connection.execute(statement) if (step := _step(row))]


def recount_step(connection: Connection, step_id: int) -> StepRow:
    """Rebuild a step's counters from its batches' rows; the step as it then stands. Locks the step's row."""
    counted = select(
        func.count(),
        func.coalesce(func.sum(batches.c.item_count), 0),
        func.count().filter(batches.c.state == BatchState.DONE),
        func.count().filter(batches.c.state == BatchState.DEAD),
        func.count().filter(batches.c.state == BatchState.CANCELLED),
        func.coalesce(func.sum(batches.c.item_count).filter(batches.c.state == BatchState.DONE), 0),
    ).where(batches.c.step_id == step_id)
    total, items, done, dead, cancelled, items_done = connection.execute(counted).one()
    statement = (
        update(steps)
        .where(steps.c.id == step_id)
        .values(batches=total, item_count=items, done=done, dead=dead, cancelled=cancelled, items_done=items_done)
        .returning(*_STEP_COLUMNS)
    )
    return StepRow(**connection.execute(statement).one()._mapping)


def purge_runs(connection: Connection, *, ended_before: int, limit: int) -> int:
    """Delete runs that ended before a time, with all that is theirs; how many."""
    old = select(runs.c.id).where(runs.c.ended_at < ended_before).order_by(runs.c.ended_at).limit(limit)
    ids = list(connection.execute(old).scalars())
    if ids:
        connection.execute(delete(runs).where(runs.c.id.in_(ids)))
    return len(ids)
