"""Queries of minutes: what ended in each minute, by handler, for charts and rates. Times are epoch milliseconds."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from sqlalchemy import Connection, delete, select
from sqlalchemy.dialects import postgresql, sqlite

from headrace.database.tables import minutes


@dataclass(frozen=True, slots=True)
class MinuteRow:
    """What ended in the minute that begins at `minute`, of one handler; `busy` is the time of its attempts, in ms."""

    minute: int
    handler: str
    done: int = 0
    dead: int = 0
    attempts: int = 0
    failed: int = 0
    items: int = 0
    busy: int = 0


_COUNTED = [each.name for each in fields(MinuteRow) if each.name not in ("minute", "handler")]
_COLUMNS = [minutes.c[each.name] for each in fields(MinuteRow)]


def add_minutes(connection: Connection, rows: Iterable[MinuteRow]) -> None:
    """Add to the minutes' counts; those that are not there yet are made."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for row in rows:
        values = {each.name: getattr(row, each.name) for each in fields(MinuteRow)}
        statement = dialect.insert(minutes).values(values)
        more = {name: minutes.c[name] + statement.excluded[name] for name in _COUNTED}
        connection.execute(statement.on_conflict_do_update(index_elements=["minute", "handler"], set_=more))


def list_minutes(connection: Connection, *, since: int) -> list[MinuteRow]:
    """The minutes from a time on, in order."""
    statement = select(*_COLUMNS).where(minutes.c.minute >= since).order_by(minutes.c.minute, minutes.c.handler)
    return [MinuteRow(*row) for row in connection.execute(statement)]


def purge_minutes(connection: Connection, *, before: int) -> int:
    """Delete the minutes before a time; how many rows."""
    return connection.execute(delete(minutes).where(minutes.c.minute < before)).rowcount
