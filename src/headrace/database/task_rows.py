"""Queries of the list of tasks: batches in any state, narrowed, at a cost that the number of batches does not raise.

What an index can find is found by it. The rest is looked for among a bounded number of the newest batches; the answer
says how far that was. Times are epoch milliseconds.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, union_all
from sqlalchemy.engine import RowMapping

from headrace.database.states import BatchState, DisplayState
from headrace.database.tables import batches, runs, steps

LOOKED_AT = 2_000
"""Batches of one source that a page looks at."""
RUNS_LOOKED_AT = 100
"""Runs about one object, or with one beginning of an id, that a page looks at."""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A batch as a list shows it; `job` and `object` are its run's. A task that was pushed by itself is its own job."""

    id: int
    run_id: str
    handler: str
    job: str
    object: str | None
    number: int
    state: BatchState
    cause: str
    error: str
    item_count: int
    attempt: int
    ended_at: int | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which tasks; None is any.

    `handlers` are operationIds. `standalone`: those that were pushed by themselves, or all others. `runs` is the
    beginning of a run's id, which counts where there is no batch `batch_id`; `run_id` is a whole one. `object` is what
    runs are about. `before`: those below this id.
    """

    states: Collection[DisplayState] | None = None
    handlers: Collection[str] | None = None
    run_id: str | None = None
    runs: str | None = None
    object: str | None = None
    batch_id: int | None = None
    standalone: bool | None = None
    before: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks, the newest first. `before` is where the next page begins, None at the end.

    `looked_at` is how many batches were looked at where that is why the page is not full, else None.
    """

    tasks: list[TaskRow]
    before: int | None = None
    looked_at: int | None = None


_ROW = (
    select(
        batches.c.id,
        batches.c.run_id,
        steps.c.handler,
        runs.c.job,
        runs.c.object,
        batches.c.number,
        batches.c.state,
        batches.c.cause,
        batches.c.error,
        batches.c.item_count,
        batches.c.attempt,
        batches.c.ended_at,
    )
    .join(steps, steps.c.id == batches.c.step_id)
    .join(runs, runs.c.id == batches.c.run_id)
)
_STATES: dict[DisplayState, ColumnElement[bool]] = {
    DisplayState.WAITING: batches.c.state.in_((BatchState.PENDING, BatchState.PUSHED)),
    DisplayState.RUNNING: batches.c.state == BatchState.RUNNING,
    DisplayState.SUCCESSFUL: and_(batches.c.state == BatchState.DONE, batches.c.error == ""),
    DisplayState.WARNING: or_(
        batches.c.state == BatchState.UNDECIDED, and_(batches.c.state == BatchState.DONE, batches.c.error != "")
    ),
    DisplayState.ERROR: batches.c.state == BatchState.DEAD,
    DisplayState.CANCELLED: batches.c.state == BatchState.CANCELLED,
}


def list_tasks(connection: Connection, wanted: Wanted, *, limit: int) -> Page:
    """Tasks that are wanted, at most `limit`. Of several runs they come run by run, the newest run first."""
    if wanted.batch_id is not None:
        exists = select(batches.c.id).where(batches.c.id == wanted.batch_id)
        # Digits alone may begin the id of a run, too.
        if wanted.runs is None or connection.execute(exists).scalar_one_or_none() is not None:
            ids = [] if wanted.before is not None and wanted.batch_id >= wanted.before else [wanted.batch_id]
            return Page(_rows(connection, ids, _conditions(wanted), limit))
    if wanted.run_id is not None or wanted.object is not None or wanted.runs is not None:
        return _of_runs(connection, wanted, limit)
    if wanted.states is not None and DisplayState.SUCCESSFUL not in wanted.states:
        found = _of_states(connection, wanted, limit)
        if found is not None:
            return found
    return _newest(connection, wanted, limit)


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.states is not None:
        conditions.append(or_(*(_STATES[state] for state in wanted.states)))
    if wanted.handlers is not None:
        conditions.append(steps.c.handler.in_(wanted.handlers))
    if wanted.standalone is not None:
        alone = runs.c.job == steps.c.handler
        conditions.append(alone if wanted.standalone else ~alone)
    return conditions


def _rows(
    connection: Connection, ids: Sequence[int], conditions: Sequence[ColumnElement[bool]], limit: int
) -> list[TaskRow]:
    """Of these batches, in their order, those that fit."""
    found: list[TaskRow] = []
    first, size = 0, _CHUNK
    while first < len(ids) and len(found) < limit:
        chunk = ids[first : first + size]
        first, size = first + size, 4 * size
        rows = connection.execute(_ROW.where(batches.c.id.in_(chunk), *conditions))
        by_id = {row.id: _task(row) for row in rows}
        found += [by_id[each] for each in chunk if each in by_id]
    return found[:limit]


_CHUNK = 100


def _task(row: Any) -> TaskRow:
    values = dict(row._mapping)
    values["state"] = BatchState(values["state"])
    return TaskRow(**values)


# Among the newest of all.


def _newest(connection: Connection, wanted: Wanted, limit: int) -> Page:
    newest = select(batches.c.id).order_by(batches.c.id.desc())
    if wanted.before is not None:
        newest = newest.where(batches.c.id < wanted.before)
    conditions = _conditions(wanted)
    if not conditions:
        newest = newest.limit(limit + 1)
        return _page(connection, newest, conditions, limit, None)
    newest = newest.limit(LOOKED_AT)
    lowest = connection.execute(newest.offset(LOOKED_AT - 1).limit(1)).scalar_one_or_none()
    return _page(connection, newest, conditions, limit, lowest)


def _page(
    connection: Connection,
    candidates: Select[Any],
    conditions: Sequence[ColumnElement[bool]],
    limit: int,
    horizon: int | None,
) -> Page:
    """The first of the candidates that fit. `horizon`: below this id, nobody has looked; None: all were looked at."""
    some = candidates.subquery()
    statement = _ROW.join(some, some.c.id == batches.c.id).where(*conditions)
    if horizon is not None:
        statement = statement.where(some.c.id >= horizon)
    found = [_task(row) for row in connection.execute(statement.order_by(some.c.id.desc()).limit(limit + 1))]
    if len(found) > limit:
        return Page(found[:limit], before=found[limit - 1].id)
    return Page(found) if horizon is None else Page(found, before=horizon, looked_at=LOOKED_AT)


# By what is kept of rare states.


def _of_states(connection: Connection, wanted: Wanted, limit: int) -> Page | None:
    """By the indexes of the states; None where one of them has too many to be put in order."""
    sources: list[Select[Any]] = []
    horizon: int | None = None
    narrowing = _conditions(Wanted(handlers=wanted.handlers, standalone=wanted.standalone))
    enough = LOOKED_AT if narrowing else limit + 1
    for condition, is_ordered in _sources(wanted.states or ()):
        source = select(batches.c.id).where(*condition)
        if wanted.before is not None:
            source = source.where(batches.c.id < wanted.before)
        most = enough if is_ordered else LOOKED_AT
        source = (source.order_by(batches.c.id.desc()) if is_ordered else source).limit(most)
        some = source.subquery()
        count, lowest = connection.execute(select(func.count(), func.min(some.c.id)).select_from(some)).one()
        if count == most:
            if not is_ordered:
                return None
            horizon = lowest if horizon is None else max(horizon, lowest)
        if count:
            sources.append(select(some.c.id))
    if not sources:
        return Page([])
    return _page(connection, union_all(*sources).subquery().select(), narrowing, limit, horizon)


def _sources(states: Collection[DisplayState]) -> list[tuple[list[ColumnElement[bool]], bool]]:
    """Conditions that an index answers, and whether it does so in the order of ids."""
    state, found = batches.c.state, []
    if DisplayState.WAITING in states:
        found += [
            ([state == BatchState.PENDING, batches.c.due_at.is_(None)], True),
            ([state == BatchState.PENDING, batches.c.due_at > 0], False),
            ([state == BatchState.PUSHED, batches.c.check_at > 0], False),
        ]
    if DisplayState.RUNNING in states:
        found.append(([state == BatchState.RUNNING, batches.c.lease_until > 0], False))
    if DisplayState.WARNING in states:
        found += [
            ([state == BatchState.UNDECIDED], True),
            ([state == BatchState.DONE, batches.c.error != ""], True),
        ]
    if DisplayState.ERROR in states:
        found.append(([state == BatchState.DEAD], True))
    if DisplayState.CANCELLED in states:
        found.append(([state == BatchState.CANCELLED], True))
    return found


# By their runs.


def _of_runs(connection: Connection, wanted: Wanted, limit: int) -> Page:
    run_ids, is_cut = _run_ids(connection, wanted)
    conditions = _conditions(wanted)
    most = LOOKED_AT if conditions else limit + 1
    ids = _ids_of_runs(connection, run_ids, wanted, most=most)
    found = _rows(connection, ids, conditions, limit + 1)
    if len(found) > limit:
        return Page(found[:limit], before=found[limit - 1].id)
    if len(ids) >= most:
        return Page(found, before=ids[-1], looked_at=len(ids))
    if is_cut:
        return Page(found, before=_first_of(connection, run_ids[-1]), looked_at=len(ids))
    return Page(found)


def _run_ids(connection: Connection, wanted: Wanted) -> tuple[list[str], bool]:
    """The runs in question, the newest first, from that of the batch `before` on; whether there are more."""
    if wanted.run_id is not None:
        return [wanted.run_id], False
    statement = select(runs.c.id).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(RUNS_LOOKED_AT + 1)
    if wanted.object is not None:
        statement = statement.where(runs.c.object == wanted.object)
    if wanted.runs is not None:
        # Found by the key, and then put in order: not looked for among all, from the newest on.
        some = select(runs.c.id).where(runs.c.id >= wanted.runs, runs.c.id < wanted.runs + "g").order_by(runs.c.id)
        statement = statement.where(runs.c.id.in_(select(some.limit(RUNS_LOOKED_AT).subquery().c.id)))
    if wanted.before is not None:
        begun = select(runs.c.created_at, runs.c.id).join(batches, batches.c.run_id == runs.c.id)
        at = connection.execute(begun.where(batches.c.id == wanted.before)).one_or_none()
        if at is None:
            return [], False
        same = and_(runs.c.created_at == at.created_at, runs.c.id <= at.id)
        statement = statement.where(runs.c.created_at <= at.created_at, or_(runs.c.created_at < at.created_at, same))
    found = list(connection.execute(statement).scalars())
    return found[:RUNS_LOOKED_AT], len(found) > RUNS_LOOKED_AT


def _ids_of_runs(connection: Connection, run_ids: Sequence[str], wanted: Wanted, *, most: int) -> list[int]:
    """Ids of the runs' batches, run by run, the highest first; those of the first run below `before`."""
    own = select(steps).where(steps.c.run_id.in_(run_ids), steps.c.batches > 0)
    by_run: dict[str, list[RowMapping]] = {run_id: [] for run_id in run_ids}
    for step in connection.execute(own).mappings():
        if wanted.states is None or _may_have(step, wanted.states):
            by_run[step["run_id"]].append(step)
    small = [step["id"] for each in by_run.values() for step in each if step["batches"] <= _SMALL]
    of_small = select(batches.c.step_id, batches.c.id).where(batches.c.step_id.in_(small))
    ids_of: dict[int, list[int]] = {}
    for step_id, batch_id in connection.execute(of_small):
        ids_of.setdefault(step_id, []).append(batch_id)
    ids: list[int] = []
    for run_id in run_ids:
        # The batch `before` is of the first of them: the others are behind it whole.
        before = wanted.before if run_id == run_ids[0] else None
        own_ids: list[int] = []
        for step in by_run[run_id]:
            if step["batches"] <= _SMALL:
                own_ids += ids_of.get(step["id"], [])
            else:
                own_ids += _last_of(connection, step, before=before, limit=most)
        ids += sorted((each for each in own_ids if before is None or each < before), reverse=True)
        if len(ids) >= most:
            break
    return ids[:most]


_SMALL = 50


def _last_of(connection: Connection, step: RowMapping, *, before: int | None, limit: int) -> list[int]:
    """Ids of the last batches of a step, below an id where it is given: ids of a step rise with their numbers."""
    last = step["batches"] if before is None else _number_below(connection, step["id"], step["batches"], before)
    statement = select(batches.c.id).where(batches.c.step_id == step["id"], batches.c.number <= last)
    return list(connection.execute(statement.order_by(batches.c.number.desc()).limit(limit)).scalars())


def _number_below(connection: Connection, step_id: int, count: int, before: int) -> int:
    """The number of a step's last batch below an id."""
    low, high = 0, count
    while low < high:
        middle = (low + high + 1) // 2
        at = select(batches.c.id).where(batches.c.step_id == step_id, batches.c.number == middle)
        found = connection.execute(at).scalar_one_or_none()
        low, high = (middle, high) if found is not None and found < before else (low, middle - 1)
    return low


def _first_of(connection: Connection, run_id: str) -> int | None:
    """The lowest id of a run's batches; None where it has none."""
    first = select(func.min(batches.c.id)).join(steps, steps.c.id == batches.c.step_id)
    found: int | None = connection.execute(first.where(steps.c.run_id == run_id, batches.c.number == 1)).scalar_one()
    return found


def _may_have(step: RowMapping, states: Collection[DisplayState]) -> bool:
    """Whether a step has batches in one of these states, by its counters."""
    counts = {
        DisplayState.SUCCESSFUL: step["done"],
        DisplayState.WARNING: step["done"],
        DisplayState.ERROR: step["dead"],
        DisplayState.CANCELLED: step["cancelled"],
    }
    return step["ended_at"] is None or any(counts.get(state, 0) for state in states)
