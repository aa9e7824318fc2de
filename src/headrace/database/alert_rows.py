"""Queries of alerts, and of the outbox of their notifications. Times are epoch milliseconds.

Whoever changes alerts holds them by `lock_alerts`: what was read stays as it is until the transaction ends.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, or_, select, update

from headrace.database.key_rows import lock_key
from headrace.database.tables import alerts, marks, notifications


class AlertState(StrEnum):
    """firing while its rule holds, resolved when it no longer does."""

    FIRING = "firing"
    RESOLVED = "resolved"


class NotificationState(StrEnum):
    """waiting to be sent, or sent again → sent | failed: given up."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class AlertRow:
    """A rule and the object that it holds for, or held for; `id` is 0 before it is written.

    `told` says whether its firing was notified; `told_at` is when one last was.
    """

    id: int
    rule: str
    object: str
    state: AlertState
    detail: str
    fired_at: int
    resolved_at: int | None
    acknowledged_at: int | None
    acknowledged_by: str | None
    told: bool
    told_at: int | None


@dataclass(frozen=True, slots=True)
class NotificationRow:
    """A message for one route: JSON text. `attempts` counts its sendings, `due_at` is when the next one is."""

    id: int
    key: str
    alert_id: int
    route: str
    message: str
    state: NotificationState
    attempts: int
    due_at: int
    error: str
    created_at: int
    ended_at: int | None


_ALERT = [alerts.c[name] for name in AlertRow.__dataclass_fields__]
_NOTIFICATION = [notifications.c[name] for name in NotificationRow.__dataclass_fields__]


def _alert(row: Any) -> AlertRow:
    values = dict(row._mapping)
    return AlertRow(**values | {"state": AlertState(values["state"])})


def _notification(row: Any) -> NotificationRow:
    values = dict(row._mapping)
    return NotificationRow(**values | {"state": NotificationState(values["state"])})


def lock_alerts(connection: Connection) -> None:
    """Keep others who change alerts waiting until the transaction ends."""
    lock_key(connection, "headrace/alerts")


def all_alerts(connection: Connection) -> dict[tuple[str, str], AlertRow]:
    """Every alert by rule and object: as many as the contract has objects."""
    return {(row.rule, row.object): _alert(row) for row in connection.execute(select(*_ALERT))}


def list_alerts(connection: Connection, *, limit: int) -> list[AlertRow]:
    """What fires first, then what was resolved, the latest of each first."""
    firing_first = case((alerts.c.state == AlertState.FIRING, 0), else_=1)
    latest = func.coalesce(alerts.c.resolved_at, alerts.c.fired_at).desc()
    statement = select(*_ALERT).order_by(firing_first, latest, alerts.c.id).limit(limit)
    return [_alert(row) for row in connection.execute(statement)]


def find_alert(connection: Connection, alert_id: int) -> AlertRow | None:
    """One alert."""
    row = connection.execute(select(*_ALERT).where(alerts.c.id == alert_id)).one_or_none()
    return None if row is None else _alert(row)


def save_alert(connection: Connection, alert: AlertRow) -> int:
    """Write an alert as it is to stand; its id."""
    values = asdict(alert)
    del values["id"]
    if alert.id == 0:
        return int(connection.execute(insert(alerts).values(values).returning(alerts.c.id)).scalar_one())
    connection.execute(update(alerts).where(alerts.c.id == alert.id).values(values))
    return alert.id


def insert_notification(connection: Connection, *, key: str, alert_id: int, route: str, message: str, now: int) -> None:
    """Have a message wait for its sending."""
    values = {
        "key": key,
        "alert_id": alert_id,
        "route": route,
        "message": message,
        "state": NotificationState.WAITING,
        "due_at": now,
        "created_at": now,
    }
    connection.execute(insert(notifications).values(values))


def due_notifications(connection: Connection, *, now: int, limit: int) -> list[NotificationRow]:
    """Messages whose time has come, the earliest first."""
    statement = (
        select(*_NOTIFICATION)
        .where(notifications.c.state == NotificationState.WAITING, notifications.c.due_at <= now)
        .order_by(notifications.c.due_at, notifications.c.id)
        .limit(limit)
    )
    return [_notification(row) for row in connection.execute(statement)]


def take_notification(connection: Connection, row: NotificationRow, *, again_at: int) -> bool:
    """Take a message to send it; False when another sweep has taken it. It is due again then, unless it is ended."""
    statement = (
        update(notifications)
        .where(
            notifications.c.id == row.id,
            notifications.c.state == NotificationState.WAITING,
            notifications.c.attempts == row.attempts,
        )
        .values(attempts=notifications.c.attempts + 1, due_at=again_at)
    )
    return connection.execute(statement).rowcount == 1


def note_sending(
    connection: Connection, row: NotificationRow, *, state: NotificationState, error: str, now: int
) -> None:
    """Write how the sending of a message that was taken ended."""
    ended_at = None if state is NotificationState.WAITING else now
    statement = (
        update(notifications)
        .where(notifications.c.id == row.id, notifications.c.state == NotificationState.WAITING)
        .values(state=state, error=error, ended_at=ended_at)
    )
    connection.execute(statement)


def troubled_notifications(connection: Connection, *, limit: int) -> list[NotificationRow]:
    """Messages that could not be sent, or not yet, the latest first."""
    statement = (
        select(*_NOTIFICATION)
        .where(
            or_(
                notifications.c.state == NotificationState.FAILED,
                (notifications.c.state == NotificationState.WAITING) & (notifications.c.error != ""),
            )
        )
        .order_by(notifications.c.id.desc())
        .limit(limit)
    )
    return [_notification(row) for row in connection.execute(statement)]


def purge_notifications(connection: Connection, *, ended_before: int, limit: int) -> int:
    """Delete messages that were sent or given up before a time; how many."""
    old = select(notifications.c.id).where(notifications.c.ended_at < ended_before).limit(limit)
    return connection.execute(delete(notifications).where(notifications.c.id.in_(old))).rowcount


def claim_mark(connection: Connection, name: str, *, now: int, every: int) -> bool:
    """Take what is done at most once in `every` milliseconds; False when that has not passed since it was taken."""
    lock_key(connection, f"headrace/{name}")
    last = connection.execute(select(marks.c.at).where(marks.c.name == name)).scalar_one_or_none()
    if last is None:
        connection.execute(insert(marks).values(name=name, at=now))
        return True
    if last > now - every:
        return False
    connection.execute(update(marks).where(marks.c.name == name).values(at=now))
    return True
