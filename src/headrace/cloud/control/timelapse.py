"""Time made to pass: a test clock moved from one due moment to the next, and waiting until nothing is left to do."""

import asyncio
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from headrace.clock import Clock, MovableClock
from headrace.engine.bell import Bell
from headrace.engine.engine import Engine
from headrace.engine.model import QueueState
from headrace.engine.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Tally:
    """What ran: pushes by the answer they got, and requests of jobs."""

    succeeded: int
    failed: int
    firings: int


class Activity:
    """What engine and scheduler do between them. `bell` is the one that both ring."""

    def __init__(self, clock: Clock, engine: Engine, scheduler: Scheduler, bell: Bell) -> None:
        self._clock = clock
        self._engine = engine
        self._scheduler = scheduler
        self._bell = bell

    def next_due(self) -> float:
        """The next moment at which something happens by itself; infinity where nothing will."""
        return min(self._engine.next_due(), self._scheduler.next_due())

    def tally(self) -> Tally:
        """Counts since the start of the server."""
        return Tally(*self._engine.pushes, self._scheduler.attempts)

    def pending(self, queues: Iterable[str]) -> int:
        """Tasks that are left in those of these queues that run."""
        names = [
            name for name in queues if (found := self._engine.get_queue(name)) and found.state is QueueState.RUNNING
        ]
        return sum(stats.pending for name in names if (stats := self._engine.queue_stats(name)))

    def is_idle(self, queue: str | None = None) -> bool:
        """Whether nothing is under way and nothing due will be pushed: see `Engine.is_idle`. None is everything."""
        if queue is not None:
            return self._engine.is_idle(queue)
        names = [found.name for found in self._engine.list_queues()]
        return self._engine.is_settled() and self._scheduler.idle and all(map(self._engine.is_idle, names))

    async def until_idle(self, queue: str | None = None) -> None:
        """Return once it is idle."""
        while not self.is_idle(queue):
            await self._bell.heard()

    async def run_due(self) -> float:
        """Let everything run that is due by now, and what it causes; the next moment at which there is more."""
        while True:
            due = self.next_due()
            if due <= self._clock.now():
                self.clock_moved()
                await asyncio.sleep(0)
            elif self._engine.is_settled() and self._scheduler.idle:
                return due
            else:
                await self._bell.heard()

    def clock_moved(self) -> None:
        """Let both look at the clock again."""
        self._engine.clock_moved()
        self._scheduler.clock_moved()


class Timelapse:
    """Moves a test clock. It stops at each due moment, in order, until all that runs then has ended.

    What a handler creates before it answers runs in its turn. Time on the wire stays real. Who sets a time-out
    cancels: the clock then stays at the moment that it has reached.
    """

    def __init__(self, clock: MovableClock, activity: Activity) -> None:
        self._clock = clock
        self._activity = activity

    async def advance(self, seconds: float) -> None:
        """Let `seconds` (0 or more) pass from now on."""
        until = self._clock.now() + seconds
        await self._pass(until, lambda: True)
        self._move_to(until)
        await self._activity.run_due()

    async def drain(self, has_work: Callable[[], bool], within: float) -> None:
        """Let time pass, at most `within` seconds, until there is no work, or nothing will happen by itself."""
        await self._pass(self._clock.now() + within, has_work)

    async def _pass(self, until: float, wanted: Callable[[], bool]) -> None:
        """Run everything that falls due up to `until`, as long as it is wanted."""
        while (due := await self._activity.run_due()) <= until and due != math.inf and wanted():
            self._move_to(due)

    def _move_to(self, when: float) -> None:
        self._clock.advance(max(0.0, when - self._clock.now()))
        self._activity.clock_moved()
