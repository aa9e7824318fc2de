"""Queries of overrides: what an operator set over the files. Times: epoch milliseconds."""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from headrace.database.audit_rows import record
from headrace.database.tables import overrides


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """A value that stands over the file's, until somebody clears it."""

    key: str
    value: str
    set_at: int
    set_by: str


_COLUMNS = [overrides.c[name] for name in OverrideRow.__dataclass_fields__]


def find_override(connection: Connection, key: str) -> OverrideRow | None:
    """The override of a key, or None: the file's value is in force."""
    row = connection.execute(select(*_COLUMNS).where(overrides.c.key == key)).one_or_none()
    return None if row is None else OverrideRow(**row._mapping)


def list_overrides(connection: Connection) -> list[OverrideRow]:
    """All overrides, by key."""
    return [OverrideRow(**row._mapping) for row in connection.execute(select(*_COLUMNS).order_by(overrides.c.key))]


def set_override(connection: Connection, key: str, value: str | None, *, now: int, actor: str) -> None:
    """Set or, with None, clear an override, and write down who did."""
    old = find_override(connection, key)
    if value is None:
        connection.execute(delete(overrides).where(overrides.c.key == key))
    elif old is None:
        connection.execute(insert(overrides).values(key=key, value=value, set_at=now, set_by=actor))
    else:
        changed = update(overrides).where(overrides.c.key == key).values(value=value, set_at=now, set_by=actor)
        connection.execute(changed)
    record(
        connection,
        at=now,
        actor=actor,
        action="set_override" if value is not None else "clear_override",
        object=key,
        old=old.value if old else None,
        new=value,
    )
