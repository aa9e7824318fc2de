"""Queries of schedules: what the service keeps beside cron.yaml, a row a url. Times are epoch milliseconds."""

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, insert, select, update

from headrace.database import key_rows
from headrace.database.tables import schedules


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """How far the firings of a url have come.

    `schedule`, `timezone` and `missed` are an operator's; None is what the files say. `next_at` is the first time
    that nothing is known of yet, found by the schedules in `timing`. `last_at` is the time of the last firing,
    `last_run_id` the last run, whether it was fired or a person started it. `late_since` is the time of the first
    firing that did not come, when none has come since.
    """

    url: str
    schedule: str | None
    timezone: str | None
    missed: str | None
    paused: bool
    next_at: int
    timing: str
    last_at: int | None
    last_run_id: str | None
    late_since: int | None
    created_at: int


_COLUMNS = [schedules.c[name] for name in ScheduleRow.__dataclass_fields__]


def list_schedules(connection: Connection) -> dict[str, ScheduleRow]:
    """All rows, by url."""
    return {row.url: ScheduleRow(**row._mapping) for row in connection.execute(select(*_COLUMNS))}


def take_schedule(connection: Connection, url: str) -> ScheduleRow | None:
    """The row of a url, or None; nobody else takes it, or writes the first one, until the transaction ends."""
    key_rows.lock_key(connection, f"schedule/{url}")
    row = connection.execute(select(*_COLUMNS).where(schedules.c.url == url)).one_or_none()
    return None if row is None else ScheduleRow(**row._mapping)


def insert_schedule(connection: Connection, url: str, *, next_at: int, timing: str, now: int) -> ScheduleRow:
    """Write the first row of a url that was taken."""
    values = {"url": url, "next_at": next_at, "timing": timing, "created_at": now}
    return ScheduleRow(**connection.execute(insert(schedules).values(values).returning(*_COLUMNS)).one()._mapping)


def save_schedule(connection: Connection, row: ScheduleRow) -> None:
    """Write a row that was taken, as it is to stand now."""
    connection.execute(update(schedules).where(schedules.c.url == row.url).values(asdict(row)))
