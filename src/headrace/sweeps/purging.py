"""Deletes what ended longer ago than it is kept."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from headrace.clock import Clock
from headrace.database import Database, key_rows, purge_rows
from headrace.runs.policy import RunPolicy

_KEYS = 1_000
_PIECE = 200


@dataclass(frozen=True, slots=True)
class Purger:
    """Deletes in small transactions, so that others write meanwhile."""

    database: Database
    clock: Clock
    policy: RunPolicy
    rest: Callable[[float], object] = time.sleep

    def purge(self, until: float) -> dict[str, int]:
        """Delete runs and keys that are past their time, until a time in epoch seconds; how many."""
        return {"purged": self._purge_runs(until), "keys": self._purge_keys(until)}

    def _purge_runs(self, until: float) -> int:
        purged = 0
        while self.clock.now() < until:
            begun = time.perf_counter()
            before = int((self.clock.now() - self.policy.retention) * 1000)
            with self.database.write(durable=False) as connection:
                piece = purge_rows.purge_piece(connection, ended_before=before, limit=_PIECE)
            purged += piece.runs
            if not piece.more:
                break
            # As long a rest as the piece took: what is delivered meanwhile waits for the same lock.
            self.rest(time.perf_counter() - begun)
        return purged

    def _purge_keys(self, until: float) -> int:
        purged = 0
        while self.clock.now() < until:
            with self.database.write() as connection:
                some = key_rows.purge_keys(connection, now=int(self.clock.now() * 1000), limit=_KEYS)
            purged += some
            if some < _KEYS:
                break
        return purged
