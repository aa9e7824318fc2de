"""Queries of the audit: who did what to which object, written in the transaction that did it. Times: epoch ms."""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from headrace.database.tables import audit


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One thing that an operator did; `old` and `new` are what it changed, in words or JSON, where there is such."""

    at: int
    actor: str
    action: str
    object: str
    old: str | None
    new: str | None


_COLUMNS = [audit.c[name] for name in AuditRow.__dataclass_fields__]


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


def list_audit(connection: Connection, *, limit: int, object: str | None = None) -> list[AuditRow]:
    """The newest rows first, at most `limit`, of one object where it is given."""
    statement = select(*_COLUMNS).order_by(audit.c.id.desc()).limit(limit)
    if object is not None:
        statement = statement.where(audit.c.object == object)
    return [AuditRow(**row._mapping) for row in connection.execute(statement)]
