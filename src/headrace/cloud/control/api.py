"""The server's own API, `/headrace/v1/...`: what tests need. Queues and tasks have their routes in `queues.py`.

Routes and documents are described in `docs/emulator.md`. Times are RFC 3339, durations seconds.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from headrace.clock import Clock, MovableClock
from headrace.cloud.control.declarations import Declarations
from headrace.cloud.control.documents import Document, show_time
from headrace.cloud.control.queues import QUEUE, ROOT
from headrace.cloud.control.requests import check_number, read_numbers
from headrace.cloud.control.timelapse import Activity, Tally, Timelapse
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.fronts.routes import Answer, Call, Route
from headrace.cloud.tasks.queues import find_queue
from headrace.engine.engine import Engine
from headrace.engine.model import Queue

LONGEST_TIMEOUT = 600.0
"""Seconds that a call may wait."""
LATEST = 7_258_118_400.0
"""The first moment of the year 2200; the clock is not moved beyond it."""


class Control:
    """Time, rest and reset of one engine. Without a movable clock, calls that move it are refused."""

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        movable: MovableClock | None,
        activity: Activity,
        declarations: Declarations,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._activity = activity
        self._declarations = declarations
        self._timelapse = None if movable is None else Timelapse(movable, activity)
        self._moving = False

    def routes(self) -> list[Route]:
        """All routes."""
        return [
            Route("GET", f"{ROOT}/clock", self._get_clock),
            Route("POST", f"{ROOT}/clock:advance", self._advance),
            Route("POST", f"{ROOT}:drain", self._drain),
            Route("POST", f"{ROOT}:waitUntilIdle", self._wait_until_idle),
            Route("POST", f"{ROOT}:reset", self._reset),
            Route("POST", f"{QUEUE}:drain", self._drain),
            Route("POST", f"{QUEUE}:waitUntilIdle", self._wait_until_idle),
            Route("POST", f"{QUEUE}:reset", self._reset),
        ]

    # Time.

    async def _get_clock(self, _call: Call) -> Answer:
        due = self._activity.next_due()
        movable = self._timelapse is not None
        return _ok(now=show_time(self._clock.now()), nextDue=show_time(due), movable=movable)

    async def _advance(self, call: Call) -> Answer:
        wanted = read_numbers(call.body, seconds=None, timeoutSeconds=30.0)
        check_number(wanted, "seconds", LATEST - self._clock.now())
        return _ok(**await self._move(lambda lapse: lapse.advance(wanted["seconds"]), wanted))

    async def _drain(self, call: Call) -> Answer:
        wanted = read_numbers(call.body, seconds=86_400.0, timeoutSeconds=30.0)
        check_number(wanted, "seconds", LATEST - self._clock.now())
        queue = self._find(call).name if "queue" in call.variables else None

        def left() -> int:
            return self._activity.pending([queue] if queue else [each.name for each in self._engine.list_queues()])

        document = await self._move(lambda lapse: lapse.drain(lambda: left() > 0, wanted["seconds"]), wanted)
        return _ok(**document, left=left())

    async def _move(self, passage: Callable[[Timelapse], Awaitable[None]], wanted: Mapping[str, float]) -> Document:
        """Let time pass; what ran meanwhile, and the time reached."""
        timeout = check_number(wanted, "timeoutSeconds", LONGEST_TIMEOUT)
        if self._timelapse is None:
            raise ApiError(
                Code.FAILED_PRECONDITION,
                "This server runs on the machine's own time. Start it with --test-clock FILE to move its clock.",
            )
        if self._moving:
            raise ApiError(Code.ABORTED, "Another call moves the clock.")
        self._moving = True
        before = self._activity.tally()
        try:
            async with asyncio.timeout(timeout):
                await passage(self._timelapse)
        except TimeoutError as error:
            raise ApiError(
                Code.DEADLINE_EXCEEDED,
                f"After {timeout:g} s the clock stands at {show_time(self._clock.now())}. {self._under_way()}",
            ) from error
        finally:
            self._moving = False
        return {"now": show_time(self._clock.now()), **_difference(before, self._activity.tally())}

    async def _wait_until_idle(self, call: Call) -> Answer:
        timeout = check_number(read_numbers(call.body, timeoutSeconds=30.0), "timeoutSeconds", LONGEST_TIMEOUT)
        queue = self._find(call).name if "queue" in call.variables else None
        try:
            async with asyncio.timeout(timeout):
                await self._activity.until_idle(queue)
        except TimeoutError as error:
            raise ApiError(Code.DEADLINE_EXCEEDED, f"Not idle after {timeout:g} s. {self._under_way()}") from error
        return _ok(now=show_time(self._clock.now()))

    def _under_way(self) -> str:
        """What keeps the server busy, in a sentence."""
        busy = [queue for queue in self._engine.list_queues() if not self._engine.is_idle(queue.name)]
        if not busy:
            return "Requests of jobs are under way, or more falls due."
        told = [f"{queue.name} ({self._in_flight(queue)} in flight)" for queue in busy[:5]]
        return f"Busy: {', '.join(told)}{' and others' if len(busy) > 5 else ''}."

    def _in_flight(self, queue: Queue) -> int:
        stats = self._engine.queue_stats(queue.name)
        return 0 if stats is None else stats.in_flight

    # A new beginning.

    async def _reset(self, call: Call) -> Answer:
        if "queue" in call.variables:
            await self._declarations.reset_queue(self._find(call))
        else:
            await self._declarations.reset()
        return _ok()

    def _find(self, call: Call) -> Queue:
        return find_queue(self._engine, call.variables["queue"])


def _difference(before: Tally, after: Tally) -> Document:
    return {
        "succeeded": after.succeeded - before.succeeded,
        "failed": after.failed - before.failed,
        "firings": after.firings - before.firings,
    }


def _ok(**document: Any) -> Answer:
    return Answer(200, document)
