"""Queries of steps and their counters. Times are epoch milliseconds."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, case, exists, func, insert, not_, select, update
from sqlalchemy.engine import Row

from headrace.database.facts import BatchesEnded, note
from headrace.database.prepared import Prepared
from headrace.database.states import LIVE, BatchState, ItemState, RunState
from headrace.database.tables import batches, runs, steps


@dataclass(frozen=True, slots=True)
class StepRow:
    """A step with its counters.

    `after` numbers the steps whose end it waits for. `cursor` is JSON text, None before the first batch. `reason`
    says why it was left out.
    """

    id: int
    run_id: str
    number: int
    handler: str
    after: tuple[int, ...]
    even_if_failed: bool
    reason: str
    cursor: str | None
    sealed: bool
    item_count: int
    batches: int
    done: int
    dead: int
    cancelled: int
    items_done: int
    items_failed: int
    attempts: int
    created_at: int
    ended_at: int | None

    @property
    def terminal(self) -> int:
        """Batches that will not change any more."""
        return self.done + self.dead + self.cancelled

    @property
    def failed(self) -> bool:
        """Whether a batch of it is dead, or it was left out."""
        return self.dead > 0 or self.reason != ""


_COLUMNS = [steps.c[name] for name in StepRow.__dataclass_fields__]
_AFTER = list(StepRow.__dataclass_fields__).index("after")


def _step(row: Row[Any]) -> StepRow:
    values = list(row)
    values[_AFTER] = tuple(json.loads(values[_AFTER]))
    return StepRow(*values)


def list_steps(connection: Connection, run_id: str) -> list[StepRow]:
    """The steps of a run in order."""
    statement = select(*_COLUMNS).where(steps.c.run_id == run_id).order_by(steps.c.number)
    return [_step(row) for row in connection.execute(statement)]


def steps_of(connection: Connection, run_ids: Sequence[str]) -> dict[str, list[StepRow]]:
    """The steps of several runs, each run's in order."""
    found: dict[str, list[StepRow]] = {run_id: [] for run_id in run_ids}
    statement = select(*_COLUMNS).where(steps.c.run_id.in_(run_ids)).order_by(steps.c.run_id, steps.c.number)
    for row in connection.execute(statement):
        step = _step(row)
        found[step.run_id].append(step)
    return found


def insert_step(
    connection: Connection,
    *,
    run_id: str,
    number: int,
    handler: str,
    now: int,
    after: Sequence[int] = (),
    even_if_failed: bool = False,
    sealed: bool = False,
) -> int:
    """Write a step without batches; its id."""
    values = {
        "run_id": run_id,
        "number": number,
        "handler": handler,
        "after": json.dumps(list(after)),
        "even_if_failed": even_if_failed,
        "sealed": sealed,
        "created_at": now,
    }
    return int(connection.execute(insert(steps).values(values).returning(steps.c.id)).scalar_one())


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
    statement = update(steps).where(steps.c.id == step_id).values(sealed=True).returning(*_COLUMNS)
    return _step(connection.execute(statement).one())


def leave_out(connection: Connection, step_id: int, *, reason: str, now: int) -> None:
    """End a step that has no batch and will have none, with the reason."""
    statement = update(steps).where(steps.c.id == step_id).values(sealed=True, reason=reason, ended_at=now)
    connection.execute(statement)


_count = Prepared(
    update(steps)
    .where(steps.c.id == bindparam("step_id"))
    .values(
        done=steps.c.done + bindparam("more_done"),
        dead=steps.c.dead + bindparam("more_dead"),
        cancelled=steps.c.cancelled + bindparam("more_cancelled"),
        items_done=steps.c.items_done + bindparam("more_items_done"),
        items_failed=steps.c.items_failed + bindparam("more_items_failed"),
        attempts=steps.c.attempts + bindparam("more_attempts"),
        moved_at=func.coalesce(bindparam("now"), steps.c.moved_at),
    )
    .returning(steps.c.sealed, steps.c.batches - steps.c.done - steps.c.dead - steps.c.cancelled, steps.c.handler)
)


def count_batch(
    connection: Connection,
    step_id: int,
    *,
    done: int = 0,
    dead: int = 0,
    cancelled: int = 0,
    items_done: int = 0,
    items_failed: int = 0,
    attempts: int = 0,
    now: int | None = None,
) -> bool:
    """Add to a step's counters; True when they say that its last batch has ended.

    `now` is given where an attempt has ended. Locks the step's row until the transaction ends, so of two last batches
    the second sees the first.
    """
    values = {
        "step_id": step_id,
        "more_done": done,
        "more_dead": dead,
        "more_cancelled": cancelled,
        "more_items_done": items_done,
        "more_items_failed": items_failed,
        "more_attempts": attempts,
        "now": now,
    }
    ((sealed, left, handler),) = _count.rows(connection, values)
    if done or dead or cancelled:
        note(connection, BatchesEnded(handler, done, dead, cancelled, items_done, items_failed))
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
        select(*_COLUMNS)
        .join(runs, runs.c.id == steps.c.run_id)
        .where(
            runs.c.state.in_((RunState.RUNNING, RunState.SPLITTING, RunState.CANCELLING)),
            steps.c.sealed,
            steps.c.ended_at.is_(None),
            not_(live),
        )
        .limit(limit)
    )
    return [_step(row) for row in connection.execute(statement)]


def _letters(state: ItemState) -> ColumnElement[int]:
    outcomes = func.coalesce(batches.c.outcomes, "")
    return func.length(outcomes) - func.length(func.replace(outcomes, state.value, ""))


# What `tally` says of one batch, for all of a step.
_items_done = case(
    (batches.c.outcomes.is_not(None), _letters(ItemState.DONE)),
    (batches.c.state == BatchState.DONE, batches.c.item_count),
    else_=0,
)
_items_failed = case(
    (batches.c.state == BatchState.DEAD, batches.c.item_count - _items_done),
    (batches.c.state == BatchState.DONE, _letters(ItemState.FAILED)),
    else_=0,
)


_ended = batches.c.state.in_((BatchState.DONE, BatchState.DEAD, BatchState.CANCELLED))
_RECOUNTED = {
    "batches": func.count(),
    "item_count": func.coalesce(func.sum(batches.c.item_count), 0),
    "done": func.count().filter(batches.c.state == BatchState.DONE),
    "dead": func.count().filter(batches.c.state == BatchState.DEAD),
    "cancelled": func.count().filter(batches.c.state == BatchState.CANCELLED),
    "items_done": func.coalesce(func.sum(_items_done).filter(_ended), 0),
    "items_failed": func.coalesce(func.sum(_items_failed).filter(_ended), 0),
}
# Written once: to write them costs more than to run them, and a purge does so for every task.
_by_rows = select(*(count.label(f"new_{name}") for name, count in _RECOUNTED.items())).where(
    batches.c.step_id == bindparam("recounted")
)
_recount = (
    update(steps)
    .where(steps.c.id == bindparam("recounted"))
    .values({name: bindparam(f"new_{name}") for name in _RECOUNTED})
    .returning(*_COLUMNS)
)


def recount_step(connection: Connection, step_id: int) -> StepRow:
    """Rebuild a step's counters from its batches' rows; the step as it then stands. Locks the step's row."""
    counted = connection.execute(_by_rows, {"recounted": step_id}).one()
    return _step(connection.execute(_recount, {"recounted": step_id, **counted._mapping}).one())


def reopen_step(connection: Connection, step_id: int) -> StepRow:
    """Make a step live again, with counters from its batches' rows. Locks the step's row."""
    connection.execute(update(steps).where(steps.c.id == step_id).values(ended_at=None))
    return recount_step(connection, step_id)


def reopen_left_out(connection: Connection, run_id: str) -> bool:
    """Have the steps of a run that were left out wait again; whether there were any."""
    statement = (
        update(steps)
        .where(steps.c.run_id == run_id, steps.c.reason != "")
        .values(sealed=False, reason="", ended_at=None)
    )
    return connection.execute(statement).rowcount > 0


def seal_all(connection: Connection, run_id: str) -> None:
    """Mark that no step of a run gets another batch; those that wait are ended at once by their rows."""
    connection.execute(update(steps).where(steps.c.run_id == run_id, not_(steps.c.sealed)).values(sealed=True))


def handlers_of(connection: Connection, step_ids: Collection[int]) -> dict[int, str]:
    """The handler of each of these steps."""
    statement = select(steps.c.id, steps.c.handler).where(steps.c.id.in_(step_ids))
    return {row.id: row.handler for row in connection.execute(statement)}
