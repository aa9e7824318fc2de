"""Cloud Tasks in the test's own process, with a clock that the test moves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headrace.clock import ManualClock
from headrace.cloud.descriptors import Message
from headrace.cloud.settings import ServerSettings
from headrace.cloud.tasks.api import TasksApi
from headrace.engine.engine import Engine
from headrace.engine.model import EngineSettings
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.harness import NOW, Tokens

LOCATION = "projects/demo/locations/here"
QUEUE = f"{LOCATION}/queues/work"


class Inside:
    """The API's methods by name, without a wire."""

    def __init__(self, api: TasksApi, engine: Engine, store: SqliteStore, clock: ManualClock) -> None:
        self.api = api
        self.store = store
        self.engine = engine
        self.clock = clock
        self._rpcs = {name: rpc for service in api.services for name, rpc in service.rpcs.items()}

    async def call(self, method: str, /, **fields: Any) -> Message:
        rpc = self._rpcs[method]
        return await rpc.answer(rpc.request_class(**fields))


@asynccontextmanager
async def running(folder: Path | None = None, now: float = NOW) -> AsyncIterator[Inside]:
    """The API on a store in `folder`, or in memory; nothing is pushed before the clock moves."""
    clock = ManualClock(now)
    store = SqliteStore(folder)
    engine = Engine(store, clock, Tokens(), EngineSettings())
    settings = ServerSettings(
        host="127.0.0.1",
        grpc_port=0,
        rest_port=0,
        data=folder,
        queue_file=None,
        cron_file=None,
        environment=None,
        project="demo",
        location="here",
        service_url="http://127.0.0.1:8080",
        issuer=None,
        scheduler_service_account="scheduler@example.com",
    )
    api = TasksApi(engine, store, clock, settings)
    await engine.start()
    try:
        await api.load()
        yield Inside(api, engine, store, clock)
    finally:
        await engine.stop(0.0)
