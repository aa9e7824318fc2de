"""Cron jobs fire: each firing is one GET, keyed by the job and its scheduled time.

What is kept of a job is two times, `next_at` and `last_scheduled_at`. They are equal while a firing is
outstanding, and that is written before its request goes out. So a firing that a crash cut off is sent again
with the same scheduled time, and is told apart from one that fell due while the server was down: that one is
not replayed, as Cloud Scheduler does not either.

A firing never starts while the one before it is outstanding. A late start is delayed, not skipped. Only when
it is later than a whole further period are the times it ran over dropped, or a laptop that wakes up would
fire a night's worth at once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from headrace.clock import Clock
from headrace.engine.backoff import backoff, may_retry
from headrace.engine.errors import PushFailed, StoreUnavailable
from headrace.engine.model import OidcToken, RetryLimits

ATTEMPT_DEADLINE = 600.0
"""Seconds that a cron request may take: App Engine's limit under automatic scaling."""
_LONGEST_WAIT = 300.0
"""Seconds between two looks at the clock, so that a wall clock that was set is noticed."""

log = logging.getLogger(__name__)


class Schedule(Protocol):
    """When a job fires; `headrace.schedules.Schedule` is one."""

    def next_after(self, start: datetime) -> datetime:
        """The first time strictly after `start`; both are aware UTC."""
        ...


class ProgressStore(Protocol):
    """Where the two times of each job are kept, by the job's key; the engine's store is one."""

    def load_schedules(self) -> Awaitable[dict[str, tuple[float, float | None]]]: ...

    def save_schedule(self, key: str, next_at: float, last_scheduled_at: float | None) -> Awaitable[None]: ...

    def delete_schedule(self, key: str) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class CronJob:
    """A job that a schedule starts.

    `name` is what the request carries. `key` says which job it is over restarts; it differs when the schedule
    does, so that a new schedule starts afresh. `url` is absolute.
    """

    name: str
    key: str
    url: str
    schedule: Schedule
    retry: RetryLimits
    oidc: OidcToken | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job has come, in seconds since the epoch."""

    next_at: float
    last_scheduled_at: float | None = None

    @property
    def outstanding(self) -> bool:
        """Whether the firing at `next_at` was begun and has not ended."""
        return self.next_at == self.last_scheduled_at


def resume(schedule: Schedule, kept: Progress | None, now: float) -> Progress:
    """Where a job goes on when the server starts at `now`."""
    if kept is None:
        return Progress(_next_after(schedule, now))
    if kept.outstanding or kept.next_at > now:
        return kept
    return Progress(_next_after(schedule, now), kept.last_scheduled_at)


def following(schedule: Schedule, scheduled_at: float, started_at: float) -> float:
    """The scheduled time after a firing that was due at `scheduled_at` and started at `started_at`."""
    after = _next_after(schedule, scheduled_at)
    return after if after > started_at else _next_after(schedule, started_at)


def next_attempt_at(limits: RetryLimits, failures: int, started_at: float, now: float, until: float) -> float | None:
    """When a firing that has failed so often is sent again; None when it is given up.

    Retries stop at `until`, the job's next scheduled time (Cloud Scheduler, Job.retry_config).
    """
    if not may_retry(limits, failures, now - started_at):
        return None
    when = now + backoff(limits, failures)
    return when if when < until else None


def firing_headers(job: CronJob, scheduled_at: float, token: str | None) -> list[tuple[str, str]]:
    """The headers of a cron request: App Engine's, and Cloud Scheduler's for an HTTP target."""
    time = datetime.fromtimestamp(scheduled_at, UTC).isoformat().replace("+00:00", "Z")
    headers = [
        ("User-Agent", "Google-Cloud-Scheduler"),
        ("X-Appengine-Cron", "true"),
        ("X-CloudScheduler", "true"),
        ("X-CloudScheduler-JobName", job.name),
        ("X-CloudScheduler-ScheduleTime", time),
    ]
    if token is not None:
        headers.append(("Authorization", f"Bearer {token}"))
    return headers


def _next_after(schedule: Schedule, when: float) -> float:
    return schedule.next_after(datetime.fromtimestamp(when, UTC)).timestamp()


Send = Callable[[CronJob, float], Awaitable[int]]
"""Sends one request of a firing and gives the HTTP status of its answer; raises PushFailed without one."""


class Scheduler:
    """Fires jobs at their times, each job in a loop of its own. All coroutines belong to one event loop."""

    def __init__(self, jobs: Iterable[CronJob], store: ProgressStore, clock: Clock, send: Send) -> None:
        self._jobs = {job.key: job for job in jobs}
        self._store = store
        self._clock = clock
        self._send = send
        self._stopping = False
        self._moved = asyncio.Event()
        self._loops: set[asyncio.Task[None]] = set()
        self._sending: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Take up each job where it was left, and forget what is kept of jobs that are no more."""
        kept = await self._store.load_schedules()
        for key in kept.keys() - self._jobs.keys():
            await self._store.delete_schedule(key)
        for key, job in self._jobs.items():
            before = Progress(*kept[key]) if key in kept else None
            progress = resume(job.schedule, before, self._clock.now())
            await self._store.save_schedule(key, progress.next_at, progress.last_scheduled_at)
            loop = asyncio.create_task(self._run(job, progress), name=f"cron {job.name}")
            self._loops.add(loop)
            loop.add_done_callback(partial(_report_end, job))

    async def stop(self, grace: float = 10.0) -> None:
        """Start no firing; wait up to `grace` seconds for requests under way. One cut off is sent again."""
        self._stopping = True
        for loop in self._loops - self._sending:
            loop.cancel()
        if self._sending:
            await asyncio.wait(self._sending, timeout=grace)
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def clock_moved(self) -> None:
        """Look at the clock again. To be called by whoever moves a test clock."""
        self._moved.set()
        self._moved = asyncio.Event()

    async def _run(self, job: CronJob, progress: Progress) -> None:
        while not self._stopping:
            await self._wait_until(progress.next_at)
            progress = await self._fire(job, progress.next_at)

    async def _fire(self, job: CronJob, scheduled_at: float) -> Progress:
        started_at = self._clock.now()
        next_at = following(job.schedule, scheduled_at, started_at)
        await self._save(job, Progress(scheduled_at, scheduled_at))
        failures = 0
        while not await self._attempt(job, scheduled_at):
            failures += 1
            again_at = next_attempt_at(job.retry, failures, started_at, self._clock.now(), next_at)
            if again_at is None:
                log.warning("cron job %s gave up its firing of %s", job.name, scheduled_at)
                break
            if self._stopping:
                return Progress(scheduled_at, scheduled_at)
            await self._wait_until(again_at)
        ended = Progress(next_at, scheduled_at)
        await self._save(job, ended)
        return ended

    async def _attempt(self, job: CronJob, scheduled_at: float) -> bool:
        """Send the firing once; True when the answer was 2xx."""
        loop = asyncio.current_task()
        assert loop is not None
        self._sending.add(loop)
        try:
            status = await self._send(job, scheduled_at)
        except PushFailed as error:
            log.warning("cron job %s got no answer: %s", job.name, error)
            return False
        finally:
            self._sending.discard(loop)
        if not 200 <= status < 300:
            log.warning("cron job %s was answered %s", job.name, status)
        return 200 <= status < 300

    async def _save(self, job: CronJob, progress: Progress) -> None:
        try:
            await self._store.save_schedule(job.key, progress.next_at, progress.last_scheduled_at)
        except StoreUnavailable as error:
            # Better a firing that is not on disk than none: at worst a restart sends it twice, or not again.
            log.error("cron job %s: its progress was not written: %s", job.name, error)

    async def _wait_until(self, when: float) -> None:
        while (left := when - self._clock.now()) > 0:
            moved = self._moved
            try:
                async with asyncio.timeout(min(left, _LONGEST_WAIT)):
                    await moved.wait()
            except TimeoutError:
                continue


def _report_end(job: CronJob, loop: asyncio.Task[None]) -> None:
    if not loop.cancelled() and (error := loop.exception()) is not None:
        log.error("cron job %s stopped and fires no more", job.name, exc_info=error)
