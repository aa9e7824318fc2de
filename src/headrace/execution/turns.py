"""Who comes next when the service is at its cap: older batches before newer ones.

A batch that finds no place is put off for a tenth of a second, and for longer the more older ones are put off before
it. While those are on their way back, free places are theirs. Another process may have begun one meanwhile, so who
finds all free places kept asks the database for whom.
"""

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

PUT_OFF = 0.1
"""Seconds that the first in line is put off."""
LONGEST = 10.0
LATE = 1.0
"""Seconds after which a batch that has not come back in time has no place kept any more."""
_ASKED_FOR = 100
"""Batches that the database is asked about at once, at most; the next delivery asks about others."""


@dataclass(slots=True)
class Turns:
    """The batches that this process has put off and expects back. Thread-safe. Times are in epoch seconds."""

    _back: dict[int, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def are_kept(
        self, places: int, batch_id: int, now: float, still_wait: Callable[[Sequence[int]], Collection[int]]
    ) -> bool:
        """Whether that many places are kept for older batches; `still_wait` says which of some do still wait."""
        ahead = self.ahead_of(batch_id, now)
        if not places or len(ahead) < places:
            return not places
        asked_for = ahead[:_ASKED_FOR]
        waiting = still_wait(asked_for)
        gone = [each for each in asked_for if each not in waiting]
        for each in gone:
            self.take(each)
        return len(ahead) - len(gone) >= places

    def ahead_of(self, batch_id: int, now: float) -> list[int]:
        """The older batches that are expected back, the oldest first."""
        with self._lock:
            for late in [each for each, back in self._back.items() if back + LATE < now]:
                del self._back[late]
            return sorted(each for each in self._back if each < batch_id)

    def put_off(self, batch_id: int, cap: int, now: float) -> float:
        """When a batch may come again."""
        with self._lock:
            ahead = sum(each < batch_id for each in self._back)
            back = now + delay(ahead, cap)
            self._back[batch_id] = back
            return back

    def take(self, batch_id: int) -> None:
        """It has its place, or wants none any more."""
        with self._lock:
            self._back.pop(batch_id, None)


def delay(ahead: int, cap: int) -> float:
    """Seconds that a batch is put off which has so many before it. Pure."""
    return min(LONGEST, PUT_OFF * (1 + ahead // cap))
