"""What people see of alerts, and do about them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.clock import Clock, rfc3339
from headrace.config.alerts import Chat, Mail, Route, Webhook
from headrace.database import Database, alert_rows, audit_rows
from headrace.database.alert_rows import AlertRow, AlertState, NotificationRow
from headrace.errors import NotFound, WrongState

_TROUBLES_SHOWN = 20
_KINDS = {Webhook: "webhook", Chat: "chat", Mail: "mail"}


@dataclass(frozen=True, slots=True)
class Alerts:
    """Times are RFC 3339 in UTC."""

    database: Database
    clock: Clock
    routes: Sequence[Route]

    def list(self, *, limit: int) -> dict[str, Any]:
        """What fires first, then what was resolved; where alerts are sent; the latest messages that were not taken."""
        with self.database.read() as connection:
            found = alert_rows.list_alerts(connection, limit=limit)
            unsent = alert_rows.troubled_notifications(connection, limit=_TROUBLES_SHOWN)
        return {
            "alerts": [_alert(alert) for alert in found],
            "routes": [
                {"name": route.name, "kind": _KINDS[type(route.target)], "rules": list(route.rules)}
                for route in self.routes
            ],
            "unsent": [_unsent(each) for each in unsent],
        }

    def acknowledge(self, alert_id: int, *, actor: str) -> None:
        """Note that somebody looks after an alert. The next time that it fires, somebody must again.

        Raises:
            NotFound: there is no such alert.
            WrongState: it does not fire, or somebody was quicker.
        """
        now = int(self.clock.now() * 1000)
        with self.database.write() as connection:
            alert_rows.lock_alerts(connection)
            alert = alert_rows.find_alert(connection, alert_id)
            if alert is None:
                raise NotFound(f"There is no alert {alert_id}.", hint="GET /api/v1/alerts lists them.")
            if alert.state is not AlertState.FIRING:
                raise WrongState(f"Alert {alert_id} is {alert.state.value}.")
            if alert.acknowledged_by is not None:
                raise WrongState(f"Alert {alert_id} was acknowledged by {alert.acknowledged_by}.")
            alert_rows.save_alert(connection, replace(alert, acknowledged_at=now, acknowledged_by=actor))
            what = f"{alert.rule} {alert.object}"
            audit_rows.record(
                connection, at=now, actor=actor, action="acknowledge", object=f"alert/{alert_id}", new=what
            )


def _alert(alert: AlertRow) -> dict[str, Any]:
    return {
        "id": alert.id,
        "rule": alert.rule,
        "object": alert.object,
        "state": alert.state.value,
        "detail": alert.detail,
        "fired_at": rfc3339(alert.fired_at),
        "resolved_at": _time(alert.resolved_at),
        "acknowledged_at": _time(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
    }


def _unsent(row: NotificationRow) -> dict[str, Any]:
    return {
        "alert_id": row.alert_id,
        "route": row.route,
        "state": row.state.value,
        "attempts": row.attempts,
        "error": row.error,
        "created_at": rfc3339(row.created_at),
        "again_at": rfc3339(row.due_at) if row.ended_at is None else None,
    }


def _time(at: int | None) -> str | None:
    return None if at is None else rfc3339(at)
