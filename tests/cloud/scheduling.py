"""Cloud Scheduler alone on a manual clock: in a thread of its own, with the official client for it."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport

from headrace.clock import ManualClock
from headrace.cloud.descriptors import Message
from headrace.cloud.fronts import rpc
from headrace.cloud.fronts.access import Access
from headrace.cloud.scheduler.api import SchedulerApi
from headrace.cloud.settings import ServerSettings
from headrace.cloud.tokens import TokenIssuer, make_key
from headrace.engine.bell import Bell
from headrace.engine.model import AppEngineUrls, EngineSettings
from headrace.engine.reach import TargetRules
from headrace.engine.store.sqlite import SqliteStore
from tests.cloud.conftest import LOCATION, WAIT

ACCOUNT = "scheduler@demo.iam.gserviceaccount.com"
ISSUER = "https://issuer.example"
KEY = make_key()
SETTINGS = ServerSettings(
    host="127.0.0.1",
    grpc_port=0,
    rest_port=0,
    data=None,
    queue_file=None,
    cron_file=None,
    environment=None,
    project="demo",
    location="here",
    service_url="http://127.0.0.1:1",
    issuer=ISSUER,
    scheduler_service_account=ACCOUNT,
)


def connect(address: str) -> CloudSchedulerClient:
    """The official client, without TLS."""
    return CloudSchedulerClient(transport=CloudSchedulerGrpcTransport(channel=grpc.insecure_channel(address)))


def job_name(job_id: str) -> str:
    return f"{LOCATION}/jobs/{job_id}"


def at(text: str) -> float:
    """Seconds since the epoch of an ISO time in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Scheduling:
    """A scheduler that serves; its clock stands still until it is moved."""

    def __init__(self, clock: ManualClock, api: SchedulerApi, bell: Bell, address: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._bell = bell
        self.clock = clock
        self.api = api
        self.client = connect(address)

    def do(self, action: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine where the scheduler runs."""
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(WAIT)

    def begin_move(self, when: float) -> None:
        """Let the clock reach `when`, and wait for nothing."""

        async def move() -> None:
            self.clock.advance(when - self.clock.now())
            self.api.scheduler.clock_moved()

        self.do(move())

    def settle(self) -> None:
        """Wait until no request is under way and none is due."""

        async def wait() -> None:
            while not self.api.scheduler.idle:
                await self._bell.heard()

        self.do(wait())

    def move_to(self, when: float) -> None:
        """Let the clock reach `when`, and everything end that is due then."""
        self.begin_move(when)
        self.settle()


@contextmanager
def scheduling(
    now: float,
    folder: Path | None = None,
    declared: tuple[Message, ...] = (),
    app_engine: AppEngineUrls = AppEngineUrls("http://127.0.0.1:1"),  # noqa: B008 - frozen
    pubsub: str | None = None,
    reach: TargetRules | None = None,
) -> Iterator[Scheduling]:
    """Run a scheduler on the data in `folder`. Its end cuts off the requests under way."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start(stack: AsyncExitStack) -> Scheduling:
        clock, bell, store = ManualClock(now), Bell(), SqliteStore(folder)
        await store.open()
        stack.push_async_callback(store.close)
        settings = replace(SETTINGS, data=folder, pubsub_endpoint=pubsub)
        engine = EngineSettings(app_engine=app_engine, reach=reach)
        api = SchedulerApi(store, clock, TokenIssuer(ISSUER, KEY, clock), settings, engine, bell)
        await api.load(declared)
        calls, port = rpc.make_server(api.services, Access(None), clock, "127.0.0.1:0")
        await calls.start()
        await api.start()
        stack.push_async_callback(api.stop, 0.0)
        stack.push_async_callback(calls.stop, None)
        return Scheduling(clock, api, bell, f"127.0.0.1:{port}")

    stack = AsyncExitStack()
    try:
        running = asyncio.run_coroutine_threadsafe(start(stack), loop).result(WAIT)
        with running.client:
            yield running
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result(WAIT)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT)
        loop.close()
