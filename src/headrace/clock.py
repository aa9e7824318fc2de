"""The clock that is passed in everywhere; nothing else asks the machine for the time."""

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time. A test's clock may run ahead of the machine's."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z, with fractions."""
        ...


class SystemClock:
    """The machine's own wall time."""

    __slots__ = ()

    def now(self) -> float:
        return time.time()


class ManualClock:
    """A clock for tests: stands still until it is moved."""

    __slots__ = ("_now",)

    def __init__(self, now: float) -> None:
        self._now = now

    def now(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds` (0 or more)."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._now += seconds
