"""Ends attempts whose lease ended before they said anything."""

import random
from dataclasses import dataclass

import structlog

from headrace.clock import Clock
from headrace.contract.operations import Contract
from headrace.database import Database, lease_rows, step_rows
from headrace.database.lease_rows import Lease
from headrace.execution import verdicts
from headrace.execution.ending import end_attempt
from headrace.runs.relay import Relay

_PAGE = 500
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reaper:
    """Finds leases that are over. What their batches become is said by `verdicts.lost`."""

    database: Database
    contract: Contract
    clock: Clock
    relay: Relay

    def reap(self, until: float) -> int:
        """End them, until a time in epoch seconds, and push again what is to be; how many."""
        reaped = 0
        while self.clock.now() < until:
            now = int(self.clock.now() * 1000)
            with self.database.read() as connection:
                leases = lease_rows.expired_leases(connection, now=now, limit=_PAGE)
                handlers = step_rows.handlers_of(connection, {lease.step_id for lease in leases})
            for lease in leases:
                reaped += self._end(lease, handlers[lease.step_id], now)
            if leases:
                self.relay.push_pending(until=until)
            if len(leases) < _PAGE:
                break
        return reaped

    def _end(self, lease: Lease, handler: str, now: int) -> bool:
        """End one; False when its attempt has ended meanwhile after all. A transaction each: it locks one step."""
        idempotent = self._is_idempotent(handler)
        verdict = verdicts.lost(lease, idempotent=idempotent, now=now, chance=random.random())  # noqa: S311 - no secret
        with self.database.write() as connection:
            ending = end_attempt(connection, lease, verdict, now=now)
        if ending is not None:
            self._tell(lease, ending.verdict.state.value)
        return ending is not None

    def _is_idempotent(self, handler: str) -> bool:
        operation = self.contract.by_id.get(handler)
        return operation is None or operation.task is None or operation.task.idempotent

    def _tell(self, lease: Lease, state: str) -> None:
        _log.warning("attempt lost", run_id=lease.run_id, batch=lease.number, attempt=lease.attempt, batch_is=state)
