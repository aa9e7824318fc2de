"""Queries of what waits and what moves, at a cost that finished work does not raise. Times are epoch milliseconds.

Rows in a state are found by partial indexes, and at most `COUNTED` of each state are looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, case, func, or_, select

from headrace.database.states import BatchState, RunState
from headrace.database.tables import batches, runs, steps

COUNTED = 10_000
GLIMPSED = 2_000
"""Rows of a state that pages look at, which are read again and again."""
_LIVE_RUNS = (RunState.QUEUED, RunState.SPLITTING, RunState.RUNNING, RunState.CANCELLING)
# The order of the rows of a state is that of its partial index: along any other, finished rows would be read.
_ORDERS = {
    BatchState.PENDING: batches.c.run_id,
    BatchState.PUSHED: batches.c.check_at,
    BatchState.RUNNING: batches.c.lease_until,
    BatchState.UNDECIDED: batches.c.id,
    BatchState.DEAD: batches.c.id,
}


@dataclass(frozen=True, slots=True)
class Backlog:
    """Batches of one handler in one state: how many, of these how many are due later, since when the first waits.

    `waits_since` is when its time came, or, where it was for at once, when its step began; None where none is due.
    """

    handler: str
    state: BatchState
    count: int
    delayed: int
    waits_since: int | None


def read_backlog(connection: Connection, *, now: int, at_most: int = COUNTED) -> list[Backlog]:
    """What there is in each state that is no good end, by handler; states of which a handler has none are left out.

    Where more than `at_most` batches are in a state, `count` is of the first so many.
    """
    return [
        Backlog(handler, state, int(count), int(delayed), waits_since)
        for state, counts in _COUNTS.items()
        for handler, count, delayed, waits_since in connection.execute(counts, {"now": now, "at_most": at_most})
    ]


def _count_of(state: BatchState) -> Select[Any]:
    some = (
        select(batches.c.step_id, batches.c.due_at)
        .where(batches.c.state == state)
        .order_by(_ORDERS[state])
        .limit(bindparam("at_most"))
        .subquery()
    )
    is_later = and_(some.c.due_at.is_not(None), some.c.due_at > bindparam("now"))
    # By step first: to look up the step of each batch would cost more than all the rest.
    by_step = (
        select(
            some.c.step_id,
            func.count().label("count"),
            func.count().filter(is_later).label("delayed"),
            func.count().filter(some.c.due_at.is_(None)).label("at_once"),
            func.min(some.c.due_at).filter(~is_later).label("due_at"),
        )
        .group_by(some.c.step_id)
        .subquery()
    )
    since = case((by_step.c.at_once > 0, steps.c.created_at), else_=by_step.c.due_at)
    earlier = case((by_step.c.due_at < since, by_step.c.due_at), else_=since)
    return (
        select(steps.c.handler, func.sum(by_step.c.count), func.sum(by_step.c.delayed), func.min(earlier))
        .select_from(by_step.join(steps, steps.c.id == by_step.c.step_id))
        .group_by(steps.c.handler)
    )


# To write a statement costs more than to run it: these are written once.
_COUNTS = {state: _count_of(state) for state in _ORDERS}


def outstanding_by_handler(connection: Connection) -> dict[str, int]:
    """Batches that have not ended, by handler, as the counters of their steps tell: exact for large runs as well.

    At most `COUNTED` runs are looked at.
    """
    some = select(runs.c.id).where(runs.c.state.in_(_LIVE_RUNS)).limit(COUNTED).subquery()
    statement = (
        select(steps.c.handler, func.sum(steps.c.batches - steps.c.done - steps.c.dead - steps.c.cancelled))
        .join(some, some.c.id == steps.c.run_id)
        .group_by(steps.c.handler)
    )
    return {handler: int(count) for handler, count in connection.execute(statement)}


def count_in(backlog: Sequence[Backlog], *states: BatchState) -> int:
    """Batches in these states. Pure."""
    return sum(each.count for each in backlog if each.state in states)


def waits_since(backlog: Iterable[Backlog]) -> int | None:
    """When the first of those that wait was due, in epoch milliseconds; None where none is. Pure."""
    waiting = (each for each in backlog if each.state in (BatchState.PENDING, BatchState.PUSHED))
    return min((each.waits_since for each in waiting if each.waits_since is not None), default=None)


def count_waiting(handler: str, backlog: Sequence[Backlog], outstanding: Mapping[str, int]) -> int:
    """Batches of a handler that wait: by the rows that were looked at, or by the steps' counters, if these tell more.

    The counters are exact for large runs, the rows for many small ones. Pure.
    """
    own = [each for each in backlog if each.handler == handler]
    held = count_in(own, BatchState.RUNNING, BatchState.UNDECIDED)
    return max(count_in(own, BatchState.PENDING, BatchState.PUSHED), outstanding.get(handler, 0) - held)


def count_live_runs(connection: Connection) -> dict[RunState, int]:
    """Runs that have not ended, by state: at most `COUNTED` of each."""
    return {state: connection.execute(_RUNS_IN[state]).scalar_one() for state in _LIVE_RUNS}


def _count_runs(state: RunState) -> Select[Any]:
    some = select(runs.c.id).where(runs.c.state == state).limit(COUNTED).subquery()
    return select(func.count()).select_from(some)


_RUNS_IN = {state: _count_runs(state) for state in _LIVE_RUNS}


@dataclass(frozen=True, slots=True)
class Movement:
    """Since when the first due work waits, and when anything last moved: an attempt began or ended, a run ended."""

    waits_since: int | None
    moved_at: int | None


def read_movement(connection: Connection, *, now: int) -> Movement:
    """Whether there is work to do, and whether it is being done.

    Work is a batch whose time has come and a run that wants a splitter. A batch that failed before is not looked at:
    it waits for its queue's backoff, which may be long.
    """
    waits = [connection.execute(statement).scalar_one_or_none() for statement in _waits_since(now)]
    moves = [connection.execute(statement).scalar_one_or_none() for statement in _MOVED_AT]
    return Movement(
        min((each for each in waits if each is not None), default=None),
        max((each for each in moves if each is not None), default=None),
    )


def _waits_since(now: int) -> list[Select[Any]]:
    is_due = or_(batches.c.due_at.is_(None), batches.c.due_at <= now)
    first = [
        select(batches.c.step_id, batches.c.due_at)
        .where(batches.c.state == state, condition, batches.c.failures == 0)
        .order_by(order)
        .limit(1)
        .subquery()
        for state, condition, order in (
            (BatchState.PENDING, batches.c.due_at.is_(None), batches.c.id),
            (BatchState.PENDING, and_(batches.c.due_at.is_not(None), batches.c.due_at <= now), batches.c.due_at),
            (BatchState.PUSHED, is_due, batches.c.check_at),
        )
    ]
    stranded = select(func.min(runs.c.lease_until)).where(runs.c.state == RunState.SPLITTING, runs.c.lease_until <= now)
    return [
        stranded,
        *(
            select(func.coalesce(each.c.due_at, steps.c.created_at)).join(each, each.c.step_id == steps.c.id)
            for each in first
        ),
    ]


_live = select(runs.c.id).where(runs.c.state.in_(_LIVE_RUNS)).order_by(runs.c.created_at.desc()).limit(1_000)
_MOVED_AT: tuple[Select[Any], ...] = (
    select(func.max(steps.c.moved_at)).where(steps.c.run_id.in_(_live)),
    select(func.max(batches.c.started_at)).where(batches.c.state == BatchState.RUNNING),
    select(runs.c.ended_at).where(runs.c.ended_at.is_not(None)).order_by(runs.c.ended_at.desc()).limit(1),
)
