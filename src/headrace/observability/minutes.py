"""What ended in each minute: counted in memory as transactions commit, and written down every few seconds.

A process that is killed loses the last of these seconds, in charts alone: rows of runs and batches are what counts.
"""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Final

from headrace.clock import Clock
from headrace.database import Database
from headrace.database.facts import AttemptEnded, BatchesEnded, Fact
from headrace.database.minute_rows import MinuteRow, add_minutes
from headrace.database.states import Outcome

WRITTEN_EVERY: Final = 2.0
"""Seconds between two writes of a process that is at work."""
MINUTE: Final = 60_000
_GOOD = (Outcome.DONE, Outcome.WARNED, Outcome.CONTINUED, Outcome.SNOOZED, Outcome.RELEASED, Outcome.CANCELLED)


class Minutes:
    """An observer of facts; `write_due` is called where no transaction is open. Thread-safe."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        self._write_at = clock.now() + WRITTEN_EVERY

    def __call__(self, facts: Iterable[Fact]) -> None:
        """Count facts."""
        minute = int(self._clock.now() * 1000) // MINUTE * MINUTE
        with self._lock:
            for fact in facts:
                if isinstance(fact, AttemptEnded):
                    counts = self._counts[minute, fact.handler]
                    counts["attempts"] += 1
                    counts["failed"] += fact.outcome not in _GOOD
                    counts["busy"] += int(fact.seconds * 1000)
                elif isinstance(fact, BatchesEnded):
                    counts = self._counts[minute, fact.handler]
                    counts["done"] += fact.done
                    counts["dead"] += fact.dead
                    counts["items"] += fact.items_done

    def write_due(self) -> None:
        """Write down what was counted, when the last time is a few seconds ago."""
        now = self._clock.now()
        with self._lock:
            if not self._counts or now < self._write_at:
                return
            self._write_at = now + WRITTEN_EVERY
            counted, self._counts = self._counts, defaultdict(Counter)
        rows = [MinuteRow(minute, handler, **counts) for (minute, handler), counts in counted.items()]
        with self._database.write(durable=False) as connection:
            add_minutes(connection, rows)
