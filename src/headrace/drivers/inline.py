"""The queue in the service's own process: the engine in a thread, which calls the WSGI application of this process.

Tasks and schedules are kept in `queue` of the data folder, which one process can hold. Pushes are the queue
server's: real headers, rates and retries, and a token that this process issues and verifies. This is the one module
of the service's side that knows the engine; it is imported where a task goes by it.
"""

import asyncio
import logging
import os
import signal
import threading
from asyncio import AbstractEventLoop
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent import futures
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit
from wsgiref.types import WSGIApplication

import uvloop

from headrace.clock import Clock
from headrace.cloud.control.audit import Audit
from headrace.cloud.control.desk import Desk
from headrace.cloud.control.steering import Steering
from headrace.cloud.control.timelapse import Activity
from headrace.cloud.files import make_cron_jobs, make_queues
from headrace.cloud.names import queue_name
from headrace.cloud.overrides import Overrides
from headrace.cloud.scheduler.requests import make_job
from headrace.cloud.tokens import TokenIssuer, make_key
from headrace.config.crons import load_cron_file
from headrace.config.queues import load_queue_file
from headrace.config.settings import INLINE, Settings
from headrace.drivers.base import Push, PushOutcome, PushResult
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.drivers.inline_queues import InlineControl
from headrace.engine.bell import Bell
from headrace.engine.engine import Engine
from headrace.engine.errors import StoreUnavailable
from headrace.engine.job_target import Places, make_send
from headrace.engine.model import (
    CreateRefused,
    EngineSettings,
    HttpTarget,
    Missing,
    NewTask,
    OidcToken,
    RefusedReason,
    Task,
)
from headrace.engine.scheduler import Scheduler
from headrace.engine.store.sqlite import SqliteStore
from headrace.engine.wsgi import WsgiTransport
from headrace.errors import DriverError

ISSUER = "headrace:inline"
"""The issuer of the tokens that pushes carry; nobody outside this process has its key."""
GRACE = 5.0
"""Seconds that attempts have to end when the process stops; platforms and gunicorn give a little more."""

_JWKS = f"{ISSUER}/jwks"
# Names of finished tasks stay taken as long as in Cloud Tasks' queues of a queue.yaml.
_NAME_MEMORY = 9 * 86_400.0
_PATIENCE = 20.0
# Seconds that a page waits for what the queue tells.
_GLANCE = 2.0
_SCHEDULER_GRACE = 1.0

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """What belongs to the event loop of the thread."""

    loop: AbstractEventLoop
    engine: Engine
    activity: Activity
    stop: asyncio.Event
    desk: Desk


def _end_process() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


class InlineDriver:
    """A driver and its queues. Until `start`, and after `close`, pushes stay in the outbox.

    `fires`: the schedules of cron.yaml are fired too. `when_failed` is called when the store has failed for good:
    whoever runs the process starts another one.
    """

    name = INLINE
    issuer = ISSUER
    max_body = CloudTasksDriver.max_body
    max_delay = CloudTasksDriver.max_delay

    def __init__(
        self, settings: Settings, clock: Clock, *, fires: bool, when_failed: Callable[[], object] = _end_process
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._fires = fires
        self._when_failed = when_failed
        self._issuer = TokenIssuer(ISSUER, make_key(), clock)
        self._thread: threading.Thread | None = None
        self._running: _Running | None = None
        self.control = InlineControl(self._find_desk, project=settings.project, location=settings.location)

    def start(self, application: WSGIApplication) -> None:
        """Deliver to `application` from now on, in threads of this process. Raises ConfigError and StartError."""
        started: futures.Future[None] = futures.Future()
        self._thread = threading.Thread(target=self._run, args=(application, started), name="headrace-queue")
        self._thread.daemon = True
        self._thread.start()
        started.result()

    def close(self) -> None:
        """Start no push, give those under way `GRACE` seconds, close the store. What was cut off is pushed again."""
        running, thread = self._running, self._thread
        if running is not None:
            running.loop.call_soon_threadsafe(running.stop.set)
        if thread is not None:
            thread.join()

    def push_many(self, pushes: Sequence[Push]) -> list[PushResult]:
        """See `Driver.push_many`."""
        try:
            return self._ask(lambda engine: self._create(engine, pushes))
        except StoreUnavailable as error:
            return [PushResult(PushOutcome.UNAVAILABLE, error.message)] * len(pushes)

    def missing(self, queue: str, names: Sequence[str]) -> set[str]:
        """See `Driver.missing`."""
        full = self._full(queue)

        async def find(engine: Engine) -> list[Task | Missing]:
            return await asyncio.gather(*(engine.get_task(full, name) for name in names))

        try:
            found = self._ask(find)
        except StoreUnavailable as error:
            raise DriverError(f"The queue {queue} could not be asked: {error.message}") from error
        return {name for name, task in zip(names, found, strict=True) if isinstance(task, Missing)}

    def has_queue(self, queue: str) -> bool:
        """See `Driver.has_queue`."""
        running = self._running
        return running is None or running.engine.get_queue(self._full(queue)) is not None

    def fetch_keys(self, url: str) -> Mapping[str, Any]:
        """What a verifier of tokens fetches from `ISSUER`: the discovery document, and the keys."""
        return self._issuer.jwks() if url == _JWKS else self._issuer.discovery(_JWKS)

    def settle(self) -> None:
        """Run what is due by now, and what it causes, to its end. For whoever moves a test clock.

        Raises StoreUnavailable where that takes longer than 20 s.
        """
        running = self._running
        if running is not None:
            self._ask(lambda _engine: running.activity.run_due())

    # The thread.

    def _run(self, application: WSGIApplication, started: "futures.Future[None]") -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve(application, started))

    async def _serve(self, application: WSGIApplication, started: "futures.Future[None]") -> None:
        store = SqliteStore(self._settings.data / "queue")
        async with AsyncExitStack() as stack:
            try:
                running = await self._open(application, store, stack)
            except BaseException as error:  # noqa: BLE001 - raised again by `start`, which waits for it
                started.set_exception(error)
                return
            self._running = running
            started.set_result(None)
            waits = {asyncio.create_task(running.stop.wait()), asyncio.create_task(store.ended())}
            _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for each in left:
                each.cancel()
            if not running.stop.is_set():
                _log.critical("the store of the queue has failed; this process ends. What was accepted is on disk")
                self._when_failed()
            running.engine.halt()
        self._running = None

    async def _open(self, application: WSGIApplication, store: SqliteStore, stack: AsyncExitStack) -> _Running:
        settings, bell = self._settings, Bell()
        transport = WsgiTransport(application, settings.threads, urlsplit(settings.service_url).path)
        engine = Engine(store, self._clock, self._issuer, EngineSettings(), bell, transport)
        await engine.start()
        stack.push_async_callback(engine.stop, GRACE - _SCHEDULER_GRACE)
        steering = await self._declare(engine, store)
        places = Places(lambda _routing: settings.service_url, settings.scheduler_service_account or "", None)
        scheduler = Scheduler(store, self._clock, make_send(transport, self._issuer, places), bell)
        await scheduler.load()
        crons = settings.app / "cron.yaml"
        if self._fires and crons.exists():
            for job in make_cron_jobs(load_cron_file(crons, settings.env), settings.project, settings.location):
                await scheduler.put(make_job(job))
        await scheduler.start()
        stack.push_async_callback(scheduler.stop, _SCHEDULER_GRACE)
        activity = Activity(self._clock, engine, scheduler, bell)
        loop = asyncio.get_running_loop()
        return _Running(loop, engine, activity, asyncio.Event(), Desk(steering, loop, _GLANCE))

    async def _declare(self, engine: Engine, store: SqliteStore) -> Steering:
        """Put the queues of queue.yaml, with the limits that were set over the file; what steers them."""
        settings, overrides, audit = self._settings, Overrides(store), Audit(store, self._clock)
        await overrides.load()
        await audit.load()
        path, declared = settings.app / "queue.yaml", {}
        if path.exists():
            file = load_queue_file(path, settings.env)
            queues = make_queues(file, settings.project, settings.location, _NAME_MEMORY)
            declared = {queue.name: queue for queue in queues}
        for queue in declared.values():
            await engine.put_queue(overrides.lay_over(queue))
        return Steering(engine, self._clock, overrides, audit, declared.get)

    def _find_desk(self) -> Desk | None:
        return None if self._running is None else self._running.desk

    def _ask(self, question: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """The engine's answer, from its own thread. Raises StoreUnavailable."""
        running = self._running
        if running is None:
            raise StoreUnavailable("The queue of this process does not run.")
        try:
            asked = asyncio.run_coroutine_threadsafe(question(running.engine), running.loop)
            return asked.result(_PATIENCE)
        except (RuntimeError, TimeoutError, futures.CancelledError) as error:
            raise StoreUnavailable("The queue of this process gave no answer.") from error

    # Tasks.

    async def _create(self, engine: Engine, pushes: Sequence[Push]) -> list[PushResult]:
        results = [_TOO_LARGE] * len(pushes)
        by_queue: dict[str, list[int]] = defaultdict(list)
        for index, push in enumerate(pushes):
            if len(push.body) <= self.max_body:
                by_queue[push.queue].append(index)
        for queue, indices in by_queue.items():
            answers = await engine.create_tasks(self._full(queue), [self._task(pushes[index]) for index in indices])
            for index, answer in zip(indices, answers, strict=True):
                results[index] = _result(answer)
        return results

    def _task(self, push: Push) -> NewTask:
        token = OidcToken(self._settings.task_service_account, self._settings.service_url)
        headers = (("Content-Type", "application/json"), *push.headers)
        target = HttpTarget(push.url, "POST", headers, push.body, token)
        return NewTask(push.name, target, push.schedule_at, push.deadline)

    def _full(self, queue: str) -> str:
        return queue_name(self._settings.project, self._settings.location, queue)


_PUSHED = PushResult(PushOutcome.PUSHED)
_TOO_LARGE = PushResult(PushOutcome.REFUSED, f"The task is larger than {InlineDriver.max_body} bytes.")


def _result(answer: Task | CreateRefused) -> PushResult:
    """A queue that is missing may be declared again, so its pushes wait."""
    if isinstance(answer, Task):
        return _PUSHED
    if answer.reason is RefusedReason.QUEUE_MISSING:
        return PushResult(PushOutcome.UNAVAILABLE, "queue.yaml has no such queue.")
    return PushResult(PushOutcome.DUPLICATE, answer.reason.value)
