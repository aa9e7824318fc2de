"""The queue server: engine, scheduler, gRPC and REST in one process and one event loop."""

import asyncio
import contextlib
import gc
import signal
import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path
from wsgiref.types import WSGIApplication

import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from headrace.clock import Clock, MovableClock, SharedClock, SystemClock
from headrace.cloud.control.api import Control
from headrace.cloud.control.audit import Audit
from headrace.cloud.control.declarations import Declarations, Declared
from headrace.cloud.control.desk import ServerDesk
from headrace.cloud.control.metrics import QueueMetrics
from headrace.cloud.control.queues import QueueRoutes
from headrace.cloud.control.requests import MAX_PAGE
from headrace.cloud.control.schedules import Schedules
from headrace.cloud.control.steering import Steering
from headrace.cloud.control.timelapse import Activity
from headrace.cloud.descriptors import Message
from headrace.cloud.files import make_cron_jobs, make_queues
from headrace.cloud.fronts import rpc
from headrace.cloud.fronts.access import Access, check_host
from headrace.cloud.fronts.mounts import Mount
from headrace.cloud.fronts.rest import RestApplication, RestServer, public_routes
from headrace.cloud.fronts.transcoding import api_routes, buffer_routes
from headrace.cloud.scheduler.api import SchedulerApi
from headrace.cloud.settings import ServerSettings, Started
from headrace.cloud.tasks.api import TasksApi
from headrace.cloud.tokens import TokenIssuer, load_key, make_key
from headrace.config import load_cron_file, load_queue_file
from headrace.config.overlays import overlay_path
from headrace.engine.address import is_loopback
from headrace.engine.bell import Bell
from headrace.engine.engine import Engine
from headrace.engine.errors import StoreUnavailable
from headrace.engine.model import AppEngineUrls, EngineSettings, Queue
from headrace.engine.reach import PUBLIC_ONLY, TargetRules
from headrace.engine.store.sqlite import SqliteStore
from headrace.errors import StartError

GRACE = 10.0
"""Seconds from the signal to the exit, as platforms give them."""
_TEST_HISTORY_BYTES = 64 << 20
_BACKLOG = 2048
_SHORT_GRACE = 2.0
"""Of these, the seconds for API calls and for cron requests, each; pushes have the rest."""


def load_files(settings: ServerSettings) -> Declared:
    """Read queue.yaml and cron.yaml, where they are given. Raises ConfigError."""
    queues: list[Queue] = []
    cron_jobs: list[Message] = []
    skipped: tuple[tuple[str, str], ...] = ()
    if settings.queue_file is not None:
        queue_file = load_queue_file(settings.queue_file, settings.environment)
        queues = make_queues(queue_file, settings.project, settings.location, settings.file_name_memory)
    if settings.cron_file is not None:
        cron_file = load_cron_file(settings.cron_file, settings.environment)
        cron_jobs = make_cron_jobs(cron_file, settings.project, settings.location)
        skipped = cron_file.skipped
    return Declared(queues, cron_jobs, skipped)


def declared_paths(settings: ServerSettings) -> list[Path]:
    """The files that `load_files` reads, and the overlays that it would read if they were there."""
    files = [path for path in (settings.queue_file, settings.cron_file) if path is not None]
    overlays = [overlay_path(path, settings.environment) for path in files] if settings.environment else []
    return files + overlays


MakeConsole = Callable[[ServerDesk, Clock, Started], WSGIApplication]
"""Puts a console together, for what stands on the desk of the server that has started."""
CONSOLE_PATH = "/console"


class QueueServer:
    """A queue server from start to stop; `clock` is its only time.

    `make_console` is called with the first request to /console, in a thread; without it there is none.
    """

    def __init__(
        self,
        settings: ServerSettings,
        clock: Clock,
        test_clock: MovableClock | None = None,
        make_console: MakeConsole | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._test_clock = test_clock
        self._make_console = make_console
        # A moved clock waits for each outcome, so none waits for company.
        self._store = SqliteStore(settings.data) if test_clock is None else SqliteStore(settings.data, patience=0.0)
        self._running = contextlib.AsyncExitStack()
        self._engine: Engine | None = None
        self._activity: Activity | None = None

    async def start(self) -> Started:
        """Load the files, take ports and data folder, serve. Raises ConfigError or StartError."""
        declared = load_files(self._settings)
        check_host(self._settings.host, self._settings.token)
        async with contextlib.AsyncExitStack() as stack:
            started = await self._start(declared, stack)
            self._running = stack.pop_all()
        return started

    async def stop(self) -> None:
        """Take no call and start no push; what is under way has 10 seconds to end."""
        if self._engine is not None:
            self._engine.halt()
        await self._running.aclose()

    async def serve_until(self, stopped: asyncio.Event) -> None:
        """Return when `stopped` is set. Raises StoreUnavailable when the store fails for good before that."""
        waits = {asyncio.create_task(stopped.wait()), asyncio.create_task(self._store.ended())}
        _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for each in left:
            each.cancel()
        if not stopped.is_set():
            raise StoreUnavailable(
                "The store has failed. What was answered is on disk.",
                hint="See the lines above; start the server again.",
            )

    def clock_moved(self) -> None:
        """Look at the clock again. To be called by whoever moves a test clock."""
        if self._activity is not None:
            self._activity.clock_moved()

    async def _start(self, declared: Declared, stack: contextlib.AsyncExitStack) -> Started:
        host = self._settings.host
        listener = stack.enter_context(_bind(host, self._settings.rest_port))
        rest_url = f"http://{_authority(host, listener.getsockname()[1])}"
        issuer = TokenIssuer(self._settings.issuer or rest_url, self._load_key(), self._clock)
        engine_settings = make_engine_settings(self._settings)
        bell = Bell()
        engine = Engine(self._store, self._clock, issuer, engine_settings, bell)
        tasks_api = TasksApi(engine, self._store, self._clock, self._settings)
        scheduler_api = SchedulerApi(self._store, self._clock, issuer, self._settings, engine_settings, bell)
        audit = Audit(self._store, self._clock)
        services = [*tasks_api.services, *scheduler_api.services]
        access = Access(self._settings.token)
        calls, grpc_port = rpc.make_server(
            *(services, access, self._clock, _authority(host, self._settings.grpc_port)),
            is_native=self._settings.grpc_front == "native",
        )
        stack.push_async_callback(calls.stop, None)

        await engine.start()
        stack.push_async_callback(engine.stop, GRACE - 2 * _SHORT_GRACE)
        await tasks_api.load()
        await audit.load()
        await scheduler_api.load(declared.cron_jobs)
        load = partial(load_files, self._settings)
        declarations = Declarations(engine, tasks_api, scheduler_api.jobs, declared, load)
        await declarations.take_up()
        await calls.start()
        stack.push_async_callback(calls.stop, _SHORT_GRACE)

        await scheduler_api.start()
        stack.push_async_callback(scheduler_api.stop, _SHORT_GRACE)
        self._engine, self._activity = engine, Activity(self._clock, engine, scheduler_api.scheduler, bell)
        if paths := declared_paths(self._settings):
            watch = asyncio.create_task(declarations.watch(paths), name="watch")
            stack.callback(watch.cancel)
        control = Control(engine, self._clock, self._test_clock, self._activity, declarations)
        steering = Steering(engine, self._clock, tasks_api.overrides, audit, declarations.find)
        queues = QueueRoutes(engine, steering, self._settings.file_name_memory)
        metrics = QueueMetrics(engine, self._clock)
        own = [*public_routes(issuer), *control.routes(), *queues.routes(), *metrics.routes()]
        routes = [*own, *buffer_routes(tasks_api.buffer), *api_routes(services)]
        started = Started(
            grpc=_authority(host, grpc_port),
            rest=rest_url,
            console=None if self._make_console is None else rest_url + CONSOLE_PATH,
            issuer=issuer.issuer,
            queues=len(declared.queues),
            cron_jobs=len(declared.cron_jobs),
            project=self._settings.project,
            location=self._settings.location,
            skipped=declared.skipped,
        )
        console = None
        if self._make_console is not None:
            desk = ServerDesk(steering, Schedules(scheduler_api.jobs, audit), asyncio.get_running_loop())
            console = Mount(CONSOLE_PATH, partial(self._make_console, desk, self._clock, started))
            stack.callback(console.close)
        rest = RestServer(RestApplication(routes, access, console), listener)
        stack.push_async_callback(rest.stop)
        return started

    def _load_key(self) -> RSAPrivateKey:
        return make_key() if self._settings.data is None else load_key(self._settings.data / "token-key.pem")


def make_engine_settings(settings: ServerSettings) -> EngineSettings:
    """What the settings of the server mean for its pushes."""
    urls = dict(settings.app_engine_urls)
    default = urls.pop("", settings.service_url)
    reach = None if is_loopback(settings.host) else PUBLIC_ONLY
    if settings.allowed_targets:
        reach = TargetRules(settings.allowed_targets)
    # A test asks after all that was delivered, where a person asks after the last of it.
    kept = {} if settings.test_clock is None else {"history": MAX_PAGE, "history_bytes": _TEST_HISTORY_BYTES}
    return EngineSettings(
        **kept,
        tls=_trust_any_target() if settings.tls_insecure_targets else None,
        app_engine=AppEngineUrls(default, tuple(urls.items())),
        reach=reach,
    )


def _trust_any_target() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    """A socket for the REST side. StartError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        # Who reads the address before the front serves is queued rather than refused.
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(
            f"The REST address {_authority(host, port)} cannot be had: {error.strerror}.",
            hint="Stop what listens there, or choose another --rest-port.",
        ) from error
    return listener


async def serve(
    settings: ServerSettings, ready: Callable[[Started], None], make_console: MakeConsole | None = None
) -> None:
    """Run a queue server until SIGTERM or SIGINT; `ready` is called once it serves."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    test_clock = None if settings.test_clock is None else _open_clock(settings.test_clock)
    server = QueueServer(settings, test_clock or SystemClock(), test_clock, make_console)
    started = await server.start()
    _spare_collector()
    try:
        ready(started)
        await server.serve_until(stopped)
    finally:
        await server.stop()


def _spare_collector() -> None:
    """Look less often for garbage in cycles: calls and pushes make next to none, and each look stops them all."""
    gc.collect()
    gc.freeze()  # what was made at the start is never looked at again
    gc.set_threshold(10_000, 20, 50)


def _open_clock(path: Path) -> SharedClock:
    try:
        return SharedClock(path)
    except (OSError, ValueError) as error:
        raise StartError(f"The test clock cannot be had: {error}.", hint="Give --test-clock another file.") from error


def run(settings: ServerSettings, ready: Callable[[Started], None], make_console: MakeConsole | None = None) -> None:
    """`serve` in an event loop of its own. Raises ConfigError or StartError."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, ready, make_console))
