"""The server's own API, `/headrace/v1/...`: what stands and waits, and what tests need.

Routes and documents are described in `docs/emulator.md`. Times are RFC 3339, durations seconds.
"""

import asyncio
import base64
import math
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from headrace.clock import Clock, MovableClock
from headrace.cloud import names
from headrace.cloud.control.declarations import Declarations
from headrace.cloud.control.timelapse import Activity, Tally, Timelapse
from headrace.cloud.errors import ApiError, Code, invalid, queue_missing
from headrace.cloud.files import make_queue
from headrace.cloud.fronts.json_requests import read_json
from headrace.cloud.fronts.routes import Answer, Call, Route
from headrace.cloud.pages import PAGE_BYTES, each_task, page_size, read_id, write_token
from headrace.cloud.tasks.queues import find_queue
from headrace.config import read_queue_entry
from headrace.engine.engine import Engine
from headrace.engine.model import DeliveryRecord, HttpTarget, Queue, Task
from headrace.engine.waiting import Reason, Waiting
from headrace.errors import ConfigError

Document: TypeAlias = dict[str, Any]

LONGEST_TIMEOUT = 600.0
"""Seconds that a call may wait."""
LATEST = 7_258_118_400.0
"""The first moment of the year 2200; the clock is not moved beyond it."""
MAX_PAGE = 10_000
"""Tasks or deliveries of one answer."""

_ROOT = "/headrace/v1"
_QUEUE = _ROOT + "/{queue=projects/*/locations/*/queues/*}"


class Control:
    """Routes over one engine. Without a movable clock time is as it is, and calls that move it are refused.

    The names of finished tasks stay taken for `name_memory` seconds in queues that are put here.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock,
        movable: MovableClock | None,
        activity: Activity,
        declarations: Declarations,
        name_memory: float,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._activity = activity
        self._declarations = declarations
        self._name_memory = name_memory
        self._timelapse = None if movable is None else Timelapse(movable, activity)
        self._moving = False

    def routes(self) -> list[Route]:
        """All routes."""
        return [
            Route("GET", f"{_ROOT}/clock", self._get_clock),
            Route("POST", f"{_ROOT}/clock:advance", self._advance),
            Route("POST", f"{_ROOT}:drain", self._drain),
            Route("POST", f"{_ROOT}:waitUntilIdle", self._wait_until_idle),
            Route("POST", f"{_ROOT}:reset", self._reset),
            Route("GET", f"{_ROOT}/queues", self._list_queues),
            Route("GET", _QUEUE, self._get_queue),
            Route("PUT", _QUEUE, self._put_queue),
            Route("GET", f"{_QUEUE}/tasks", self._list_tasks),
            Route("GET", f"{_QUEUE}/deliveries", self._list_deliveries),
            Route("POST", f"{_QUEUE}:drain", self._drain),
            Route("POST", f"{_QUEUE}:waitUntilIdle", self._wait_until_idle),
            Route("POST", f"{_QUEUE}:reset", self._reset),
        ]

    # Time.

    async def _get_clock(self, _call: Call) -> Answer:
        due = self._activity.next_due()
        movable = self._timelapse is not None
        return _ok(now=_time(self._clock.now()), nextDue=_time(due), movable=movable)

    async def _advance(self, call: Call) -> Answer:
        wanted = _read_numbers(call.body, seconds=None, timeoutSeconds=30.0)
        _check(wanted, "seconds", LATEST - self._clock.now())
        return _ok(**await self._move(lambda lapse: lapse.advance(wanted["seconds"]), wanted))

    async def _drain(self, call: Call) -> Answer:
        wanted = _read_numbers(call.body, seconds=86_400.0, timeoutSeconds=30.0)
        _check(wanted, "seconds", LATEST - self._clock.now())
        queue = self._find(call).name if "queue" in call.variables else None

        def left() -> int:
            return self._activity.pending([queue] if queue else [each.name for each in self._engine.list_queues()])

        document = await self._move(lambda lapse: lapse.drain(lambda: left() > 0, wanted["seconds"]), wanted)
        return _ok(**document, left=left())

    async def _move(self, passage: Callable[[Timelapse], Awaitable[None]], wanted: Mapping[str, float]) -> Document:
        """Let time pass; what ran meanwhile, and the time reached."""
        timeout = _check(wanted, "timeoutSeconds", LONGEST_TIMEOUT)
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
                f"After {timeout:g} s the clock stands at {_time(self._clock.now())}. {self._under_way()}",
            ) from error
        finally:
            self._moving = False
        return {"now": _time(self._clock.now()), **_difference(before, self._activity.tally())}

    async def _wait_until_idle(self, call: Call) -> Answer:
        timeout = _check(_read_numbers(call.body, timeoutSeconds=30.0), "timeoutSeconds", LONGEST_TIMEOUT)
        queue = self._find(call).name if "queue" in call.variables else None
        try:
            async with asyncio.timeout(timeout):
                await self._activity.until_idle(queue)
        except TimeoutError as error:
            raise ApiError(Code.DEADLINE_EXCEEDED, f"Not idle after {timeout:g} s. {self._under_way()}") from error
        return _ok(now=_time(self._clock.now()))

    def _under_way(self) -> str:
        """What keeps the server busy, in a sentence."""
        busy = [queue for queue in self._engine.list_queues() if not self._engine.is_idle(queue.name)]
        if not busy:
            return "Requests of jobs are under way, or more falls due."
        told = [f"{queue.name} ({self._queue_document(queue)['inFlight']} in flight)" for queue in busy[:5]]
        return f"Busy: {', '.join(told)}{' and others' if len(busy) > 5 else ''}."

    # A new beginning.

    async def _reset(self, call: Call) -> Answer:
        if "queue" in call.variables:
            await self._declarations.reset_queue(self._find(call))
        else:
            await self._declarations.reset()
        return _ok()

    # What stands, and what waits.

    async def _list_queues(self, _call: Call) -> Answer:
        return _ok(queues=[self._queue_document(queue) for queue in self._engine.list_queues()])

    async def _get_queue(self, call: Call) -> Answer:
        return _ok(**self._queue_document(self._find(call)))

    async def _put_queue(self, call: Call) -> Answer:
        name = names.check_queue(call.variables["queue"])
        given = _read_object(call.body)
        try:
            entry = read_queue_entry({**given, "name": name.rpartition("/")[2]})
        except ConfigError as error:
            raise invalid(str(error)) from error
        queue = await self._engine.put_queue(make_queue(entry, name, self._name_memory))
        return _ok(**self._queue_document(queue))

    async def _list_tasks(self, call: Call) -> Answer:
        queue, query = self._find(call), dict(call.query)
        listing, now = f"waiting {queue.name}", self._clock.now()
        after = read_id(query.get("pageToken", ""), listing, now)
        page, has_more = await self._read_page(queue.name, after, _read_page_size(query))
        documents = [_task_document(*pair) for pair in zip(page, self._engine.explain(page), strict=True)]
        token = {"nextPageToken": write_token(str(page[-1].id), listing, now)} if has_more else {}
        return _ok(tasks=documents, **token)

    async def _read_page(self, queue: str, after: int, most: int) -> tuple[list[Task], bool]:
        """Up to `most` tasks, fewer where they are large but at least one, and whether there are more."""
        page: list[Task] = []
        size = 0
        async for task in each_task(self._engine, queue, after, most):
            size += _size(task)
            if len(page) == most or (page and size > PAGE_BYTES):
                return page, True
            page.append(task)
        return page, False

    async def _list_deliveries(self, call: Call) -> Answer:
        queue, query = self._find(call), dict(call.query)
        records = self._engine.deliveries(queue.name, query.get("task"), _read_page_size(query))
        return _ok(deliveries=[_delivery_document(queue.name, record) for record in records])

    def _find(self, call: Call) -> Queue:
        return find_queue(self._engine, call.variables["queue"])

    def _queue_document(self, queue: Queue) -> Document:
        stats = self._engine.queue_stats(queue.name)
        if stats is None:
            raise queue_missing()
        return {
            "name": queue.name,
            "state": queue.state.value,
            "rateLimits": {
                "maxDispatchesPerSecond": queue.rate.per_second,
                "maxBurstSize": queue.rate.burst,
                "maxConcurrentDispatches": queue.rate.concurrency,
            },
            "pending": stats.pending,
            "inFlight": stats.in_flight,
            "oldestDue": None if stats.oldest_due is None else _time(stats.oldest_due),
            "tokens": round(stats.tokens, 3),
            "idle": self._engine.is_idle(queue.name),
        }


def _size(task: Task) -> int:
    """About how many bytes a task has."""
    return len(task.target.body) + sum(len(name) + len(value) for name, value in task.target.headers)


def _task_document(task: Task, waiting: Waiting) -> Document:
    url = task.target.url if isinstance(task.target, HttpTarget) else task.target.relative_uri
    return {
        "name": f"{task.queue}/tasks/{task.name}",
        "createTime": _time(task.created_at),
        "scheduleTime": _time(task.schedule_at),
        "dispatchCount": task.dispatch_count,
        "lastStatus": task.previous_response,
        "waitsFor": waiting.reason.value,
        "until": None if waiting.until is None else _time(waiting.until),
        "why": _why(task, waiting),
        "request": _request_document(task.target.method, url, task.target.headers, task.target.body),
    }


def _why(task: Task, waiting: Waiting) -> str:
    until = "" if waiting.until is None else _time(waiting.until)
    match waiting.reason:
        case Reason.PUSHED:
            return "being pushed"
        case Reason.PAUSED:
            return "queue paused"
        case Reason.DISABLED:
            return "queue disabled"
        case Reason.SCHEDULED:
            return f"scheduled for {until}"
        case Reason.BACKOFF:
            last = "no answer" if task.last_attempt is None else _outcome(task.last_attempt.status)
            return f"retry backoff until {until} after {last}"
        case Reason.UNREAD:
            return "not read in yet: others are due before it"
        case Reason.CONCURRENCY:
            return "concurrency limit reached"
        case Reason.TOKEN:
            return f"no token until {until}" if until else "no token: the rate is 0"
        case Reason.TURN:
            return "next in line"


def _outcome(status: int | None) -> str:
    return "no answer" if status is None else f"status {status}"


def _delivery_document(queue: str, record: DeliveryRecord) -> Document:
    return {
        "task": f"{queue}/tasks/{record.task}",
        "number": record.number,
        "startTime": _time(record.started_at),
        "seconds": round(record.seconds, 6),
        "status": record.status,
        "error": record.error,
        "responseHead": record.head.decode("utf-8", "replace"),
        "request": _request_document(record.method, record.url, record.headers, record.body),
    }


def _request_document(method: str, url: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Document:
    return {"method": method, "url": url, "headers": dict(headers), "body": base64.b64encode(body).decode("ascii")}


def _difference(before: Tally, after: Tally) -> Document:
    return {
        "succeeded": after.succeeded - before.succeeded,
        "failed": after.failed - before.failed,
        "firings": after.firings - before.firings,
    }


def _ok(**document: Any) -> Answer:
    return Answer(200, document)


def _time(seconds: float) -> str | None:
    """RFC 3339 in UTC; None for infinity."""
    return None if seconds == math.inf else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def _read_object(body: bytes) -> Document:
    given = read_json(body)
    if not isinstance(given, dict):
        raise invalid("The body must be a JSON object.")
    return given


def _read_numbers(body: bytes, **defaults: float | None) -> dict[str, float]:
    """The numbers of a JSON object; a default of None is one that must be given."""
    given = _read_object(body)
    if unknown := sorted(given.keys() - defaults.keys()):
        raise invalid(f"Unknown field {unknown[0]}; this takes {', '.join(defaults)}.")
    numbers = {}
    for name, default in defaults.items():
        value = given.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise invalid(f"{name} must be a number.")
        numbers[name] = float(value)
    return numbers


def _check(numbers: Mapping[str, float], name: str, most: float) -> float:
    if not 0 <= numbers[name] <= most:
        raise invalid(f"{name} must lie between 0 and {most:g}.")
    return numbers[name]


def _read_page_size(query: Mapping[str, str]) -> int:
    asked = query.get("pageSize", "0")
    if not (asked.isascii() and asked.isdecimal() and len(asked) < 10):
        raise invalid("pageSize must be a number of up to nine digits.")
    return page_size(int(asked), MAX_PAGE)
