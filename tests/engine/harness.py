"""An engine that runs, with a clock that the test moves."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from headrace.clock import ManualClock
from headrace.engine.engine import Engine
from headrace.engine.model import (
    AppEngineRouting,
    AppEngineTarget,
    Authorization,
    CreateRefused,
    EngineSettings,
    HttpTarget,
    Missing,
    NewTask,
    OAuthToken,
    Queue,
    QueueState,
    RateLimits,
    RetryLimits,
    Task,
)
from headrace.engine.store.interface import Store
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.sink import Sink

NOW = 1_800_000_000.0
QUEUE = Queue(
    "projects/p/locations/l/queues/q",
    RateLimits(500.0, 500, 1000),
    RetryLimits(-1, 0.0, 10.0, 300.0, 3),
    QueueState.RUNNING,
    None,
    name_memory=3600.0,
    task_ttl=31 * 86_400.0,
)


class Tokens:
    """Tokens that say whose they are."""

    def token(self, authorization: Authorization) -> str:
        of = authorization.scope if isinstance(authorization, OAuthToken) else authorization.audience
        return f"{authorization.service_account_email}|{of}"


class World:
    """An engine, its clock, and short words for what tests do with them."""

    def __init__(self, engine: Engine, clock: ManualClock) -> None:
        self.engine = engine
        self.clock = clock

    async def queue(self, short_name: str = "q", **changes: object) -> Queue:
        name = QUEUE.name.removesuffix("q") + short_name
        return await self.engine.put_queue(replace(QUEUE, name=name, **changes))  # type: ignore[arg-type]

    async def push(self, queue: Queue, url: str, count: int = 1, **changes: object) -> list[Task]:
        answers = await self.engine.create_tasks(queue.name, [new_task(url, **changes)] * count)
        return [answer for answer in answers if not isinstance(answer, CreateRefused)]

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.engine.clock_moved()

    async def quiet(self) -> None:
        """Return when all that is due now was pushed: a task created after it has gone through."""
        async with Sink() as sink:
            barrier = await self.queue("barrier")
            await self.push(barrier, sink.url)
            await self.finished(barrier)

    async def finished(self, queue: Queue) -> None:
        """Wait until the queue has no task."""
        while (stats := self.engine.queue_stats(queue.name)) is not None and stats.pending:
            await self.engine.list_tasks(queue.name, 0, 1)

    async def waiting(self, queue: Queue, task: Task, pushes: int) -> Task:
        """Wait until the outcome of so many pushes of the task is written, and it waits again."""
        while True:
            found = await self.engine.get_task(queue.name, task.name)
            assert not isinstance(found, Missing)
            last = found.last_attempt
            if found.dispatch_count == pushes and last and found.schedule_at > last.dispatched_at:
                return found


def new_task(url: str, **changes: object) -> NewTask:
    fields: dict[str, object] = {"name": None, "schedule_at": None, "dispatch_deadline": 600.0}
    target: dict[str, object] = {"method": "POST", "headers": (), "body": b"", "authorization": None}
    target |= {key: changes.pop(key) for key in list(changes) if key in target}
    return NewTask(target=HttpTarget(url, **target), **(fields | changes))  # type: ignore[arg-type]


def app_engine_task(**changes: object) -> NewTask:
    """A task for `/work` of the application's default service."""
    target = AppEngineTarget("/work", "POST", (), b"", AppEngineRouting("", "", ""))
    fields: dict[str, object] = {"name": None, "schedule_at": None, "dispatch_deadline": 0.0}
    return NewTask(target=target, **(fields | changes))  # type: ignore[arg-type]


@asynccontextmanager
async def running(
    store: Store | None = None, *, settings: EngineSettings | None = None, now: float = NOW, grace: float = 0.0
) -> AsyncIterator[World]:
    """An engine on the store (in memory, when none is given)."""
    clock = ManualClock(now)
    engine = Engine(store or SqliteStore(None), clock, Tokens(), settings or EngineSettings())
    await engine.start()
    try:
        yield World(engine, clock)
    finally:
        await engine.stop(grace)


def names(tasks: Sequence[Task]) -> list[str]:
    return [task.name for task in tasks]
