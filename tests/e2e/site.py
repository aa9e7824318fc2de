"""A site: one application on a queue server, a service and a database, all real, and how to look at and hurt them."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import psutil
import yaml
from google.cloud import tasks_v2
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcTransport
from sqlalchemy import ColumnElement, Connection, func, select

from governance import seed, verify
from governance.schema import open_database
from headrace.database import Database
from headrace.database.states import BatchState, RunState
from headrace.database.tables import batches, runs, steps
from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient, ServiceError
from headrace.local.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
JOB = "/v1/cron/synchronizeUserAccess"
HANDLER = "/v1/cloudTask/synchronizeUserAccess"
OPERATION = "api.access.synchronize_user_access"
QUEUE = "synchronizeAccessQueue"
LOCATION = "projects/headrace-dev/locations/local"
SWEEPS = ("relay", "reap", "reconcile", "resume")
ENDED = ("completed", "failed", "skipped")
TIMES = {"HEADRACE_OVERDUE": "1", "HEADRACE_SPLIT_LEASE": "1", "HEADRACE_LEASE_MARGIN": "0.5"}
WAIT = 40.0
"""Seconds that a test waits for what has to happen, before it fails."""

_QUEUES = """
queue:
- name: synchronizeAccessQueue
  rate: {rate}/s
  bucket_size: 20
  max_concurrent_requests: 8
  retry_parameters: {retry}
- {{name: auditProjectQueue, rate: 1/s}}
- {{name: headraceQueue, rate: 5/s}}
- {{name: directoryQueue, rate: 1/s}}
- {{name: rdrExportQueue, rate: 1/s}}
- {{name: createWorkspaceQueue, rate: 1/s}}
- {{name: accessRequestQueue, rate: 1/s}}
- {{name: spareQueue, rate: 500/s, retry_parameters: {{min_backoff_seconds: 0.02, max_backoff_seconds: 0.02}}}}
"""
_SCHEDULES = f"cron: [{{url: {JOB}, schedule: 1st monday of january 05:00}}]\n"


def copy_application(folder: Path) -> Path:
    """The reference application, files and code, in `folder`."""
    folder.mkdir()
    for name in ("openapi.yaml", "queue.yaml", "cron.yaml"):
        shutil.copy(ROOT / name, folder)
    for package in ("api", "handlers", "governance"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def copy_for_faults(folder: Path, *, batch_size: int = 50, rate: int = 500, retry: str = "{}") -> Path:
    """The same with a short time limit, queues for tests, and no schedule that fires: tests sweep themselves."""
    copy_application(folder)
    contract = yaml.safe_load((folder / "openapi.yaml").read_text())
    contract["paths"][HANDLER]["post"]["x-task"] |= {"batch-size": batch_size, "time-limit": "1s"}
    (folder / "openapi.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    (folder / "queue.yaml").write_text(_QUEUES.format(rate=rate, retry=retry))
    (folder / "cron.yaml").write_text(_SCHEDULES)
    return folder


def fill(url: str, users: int) -> None:
    """Make the application's tables with so many users, and keep what the check compares with."""
    with open_database(url) as database:
        seed.fill(database, users, seed=1, at=seed.start_of_day(time.time()))
        with database.write() as connection:
            verify.remember(connection)


@contextmanager
def run_site(
    application: Path,
    *,
    users: int,
    database_url: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Iterator["Site"]:
    """Fill a database with `users` and start all parts of `application`; they are gone when the block ends."""
    data = application / ".headrace"
    data.mkdir()
    url = database_url or f"sqlite:///{data / 'application.db'}"
    fill(url, users)
    service, grpc_port, rest_port = free_ports(3)
    stack = Stack(
        application,
        data,
        service_port=service,
        grpc_port=grpc_port,
        rest_port=rest_port,
        variables={"HEADRACE_DATABASE_URL": url, **TIMES, **(variables or {})},
    )
    with Parts(data) as parts, open_database(url) as database:
        site = Site(data, parts, database, stack.start(parts))
        try:
            yield site
        finally:
            site.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, each another."""
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


def wait_until(what: str, holds: Callable[[], bool], *, every: float = 0.005) -> None:
    """Ask `holds` again and again, `every` so many seconds, until it says yes; the test fails after `WAIT`."""
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not come within {WAIT:g} s"
        time.sleep(every)


@dataclass
class Site:
    """A running site."""

    data: Path
    parts: Parts
    database: Database
    address: Address
    _job: threading.Thread | None = field(default=None, init=False)

    @property
    def service(self) -> ServiceClient:
        return ServiceClient(self.address)

    @cached_property
    def queues(self) -> tasks_v2.CloudTasksClient:
        """Google's own client on the queue server."""
        assert self.address.queue_server is not None
        channel = grpc.insecure_channel(self.address.queue_server, options=[("grpc.max_reconnect_backoff_ms", 500)])
        return tasks_v2.CloudTasksClient(transport=CloudTasksGrpcTransport(channel=channel))

    def close(self) -> None:
        """Let go of everything. The service is killed: gunicorn takes seconds to stop, and test_dev sees how."""
        service = self.part("service")
        for process in (service, *service.children()):
            kill(process)
        if self._job is not None:
            self._job.join(WAIT)
        if "queues" in self.__dict__:
            self.queues.transport.close()

    # The job.

    def call_job(self) -> None:
        """Have the cron endpoint called, and go on: the answer comes when the split is done, or its worker dies."""

        def call() -> None:
            try:
                self.service.call_cron(JOB)
            except ServiceError:
                return

        self._job = threading.Thread(target=call)
        self._job.start()

    def run_id(self) -> str:
        """The newest run of the job."""
        statement = select(runs.c.id).where(runs.c.job == OPERATION).order_by(runs.c.created_at.desc()).limit(1)
        with self.database.read() as connection:
            return str(connection.execute(statement).scalar_one())

    def sweep(self) -> None:
        """Call the sweeps once, as a scheduler would."""
        for name in SWEEPS:
            self.service.call_cron(f"/v1/cron/headrace/{name}")

    def has_swept_split_to_end(self) -> bool:
        """Sweep once; whether no run is being split any more."""
        self.sweep()
        return not self.is_in_split()

    def end(self, *, sweep: bool = True) -> dict[str, Any]:
        """The run of the job when it has ended, with sweeps until then."""
        run: dict[str, Any] = {}

        def has_ended() -> bool:
            nonlocal run
            if sweep:
                self.sweep()
            run = self.service.show_run(self.run_id())
            return run["state"] in ENDED

        wait_until("The end of the run", has_ended, every=0.25)
        return run

    def verdict(self) -> verify.Verdict:
        """What the independent check says of every user."""
        with self.database.read() as connection:
            return verify.check_access(connection, time.time())

    # What the database shows.

    def count(self, *conditions: ColumnElement[bool]) -> int:
        """How many batches there are of which this is so."""
        with self.database.read() as connection:
            return int(connection.execute(select(func.count()).select_from(batches).where(*conditions)).scalar_one())

    def done(self) -> int:
        return self.count(batches.c.state == BatchState.DONE)

    def running(self) -> int:
        return self.count(batches.c.state == BatchState.RUNNING)

    def is_in_split(self, at_least: int = 1) -> bool:
        """Whether a run is being split that has some batches already."""
        statement = (
            select(func.count())
            .select_from(runs.join(steps, steps.c.run_id == runs.c.id))
            .where(runs.c.state == RunState.SPLITTING, steps.c.batches >= at_least)
        )
        with self.database.read() as connection:
            return bool(connection.execute(statement).scalar_one())

    def is_under_way(self) -> bool:
        """Whether the run is split to its end, and some of its batches are done."""
        return not self.is_in_split() and self.done() >= 20

    def payloads(self) -> list[str]:
        """The payload of each batch of the newest run, as JSON, in the order of their numbers."""
        statement = select(batches.c.payload).where(batches.c.run_id == self.run_id()).order_by(batches.c.number)
        with self.database.read() as connection:
            return list(connection.execute(statement).scalars())

    def ask(self, question: Callable[[Connection], Any]) -> Any:
        with self.database.read() as connection:
            return question(connection)

    # The parts.

    def part(self, name: str) -> psutil.Process:
        """The newest process of that name."""
        return psutil.Process([each for each in self.parts.running() if each.name == name][-1].process.pid)

    def log(self, name: str) -> str:
        """What the part of that name has printed."""
        return [each for each in self.parts.running() if each.name == name][-1].log.read_text()

    def workers(self) -> list[psutil.Process]:
        """gunicorn's worker processes."""
        return self.part("service").children()

    def freeze_worker(self, when: Callable[[], bool]) -> psutil.Process:
        """Stop a worker at a moment when `when` holds; it does nothing more until it is killed or resumed."""
        frozen: list[psutil.Process] = []

        def is_caught() -> bool:
            if not self.workers():
                return False
            worker = self.workers()[0]
            worker.suspend()
            wait_until("The stop of the worker", lambda: worker.status() == psutil.STATUS_STOPPED)
            if when():
                frozen.append(worker)
                return True
            worker.resume()
            return False

        wait_until("The moment to stop the worker", is_caught)
        return frozen[0]

    def kill_queue_server(self) -> Callable[[], None]:
        """Kill it with SIGKILL; what is returned starts it again as it was: same data, same ports."""
        server = self.part("queue server")
        command, environment, folder = server.cmdline(), server.environ(), Path(server.cwd())
        ready = self.data / "queue-server.json"
        kill(server)

        def start_again() -> None:
            ready.unlink()
            self.parts.start("queue server again", command, environment, folder)
            wait_until("The queue server", ready.exists)

        return start_again


def kill(process: psutil.Process) -> None:
    """SIGKILL, and wait until the process is gone. One that is gone already is fine."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
    process.wait(WAIT)


def queue_path(queue: str = QUEUE) -> str:
    """The full name of a queue of the site."""
    return f"{LOCATION}/queues/{queue}"
