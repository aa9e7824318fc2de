"""Sends what waits in the outbox: each message until it is taken, or for half a day."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from headrace.alerts.senders import Sender, SendError
from headrace.clock import Clock
from headrace.config.alerts import Route
from headrace.database import Database, alert_rows
from headrace.database.alert_rows import NotificationRow, NotificationState
from headrace.retries import RetryLimits, backoff

_RETRY = RetryLimits(max_attempts=20, max_duration=0.0, min_backoff=30.0, max_backoff=3_600.0, max_doublings=16)
_PAGE = 50
_KEPT = 7 * 86_400.0
_PURGED = 500
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outbox:
    """Of two that send at once, one takes a message. Who dies in between leaves it to be sent again."""

    database: Database
    clock: Clock
    routes: Sequence[Route]
    sender: Sender

    def send(self, until: float) -> int:
        """Send what is due, until a time in epoch seconds; how many were taken."""
        sent = 0
        while self.clock.now() < until:
            with self.database.read() as connection:
                due = alert_rows.due_notifications(connection, now=self._now(), limit=_PAGE)
            for row in due:
                if self.clock.now() >= until:
                    break
                sent += self._send_one(row)
            if len(due) < _PAGE:
                break
        return sent

    def purge(self) -> None:
        """Delete messages that were sent or given up a week ago."""
        with self.database.write() as connection:
            before = self._now() - int(1000 * _KEPT)
            alert_rows.purge_notifications(connection, ended_before=before, limit=_PURGED)

    def _send_one(self, row: NotificationRow) -> bool:
        again_at = self._now() + int(1000 * backoff(_RETRY, row.attempts + 1))
        with self.database.write() as connection:
            if not alert_rows.take_notification(connection, row, again_at=again_at):
                return False
        state, error = NotificationState.SENT, ""
        try:
            self._hand_over(row)
        except SendError as failure:
            error = str(failure)
            last = row.attempts + 1 >= _RETRY.max_attempts
            state = NotificationState.FAILED if last else NotificationState.WAITING
            _log.warning("alert could not be sent", route=row.route, attempt=row.attempts + 1, error=error)
        with self.database.write() as connection:
            alert_rows.note_sending(connection, row, state=state, error=error, now=self._now())
        return state is NotificationState.SENT

    def _hand_over(self, row: NotificationRow) -> None:
        route = next((route for route in self.routes if route.name == row.route), None)
        if route is None:
            raise SendError(f"there is no route {row.route} any more")
        self.sender.send(route, json.loads(row.message), row.key)

    def _now(self) -> int:
        return int(self.clock.now() * 1000)
