"""What goes wrong now, a handler or a job at a time: each query reads a bounded number of rows, whatever the backlog.

Times are epoch milliseconds.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, Select, Subquery, bindparam, func, select

from headrace.database.states import BatchState, Outcome, RunState
from headrace.database.tables import attempts, batches, runs, steps

FAILURES = (Outcome.FAILED, Outcome.PERMANENT, Outcome.TIMED_OUT, Outcome.LOST)
MOST_READ = 1_000
_WAITING = 500
# Batches that are executed at about the same time were written at about the same time.
_NEAR = 5_000
# Written into the statement: SQLite sees that its partial index serves only where it reads the same list.
_failed = attempts.c.outcome.in_(bindparam("failures", FAILURES, expanding=True, literal_execute=True))


@dataclass(frozen=True, slots=True)
class Failures:
    """Attempts of a handler that ended badly: how many, how many of them said nothing, since when, the newest batch."""

    handler: str
    count: int
    silent: int
    since: int
    batch_id: int


@dataclass(frozen=True, slots=True)
class Failure:
    """An attempt that ended badly, of a batch."""

    batch_id: int
    handler: str
    number: int
    outcome: Outcome
    error: str
    ended_at: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """Of a handler, the batch that has waited longest for an attempt; since `since`, none of its step ended."""

    handler: str
    batch_id: int
    since: int


@dataclass(frozen=True, slots=True)
class LastRun:
    """The newest run of a job that completed or failed."""

    job: str
    run_id: str
    state: RunState
    reason: str


def dead_since(connection: Connection, *, since: int) -> dict[str, int]:
    """Batches that died since a time and are dead, by handler; of the latest 1,000."""
    died = _steps_where(batches.c.state == BatchState.DEAD, batches.c.ended_at >= since)
    return _by_handler(connection, died.order_by(batches.c.ended_at.desc()))


def undecided(connection: Connection) -> dict[str, int]:
    """Batches that wait for a person's decision, by handler; of the latest 1,000."""
    waiting = _steps_where(batches.c.state == BatchState.UNDECIDED)
    return _by_handler(connection, waiting.order_by(batches.c.id.desc()))


def held_too_long(connection: Connection, *, now: int) -> dict[str, int]:
    """Batches whose attempt is past its lease and has not been ended, by handler; of 1,000."""
    return _by_handler(connection, _steps_where(batches.c.state == BatchState.RUNNING, batches.c.lease_until < now))


def at_work(connection: Connection, *, now: int) -> dict[str, int]:
    """Batches that an attempt holds now, by handler; of 1,000."""
    return _by_handler(connection, _steps_where(batches.c.state == BatchState.RUNNING, batches.c.lease_until >= now))


def _steps_where(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
    return select(batches.c.step_id).where(*conditions)


def _by_handler(connection: Connection, step_ids: Select[tuple[int]]) -> dict[str, int]:
    some = step_ids.limit(MOST_READ).subquery()
    statement = (
        select(steps.c.handler, func.count().label("total"))
        .select_from(some)
        .join(steps, steps.c.id == some.c.step_id)
        .group_by(steps.c.handler)
    )
    return {row.handler: row.total for row in connection.execute(statement)}


def failures_since(connection: Connection, *, since: int) -> list[Failures]:
    """Attempts that ended badly since a time, by handler; of the latest 1,000."""
    some = (
        select(attempts.c.batch_id, attempts.c.outcome, attempts.c.ended_at)
        .where(_failed, attempts.c.ended_at >= since)
        .order_by(attempts.c.ended_at.desc())
        .limit(MOST_READ)
        .subquery()
    )
    silent = func.count().filter(some.c.outcome.in_((Outcome.TIMED_OUT, Outcome.LOST)))
    statement = (
        select(steps.c.handler, func.count(), silent, func.min(some.c.ended_at), func.max(some.c.batch_id))
        .select_from(some)
        .join(batches, batches.c.id == some.c.batch_id)
        .join(steps, steps.c.id == batches.c.step_id)
        .group_by(steps.c.handler)
    )
    return [Failures(*row) for row in connection.execute(statement)]


def latest_failures(connection: Connection, *, limit: int) -> list[Failure]:
    """The attempts that ended badly, the latest first."""
    some = select(attempts).where(_failed).order_by(attempts.c.ended_at.desc()).limit(limit).subquery()
    statement = (
        select(some.c.batch_id, steps.c.handler, some.c.number, some.c.outcome, some.c.error, some.c.ended_at)
        .select_from(some)
        .join(batches, batches.c.id == some.c.batch_id)
        .join(steps, steps.c.id == batches.c.step_id)
        .order_by(some.c.ended_at.desc())
    )
    return [
        Failure(batch_id, handler, number, Outcome(outcome), error, ended_at)
        for batch_id, handler, number, outcome, error, ended_at in connection.execute(statement)
    ]


def ended_near(connection: Connection, handler: str, batch_id: int, *, since: int, states: Sequence[BatchState]) -> int:
    """Batches of a handler that ended in these states since a time, of the 5,000 on either side of one."""
    statement = (
        select(func.count())
        .select_from(batches)
        .join(steps, steps.c.id == batches.c.step_id)
        .where(
            batches.c.id.between(batch_id - _NEAR, batch_id + _NEAR),
            batches.c.state.in_(states),
            batches.c.ended_at >= since,
            steps.c.handler == handler,
        )
    )
    return int(connection.execute(statement).scalar_one())


def failures_near(connection: Connection, handler: str, batch_id: int, *, since: int) -> int:
    """Attempts of a handler that ended badly since a time, of the 5,000 batches on either side of one."""
    some = (
        select(attempts.c.batch_id)
        .where(_failed, attempts.c.ended_at >= since)
        .order_by(attempts.c.ended_at.desc())
        .limit(MOST_READ)
        .subquery()
    )
    statement = (
        select(func.count())
        .select_from(some)
        .join(batches, batches.c.id == some.c.batch_id)
        .join(steps, steps.c.id == batches.c.step_id)
        .where(some.c.batch_id.between(batch_id - _NEAR, batch_id + _NEAR), steps.c.handler == handler)
    )
    return int(connection.execute(statement).scalar_one())


def longest_waiting(connection: Connection, *, before: int) -> list[Waiting]:
    """Batches that have waited since before a time, one a handler; of the 500 first of each way of waiting.

    One that failed before is not looked at: it waits for its queue's backoff, which may be long.
    """
    immediate = batches.c.state == BatchState.PENDING, batches.c.due_at.is_(None)
    due = batches.c.state == BatchState.PENDING, batches.c.due_at <= before
    pushed = (batches.c.state == BatchState.PUSHED,)
    found: dict[str, Waiting] = {}
    for conditions, order in ((immediate, batches.c.id), (due, batches.c.due_at), (pushed, batches.c.check_at)):
        some = select(batches.c.id, batches.c.step_id, batches.c.due_at).where(*conditions, batches.c.failures == 0)
        for waiting in _since(connection, some.order_by(order).limit(_WAITING).subquery()):
            first = found.get(waiting.handler)
            if waiting.since < before and (first is None or waiting.since < first.since):
                found[waiting.handler] = waiting
    return list(found.values())


def _since(connection: Connection, some: Subquery) -> Iterable[Waiting]:
    moved = func.coalesce(steps.c.moved_at, steps.c.created_at)
    statement = select(steps.c.handler, some.c.id, moved, some.c.due_at).join(steps, steps.c.id == some.c.step_id)
    for handler, batch_id, moved_at, due_at in connection.execute(statement):
        yield Waiting(handler, batch_id, max(moved_at, due_at or 0))


def last_run(connection: Connection, job: str) -> LastRun | None:
    """The newest run of a job that completed or failed."""
    statement = (
        select(runs.c.job, runs.c.id, runs.c.state, runs.c.reason)
        .where(runs.c.job == job, runs.c.state.in_((RunState.COMPLETED, RunState.FAILED)))
        .order_by(runs.c.created_at.desc())
        .limit(1)
    )
    row = connection.execute(statement).one_or_none()
    return None if row is None else LastRun(row.job, row.id, RunState(row.state), row.reason)
