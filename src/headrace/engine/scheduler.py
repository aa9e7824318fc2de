"""Fires jobs at their times. What comes next is decided in `headrace.engine.firings`."""

import asyncio
import logging
import math
from asyncio import Task
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

from headrace.clock import Clock
from headrace.engine.bell import Bell
from headrace.engine.errors import PushFailed, StoreUnavailable
from headrace.engine.firings import (
    Firing,
    Progress,
    begin,
    conclude,
    decode_progress,
    encode_progress,
    force,
    resume,
)
from headrace.engine.jobs import Job, JobState, Outcome
from headrace.engine.timer import Timer

PROGRESS = "job progress"
"""The kind of the documents that hold how far each job has come, by its name."""

log = logging.getLogger(__name__)

Send = Callable[[Job, float], Awaitable[int]]
"""Sends one request of the firing with this scheduled time; gives the status of its answer or raises PushFailed."""


class DocumentStore(Protocol):
    """Where progress is kept; the engine's store is one. A write has ended when it is durable."""

    def load_documents(self, kind: str) -> Awaitable[dict[str, bytes]]: ...

    def save_document(self, kind: str, key: str, document: bytes) -> Awaitable[None]: ...

    def delete_document(self, kind: str, key: str) -> Awaitable[None]: ...


class _Line:
    """One job in memory. `flying` are the numbers of the firings whose request is under way."""

    __slots__ = ("flying", "job", "progress")

    def __init__(self, job: Job, progress: Progress) -> None:
        self.job = job
        self.progress = progress
        self.flying: set[int] = set()

    def waiting(self) -> list[Firing]:
        """Outstanding firings whose next request waits for its time."""
        return [firing for firing in self.progress.firings if firing.number not in self.flying]

    def next_due(self) -> float:
        if self.progress.firings:
            return min((firing.attempt_at for firing in self.waiting()), default=math.inf)
        return self.progress.next_at if self.job.state is JobState.ENABLED else math.inf

    def change(self, job: Job, now: float) -> None:
        """Another schedule or state counts from now; a job that is paused gives up what waits for a retry."""
        was, self.job = self.job, job
        if was.timing != job.timing or was.state is not job.state:
            self.progress = resume(job, self.progress, now)
        if job.state is not JobState.ENABLED:
            kept = tuple(firing for firing in self.progress.firings if firing.number in self.flying)
            self.progress = replace(self.progress, firings=kept)


class Scheduler:
    """Fires jobs. One timer serves all of them; only a request under way has a coroutine of its own.

    Everything belongs to the event loop that ran `start`. A caller of `put`, `remove` or `run` that is cancelled
    takes nothing back. `bell` is rung whenever the answers of `next_due` and `idle` may have changed; `attempts`
    counts the requests that ended since the start.
    """

    def __init__(self, store: DocumentStore, clock: Clock, send: Send, bell: Bell | None = None) -> None:
        self._store = store
        self._clock = clock
        self._send = send
        self._bell = bell or Bell()
        self.attempts = 0
        self._kept: dict[str, Progress] = {}
        self._lines: dict[str, _Line] = {}
        self._requests: set[Task[None]] = set()
        self._timer = Timer(clock, self._look)
        self._wake_at = math.inf
        self._running = False

    async def load(self) -> None:
        """Read how far each job has come; the jobs themselves are to be `put` then, before `start`."""
        documents = await self._store.load_documents(PROGRESS)
        self._kept = {name: decode_progress(document) for name, document in documents.items()}

    async def start(self) -> None:
        """Fire from now on, and forget what is kept of jobs that are no more."""
        for name in self._kept:
            await self._store.delete_document(PROGRESS, name)
        self._kept = {}
        self._running = True
        self._look()

    async def stop(self, grace: float = 10.0) -> None:
        """Start no request, and wait up to `grace` seconds for those under way. One cut off is sent again."""
        self._running = False
        self._timer.cancel()
        if self._requests:
            await asyncio.wait(self._requests, timeout=grace)
        for request in self._requests:
            request.cancel()
        await asyncio.gather(*self._requests, return_exceptions=True)

    def clock_moved(self) -> None:
        """Look at the clock again. To be called by whoever moves a test clock."""
        self._timer.look()

    def next_due(self) -> float:
        """The time of the next request, first or repeated, as things stand; infinity when there is none."""
        return min((line.next_due() for line in self._lines.values()), default=math.inf)

    @property
    def idle(self) -> bool:
        """Whether no request is under way and none is due."""
        return not self._requests and self.next_due() > self._clock.now()

    def __contains__(self, name: str) -> bool:
        return name in self._lines

    def progress(self, name: str) -> Progress:
        """How far the job has come. KeyError when there is no such job."""
        return self._lines[name].progress

    async def put(self, job: Job) -> None:
        """Take up a new job, or go on with a changed one.

        A new schedule, or the end of a pause, counts from now. A job that is not enabled retries nothing.
        """
        now = self._clock.now()
        line = self._lines.get(job.name)
        if line is None:
            before = self._kept.pop(job.name, None)
            line = self._lines[job.name] = _Line(job, resume(job, before, now))
        else:
            before = line.progress
            line.change(job, now)
        self._look_at(line)
        if line.progress != before:
            await self._save(line)

    async def remove(self, name: str) -> None:
        """Forget a job; a request under way goes on and counts no more. One that is not known is fine."""
        self._lines.pop(name, None)
        await asyncio.shield(self._store.delete_document(PROGRESS, name))

    async def run(self, name: str) -> None:
        """Fire the job now, whatever its state and whatever is under way; returns once that is on disk.

        KeyError when there is no such job. StoreUnavailable when it fires and a crash would forget it.
        """
        line = self._lines[name]
        line.progress = force(line.progress, self._clock.now())
        self._look_at(line)
        await self._write(line)

    def _look(self) -> None:
        self._wake_at = math.inf
        for line in self._lines.values():
            self._look_at(line)

    def _look_at(self, line: _Line) -> None:
        """Start what is due of a job, and see to it that the timer is set."""
        self._bell.ring()
        if not self._running:
            return
        now = self._clock.now()
        if line.next_due() <= now and not line.progress.firings:
            line.progress = begin(line.job, line.progress, now)
        for firing in line.waiting():
            if firing.attempt_at <= now:
                self._start(line, firing)
        if (due := line.next_due()) < self._wake_at:
            self._wake_at = due
            self._timer.set(due)

    def _start(self, line: _Line, firing: Firing) -> None:
        line.flying.add(firing.number)
        request = asyncio.create_task(self._attempt(line, firing), name=f"firing of {line.job.id}")
        self._requests.add(request)
        request.add_done_callback(partial(self._ended, line))

    def _ended(self, line: _Line, request: Task[None]) -> None:
        self._requests.discard(request)
        self._bell.ring()
        if request.cancelled():
            return
        self.attempts += 1
        if (error := request.exception()) is not None:
            log.error("job %s stopped and fires no more", line.job.id, exc_info=error)
        elif self._lines.get(line.job.name) is line:
            self._look_at(line)

    async def _attempt(self, line: _Line, firing: Firing) -> None:
        line.progress = replace(line.progress, attempted_at=self._clock.now())
        await self._save(line)
        try:
            outcome = Outcome(await self._send(line.job, firing.scheduled_at))
        except PushFailed as error:
            outcome = Outcome(None, str(error), error.code)
        if not outcome.succeeded:
            log.warning("job %s failed: %s", line.job.id, outcome.error or f"HTTP status {outcome.status}")
        line.progress = conclude(line.job, line.progress, firing.number, outcome, self._clock.now())
        line.flying.discard(firing.number)
        await self._save(line)

    async def _save(self, line: _Line) -> None:
        """Write how far the job has come; what a removed job does is not written."""
        if self._lines.get(line.job.name) is not line:
            return
        try:
            await self._write(line)
        except StoreUnavailable as error:
            # Better a firing that is not on disk than none: at worst a restart sends it twice, or not again.
            log.error("job %s: its progress was not written: %s", line.job.id, error)

    async def _write(self, line: _Line) -> None:
        # What was handed in is written, even when nobody waits for it any more.
        await asyncio.shield(self._store.save_document(PROGRESS, line.job.name, encode_progress(line.progress)))
