"""One call at a time of the clock that was passed in."""

import asyncio
import math
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable

from headrace.clock import Clock

# The machine's wall time may be set while the loop sleeps; a sleep never lasts longer than this.
_LONGEST_SLEEP = 30.0
# Event loops count in milliseconds; a shorter sleep would spin.
_SHORTEST_SLEEP = 0.001


class Timer:
    """Calls `due` once the clock has reached the time that was set, never before.

    The loop sleeps for the real time that is missing; who moves a test clock calls `look` for the rest.
    """

    def __init__(self, clock: Clock, due: Callable[[], None]) -> None:
        self._clock = clock
        self._due = due
        self._at = math.inf
        self._handle: TimerHandle | None = None
        self._loop: AbstractEventLoop | None = None

    def set(self, at: float) -> None:
        """Call at `at` instead of the time set before; infinity is never."""
        if at == self._at and self._handle is not None:
            return
        self.cancel()
        if at == math.inf:
            return
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._at = at
        missing = at - self._clock.now()
        self._handle = self._loop.call_later(min(max(missing, _SHORTEST_SLEEP), _LONGEST_SLEEP), self.look)

    def cancel(self) -> None:
        """Call no more."""
        self._at = math.inf
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def look(self) -> None:
        """Call now if the time has come, else sleep on."""
        at = self._at
        if at == math.inf:
            return
        self.cancel()
        if self._clock.now() >= at:
            self._due()
        else:
            self.set(at)
