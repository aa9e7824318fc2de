"""The queue server: engine, scheduler, gRPC and REST in one process and one event loop."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass

import uvloop
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from headrace.clock import Clock, SystemClock
from headrace.cloud import rpc
from headrace.cloud.files import make_cron_jobs, make_queues
from headrace.cloud.oidc import TokenIssuer, load_key, make_key
from headrace.cloud.queues import Queues
from headrace.cloud.rest import RestApplication, RestServer
from headrace.cloud.services import Service
from headrace.cloud.settings import ServerSettings, Started
from headrace.cloud.task_requests import is_loopback
from headrace.cloud.tasks import Tasks
from headrace.config import load_cron_file, load_queue_file
from headrace.engine.engine import Engine
from headrace.engine.http import Client
from headrace.engine.model import EngineSettings, Queue
from headrace.engine.scheduler import ATTEMPT_DEADLINE, CronJob, Scheduler, Send, firing_headers
from headrace.engine.store.sqlite import SqliteStore
from headrace.errors import StartError

GRACE = 10.0
"""Seconds from the signal to the exit, as platforms give them."""
_SHORT_GRACE = 2.0
"""Of these, the seconds for API calls and for cron requests, each; pushes have the rest."""


@dataclass(frozen=True, slots=True)
class Declared:
    """What the files say."""

    queues: list[Queue]
    cron_jobs: list[CronJob]
    skipped: tuple[tuple[str, str], ...]


def load_files(settings: ServerSettings) -> Declared:
    """Read queue.yaml and cron.yaml, where they are given. Raises ConfigError."""
    queues: list[Queue] = []
    cron_jobs: list[CronJob] = []
    skipped: tuple[tuple[str, str], ...] = ()
    if settings.queue_file is not None:
        queue_file = load_queue_file(settings.queue_file, settings.environment)
        queues = make_queues(queue_file, settings.project, settings.location)
    if settings.cron_file is not None:
        cron_file = load_cron_file(settings.cron_file, settings.environment)
        cron_jobs = make_cron_jobs(cron_file, settings.service_url, settings.scheduler_service_account)
        skipped = cron_file.skipped
    return Declared(queues, cron_jobs, skipped)


class QueueServer:
    """A queue server from start to stop; `clock` is its only time."""

    def __init__(self, settings: ServerSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._store = SqliteStore(settings.data)
        self._running = contextlib.AsyncExitStack()
        self._timed: tuple[Engine, Scheduler] | None = None

    async def start(self) -> Started:
        """Load the files, take ports and data folder, serve. Raises ConfigError or StartError."""
        declared = load_files(self._settings)
        _check_host(self._settings.host)
        async with contextlib.AsyncExitStack() as stack:
            started = await self._start(declared, stack)
            self._running = stack.pop_all()
        return started

    async def stop(self) -> None:
        """Take no call and start no push; what is under way has 10 seconds to end."""
        await self._running.aclose()

    def clock_moved(self) -> None:
        """Look at the clock again. To be called by whoever moves a test clock."""
        for part in self._timed or ():
            part.clock_moved()

    async def _start(self, declared: Declared, stack: contextlib.AsyncExitStack) -> Started:
        host = self._settings.host
        listener = stack.enter_context(_bind(host, self._settings.rest_port))
        rest_url = f"http://{_authority(host, listener.getsockname()[1])}"
        issuer = TokenIssuer(self._settings.issuer or rest_url, self._load_key(), self._clock)
        engine = Engine(self._store, self._clock, issuer, EngineSettings())
        services = _make_services(engine, self._clock)
        calls, grpc_port = rpc.make_server(services, self._clock, _authority(host, self._settings.grpc_port))
        stack.push_async_callback(calls.stop, None)

        await engine.start()
        stack.push_async_callback(engine.stop, GRACE - 2 * _SHORT_GRACE)
        for queue in declared.queues:
            await engine.put_queue(queue)
        await calls.start()
        stack.push_async_callback(calls.stop, _SHORT_GRACE)

        client = Client()
        stack.push_async_callback(client.close)
        scheduler = Scheduler(declared.cron_jobs, self._store, self._clock, _make_send(client, issuer))
        await scheduler.start()
        stack.push_async_callback(scheduler.stop, _SHORT_GRACE)
        self._timed = (engine, scheduler)
        rest = RestServer(RestApplication(issuer), listener)
        stack.push_async_callback(rest.stop)
        return Started(
            grpc=_authority(host, grpc_port),
            rest=rest_url,
            issuer=issuer.issuer,
            queues=len(declared.queues),
            cron_jobs=len(declared.cron_jobs),
            skipped=declared.skipped,
        )

    def _load_key(self) -> RSAPrivateKey:
        return make_key() if self._settings.data is None else load_key(self._settings.data / "token-key.pem")


def _make_services(engine: Engine, clock: Clock) -> list[Service]:
    return [Service("google.cloud.tasks.v2.CloudTasks", {**Queues(engine).rpcs, **Tasks(engine, clock).rpcs})]


def _check_host(host: str) -> None:
    if not is_loopback(host):
        raise StartError(
            f"The server asks no caller who it is, so it listens on loopback only, not on {host}.",
            hint="Leave --host out, or give it 127.0.0.1.",
        )


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bind(host: str, port: int) -> socket.socket:
    """A socket for the REST side. StartError when the port is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(
            f"The REST address {_authority(host, port)} cannot be had: {error.strerror}.",
            hint="Stop what listens there, or choose another --rest-port.",
        ) from error
    return listener


def _make_send(client: Client, tokens: TokenIssuer) -> Send:
    async def send(job: CronJob, scheduled_at: float) -> int:
        token = tokens.token(job.oidc) if job.oidc is not None else None
        headers = firing_headers(job, scheduled_at, token)
        return (await client.request("GET", job.url, headers, b"", ATTEMPT_DEADLINE)).status

    return send


async def serve(settings: ServerSettings, ready: Callable[[Started], None]) -> None:
    """Run a queue server until SIGTERM or SIGINT; `ready` is called once it serves."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    server = QueueServer(settings, SystemClock())
    started = await server.start()
    try:
        ready(started)
        await stopped.wait()
    finally:
        await server.stop()


def run(settings: ServerSettings, ready: Callable[[Started], None]) -> None:
    """`serve` in an event loop of its own. Raises ConfigError or StartError."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, ready))
