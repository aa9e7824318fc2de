"""Starts jobs whose time has come and whose scheduler did not call, and those that each release starts once."""

from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.contract.operations import Contract, Operation
from headrace.database import Database, key_rows, schedule_rows
from headrace.errors import HeadraceError
from headrace.runs.firings import Firings

# A release stays the same for as long as anybody runs it.
_FOR_GOOD = 3_650 * 86_400.0
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Scheduling:
    """Looks at all schedules. `release` names what runs here; where it is None, no job starts for it."""

    database: Database
    contract: Contract
    clock: Clock
    firings: Firings
    release: str | None

    def sweep(self, until: float) -> dict[str, int]:
        """Fire and start, until a time in epoch seconds; how many of each."""
        return {"fired": self._fire(until), "started": self._start_release()}

    def _fire(self, until: float) -> int:
        fired = 0
        with self.database.read() as connection:
            rows = schedule_rows.list_schedules(connection)
        for entry in self.firings.entries.values():
            if self.clock.now() >= until:
                break
            if not self.firings.is_due(entry, rows.get(entry.url)):
                continue
            try:
                fired += self.firings.fire_due(entry)
            except HeadraceError as error:
                _log.error("schedule could not fire", url=entry.url, error=str(error))
        return fired

    def _start_release(self) -> int:
        started = 0
        for operation in self.contract.operations:
            if operation.job is not None and operation.job.on_start and self.release is not None:
                started += self._start(operation, f"start/{operation.operation_id}/{self.release}")
        return started

    def _start(self, operation: Operation, key: str) -> bool:
        with self.database.read() as connection:
            if key_rows.find_key(connection, key, now=int(self.clock.now() * 1000)) is not None:
                return False
        try:
            parameters = self.firings.read_url(operation, operation.path)
        except HeadraceError as error:
            _log.error("job could not start", job=operation.operation_id, error=str(error))
            return False
        with self.database.write() as connection:
            opened = self.firings.starter.start_once(
                connection, operation, parameters, key=key, ttl=_FOR_GOOD, waits=True
            )
        return opened.new
