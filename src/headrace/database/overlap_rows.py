"""Queries of overlap: which runs stand in one another's way. Times are epoch milliseconds.

A live run may hold an overlap key, which is a place in its scope: no other run has that key meanwhile.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, exists, func, not_, select, update

from headrace.database.states import RunState
from headrace.database.tables import runs


def place_in(scope: str, number: int) -> str:
    """The overlap key of a place in a scope; places count from 1."""
    return f"{scope}#{number}"


def taken_places(connection: Connection, overlap_keys: Sequence[str]) -> set[str]:
    """Those of these keys that a live run holds."""
    return set(connection.execute(select(runs.c.overlap_key).where(runs.c.overlap_key.in_(overlap_keys))).scalars())


def lock_holder(connection: Connection, overlap_key: str) -> str | None:
    """The run that holds a key, and it does not end before this transaction does; None when nobody holds it."""
    statement = update(runs).where(runs.c.overlap_key == overlap_key).values(fence=runs.c.fence).returning(runs.c.id)
    return connection.execute(statement).scalar_one_or_none()


def count_queued(connection: Connection, scope: str, *, at_most: int) -> int:
    """Runs that wait in a scope, counted up to `at_most`."""
    some = (
        select(runs.c.id)
        .where(runs.c.overlap_scope == scope, runs.c.state == RunState.QUEUED)
        .limit(at_most)
        .subquery()
    )
    return connection.execute(select(func.count()).select_from(some)).scalar_one()


def stranded_scopes(connection: Connection, *, limit: int) -> list[str]:
    """Scopes in which runs wait although nobody holds their first place: no end of a run will start them."""
    holder = runs.alias("holder")
    held = exists().where(holder.c.overlap_key == runs.c.overlap_scope + "#1")
    statement = select(runs.c.overlap_scope).where(runs.c.state == RunState.QUEUED, not_(held)).distinct().limit(limit)
    return list(connection.execute(statement).scalars())
