"""Queries of the audit: who did what to which object, written in the transaction that did it. Times: epoch ms."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from headrace.database.tables import audit

READ_AT_MOST = 10_000
"""So many rows of an object are read for one list of it that is narrowed by actor or action, too."""


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that an operator did; `old` and `new` are what it changed, in words or JSON, where there is such."""

    id: int
    at: int
    actor: str
    action: str
    object: str
    old: str | None
    new: str | None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows of the audit: of one actor, action or object where it is given, and with ids below `before`."""

    actor: str | None = None
    action: str | None = None
    object: str | None = None
    before: int | None = None


_COLUMNS = [audit.c[name] for name in AuditRow.__dataclass_fields__]
EVERYTHING = AuditFilter()
"""Narrows nothing."""


def record(
    connection: Connection,
    *,
    at: int,
    actor: str,
    action: str,
    object: str,
    old: str | None = None,
    new: str | None = None,
) -> None:
    """Write one row of the audit."""
    row = {"at": at, "actor": actor, "action": action, "object": object, "old": old, "new": new}
    connection.execute(insert(audit).values(row))


def list_audit(connection: Connection, *, limit: int, where: AuditFilter = EVERYTHING) -> list[AuditRow]:
    """The newest rows first, at most `limit`, that match; of an object's, `READ_AT_MOST` are looked at."""
    wanted = {"actor": where.actor, "action": where.action}
    rest = [(name, value) for name, value in wanted.items() if value is not None]
    statement = select(*_COLUMNS)
    if where.before is not None:
        statement = statement.where(audit.c.id < where.before)
    if where.object is not None:
        # The limit keeps databases from reading all rows of the actor or the action instead of the object's few.
        few = statement.where(audit.c.object == where.object).order_by(audit.c.id.desc()).limit(READ_AT_MOST)
        rows = few.subquery()
        statement = select(rows).where(*(rows.c[name] == value for name, value in rest)).order_by(rows.c.id.desc())
    else:
        statement = statement.where(*(audit.c[name] == value for name, value in rest)).order_by(audit.c.id.desc())
    return [AuditRow(**row._mapping) for row in connection.execute(statement.limit(limit))]
