"""The clock that is passed in everywhere; nothing else asks the machine for the time."""

import mmap
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

_FLOAT = 8


def rfc3339(epoch_ms: int) -> str:
    """A time in epoch milliseconds as APIs write it, in UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Clock(Protocol):
    """Wall time. A test's clock may run ahead of the machine's."""

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z, with fractions."""
        ...


class MovableClock(Clock, Protocol):
    """A clock that a test moves forward; nobody moves it back."""

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds` (0 or more)."""
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


class SharedClock:
    """A clock for tests of several processes: real time plus an offset that all of them read from one file.

    The file holds the offset in seconds, a float of 8 bytes; it is made, with 0, where it is missing. Reading the
    clock costs no call of the system beyond `SystemClock`'s. One process at a time moves it.
    Raises OSError when the file cannot be had, ValueError when it holds something else.
    """

    __slots__ = ("_offset",)

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            size = os.fstat(file.fileno()).st_size
            if size not in (0, _FLOAT):
                raise ValueError(f"{path} holds {size} bytes, so it is no test clock")
            # Two processes that make the file at one moment both make it of zeros.
            os.ftruncate(file.fileno(), _FLOAT)
            # One aligned float: whoever reads while it is written sees the old or the new one.
            self._offset = memoryview(mmap.mmap(file.fileno(), _FLOAT)).cast("d")

    def now(self) -> float:
        return time.time() + self._offset[0]

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds` (0 or more), for every process that shares the file."""
        if not seconds >= 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        self._offset[0] += seconds
