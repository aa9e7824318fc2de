"""The sweep of alerts: what holds now fires, what no longer does is resolved, and both are sent."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from headrace.alerts.changes import Change, change
from headrace.alerts.messages import describe
from headrace.alerts.outbox import Outbox
from headrace.alerts.reading import TroubleReader
from headrace.alerts.rules import NO_PROGRESS, Finding, Thresholds, find
from headrace.alerts.senders import NetworkSender, Sender, SendError
from headrace.clock import Clock
from headrace.config.alerts import Route
from headrace.contract.operations import Contract
from headrace.database import Database, alert_rows
from headrace.runs.queue_loads import QueueLoads

HEARTBEAT_EVERY = 60.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Alerting:
    """Sweeps. `thresholds` gives those in force. `heartbeat` is a URL that hears from us while all is well, or None."""

    database: Database
    clock: Clock
    reader: TroubleReader
    thresholds: Callable[[], Thresholds]
    outbox: Outbox
    service_url: str
    heartbeat: str | None

    def sweep(self, until: float) -> dict[str, int]:
        """Fire, resolve and send, until a time in epoch seconds; how many fire now, and how many were sent."""
        thresholds = self.thresholds()
        findings = find(self.reader.read(thresholds), thresholds)
        self._apply(findings, thresholds)
        sent = self.outbox.send(until)
        self.outbox.purge()
        if not NO_PROGRESS & {finding.rule for finding in findings}:
            self._beat()
        return {"alerts": len(findings), "notified": sent}

    def _apply(self, findings: Sequence[Finding], thresholds: Thresholds) -> None:
        """The alert and its messages are one transaction: none fires unheard, none is heard that did not."""
        now = self._now()
        with self.database.write() as connection:
            alert_rows.lock_alerts(connection)
            known = alert_rows.all_alerts(connection)
            for each in change(known, findings, now=now, repeat=int(1000 * thresholds.repeat)):
                self._write(connection, each, now)

    def _write(self, connection: Connection, change: Change, now: int) -> None:
        alert = change.alert
        alert_id = alert_rows.save_alert(connection, alert)
        if not change.notifies:
            return
        _log.warning("alert", state=alert.state.value, rule=alert.rule, object=alert.object, detail=alert.detail)
        message = json.dumps(describe(alert, now=now, service_url=self.service_url))
        for route in self.outbox.routes:
            if route.takes(alert.rule):
                key = f"{alert_id}/{alert.fired_at}/{alert.state.value}/{route.name}"
                alert_rows.insert_notification(
                    connection, key=key, alert_id=alert_id, route=route.name, message=message, now=now
                )

    def _beat(self) -> None:
        if self.heartbeat is None:
            return
        with self.database.write() as connection:
            every = int(1000 * HEARTBEAT_EVERY)
            if not alert_rows.claim_mark(connection, "heartbeat", now=self._now(), every=every):
                return
        try:
            self.outbox.sender.ping(self.heartbeat)
        except SendError as error:
            _log.warning("heartbeat was not heard", error=str(error))

    def _now(self) -> int:
        return int(self.clock.now() * 1000)


def make_alerting(
    database: Database,
    contract: Contract,
    clock: Clock,
    *,
    routes: Sequence[Route] = (),
    thresholds: Callable[[], Thresholds] = Thresholds,
    service_url: str = "",
    heartbeat: str | None = None,
    sender: Sender | None = None,
) -> Alerting:
    """All of it on the parts of a service."""
    reader = TroubleReader(database, contract, clock, QueueLoads(database, contract, clock))
    outbox = Outbox(database, clock, routes, sender or NetworkSender())
    return Alerting(database, clock, reader, thresholds, outbox, service_url, heartbeat)
