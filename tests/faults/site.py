"""The service to be killed, with a real queue server, a database and a sink for mails, on a clock that tests move."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Table, select

from headrace.clock import rfc3339
from headrace.database import Database, migration
from headrace.database.states import RUN_END, BatchState, EffectState, RunState
from headrace.database.tables import batches, effects, runs, steps
from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.service import CRON_HEADER, ServiceClient, ServiceError
from headrace.operators.decisions import Decision
from headrace.service.bindings import SCHEDULE_TIME_HEADER
from headrace.testing.server import QueueServer
from tests.e2e.site import wait_until
from tests.faults.application.letters import PEOPLE, tables
from tests.faults.points import Points
from tests.faults.sink import Sink, run_sink

ROOT = Path(__file__).resolve().parents[2]
APPLICATION = Path(__file__).with_name("application")
QUEUES = ("lettersQueue", "headraceQueue")
ADMIN_TOKEN = "token"
SWEEP = "/v1/cron/headrace/sweep"
LEASE = 400.0
"""Seconds after which every lease is over, and every task overdue."""
FIRST_FIRING = 4_102_444_800_000
"""Far ahead of the clock: no sweep finds that a firing behind it was missed."""
ROUNDS = 6
"""So many times the sweeps may be needed before a run has ended."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job, and what each run of it is to leave: a row for each person in these tables, and a mail to each."""

    path: str
    writes: tuple[str, ...] = ()
    mails: bool = False


SEND_LETTERS = Job("/v1/cron/sendLetters", ("addresses", "mailed"), mails=True)
SEND_ONCE = Job("/v1/cron/sendOnce", mails=True)
ADDRESS = Job("/v1/cron/address", ("addresses",))


@dataclass(frozen=True, slots=True)
class Doubt:
    """A mail of which nobody knows whether it was sent."""

    batch_id: int
    run_id: str
    person: int


@dataclass
class Site:
    """A running service, and what it is tried with. A run is named by the time of its firing, in epoch milliseconds."""

    service: ServiceClient
    queue_server: QueueServer
    database: Database
    sink: Sink
    points: Points
    _firings: int = 0

    def start(self, job: Job, *, kill_at: str | None = None) -> int:
        """Have a job fired, and the service killed at that point, or else at a new one; the firing."""
        self._firings += 1
        firing = FIRST_FIRING + self._firings * 60_000
        self.points.start()
        if kill_at is None:
            self.points.kill_anew()
        else:
            self.points.kill_at(kill_at)
        self._fire(job, firing)
        return firing

    def break_off(self, job: Job, *, kill_at: str | None = None) -> int:
        """Start a job as `start` does, lose all tasks that it leaves, and let all leases end; the firing."""
        firing = self.start(job, kill_at=kill_at)
        self.queue_server.wait_until_idle()
        self.wait_until_idle()
        self.points.spare()
        for queue in QUEUES:
            self.queue_server.client().purge_queue(name=f"{self.queue_server.parent}/queues/{queue}")
        self.queue_server.advance(LEASE)
        return firing

    def wait_until_idle(self) -> None:
        """Return when the service has left all points behind: it answers one request after the other."""
        wait_until("The service", lambda: _is_answered(lambda: self.service.get("/healthz")))

    def sweep(self) -> None:
        """Call the sweeps, as a scheduler would."""
        _is_answered(lambda: self.service.call_cron(SWEEP))

    def end(self, job: Job, firing: int) -> list[Decision]:
        """Let time pass, with sweeps, and decide what waits for a person, until the run has ended; the decisions.

        The service is killed at a new point of the first one.
        """
        decisions: list[Decision] = []
        for _ in range(ROUNDS):
            self.queue_server.drain()
            self.wait_until_idle()
            run = self.find_run(firing)
            if run is None:
                # A scheduler that got no answer tries again.
                self._fire(job, firing)
            elif run.state in RUN_END:
                break
            else:
                for doubt in self.doubts():
                    decisions.append(self.decide(doubt, kill=not decisions))
                self.queue_server.advance(LEASE)
                self.sweep()
        return decisions

    def doubts(self) -> list[Doubt]:
        """What waits for a person, by what the admin API shows of it."""
        waiting = self.service.ask("/api/v1/decisions")["decisions"]
        return [
            Doubt(batch["batch_id"], batch["run_id"], batch["payload"][int(effect["key"].partition("/")[0])])
            for batch in waiting
            for effect in batch["effects"]
            if effect["state"] == EffectState.BEGUN
        ]

    def decide(self, doubt: Doubt, *, kill: bool) -> Decision:
        """Decide by what the sink has, as a person would; with `kill`, the service dies at a new point of that."""
        was_sent = doubt.person in self.sink.sent(doubt.run_id)
        decision = Decision.RESUME if was_sent else Decision.REDO
        path = f"/api/v1/decisions/{doubt.batch_id}"
        if kill:
            self.points.kill_anew(of=path)
        _is_answered(lambda: self.service.tell(path, {"decision": decision}))
        self.wait_until_idle()
        self.points.spare()
        return decision

    def find_run(self, firing: int) -> Row[Any, Any, Any] | None:
        """Its id, state and reason."""
        statement = select(runs.c.id, runs.c.state, runs.c.reason).where(runs.c.scheduled_at == firing)
        with self.database.read() as connection:
            return connection.execute(statement).one_or_none()

    def faults(self, job: Job, firing: int) -> list[str]:
        """What is not as it has to be when a run has ended: all done, each row and each mail once."""
        run = self.find_run(firing)
        if run is None or run.state != RunState.COMPLETED:
            return [f"the run is {run}"]
        with self.database.read() as connection:
            written = {name: _people(connection, tables.tables[name], run.id) for name in job.writes}
            counted = connection.execute(
                select(steps.c.number, steps.c.item_count, steps.c.items_done).where(steps.c.run_id == run.id)
            ).all()
            unended = connection.execute(
                select(batches.c.id, batches.c.state).where(
                    batches.c.run_id == run.id, batches.c.state != BatchState.DONE
                )
            ).all()
            in_doubt = connection.execute(
                select(effects.c.batch_id, effects.c.key).where(
                    effects.c.run_id == run.id, effects.c.state != EffectState.DONE
                )
            ).all()
        left = written | ({"mails": self.sink.sent(run.id)} if job.mails else {})
        faults = [f"{name}: {people}" for name, people in left.items() if people != list(PEOPLE)]
        faults += [f"step {each}" for each in counted if not each.item_count == each.items_done == len(PEOPLE)]
        return faults + [f"batch {each}" for each in unended] + [f"effect {each}" for each in in_doubt]

    def _fire(self, job: Job, firing: int) -> None:
        headers = {**CRON_HEADER, SCHEDULE_TIME_HEADER: rfc3339(firing)}
        _is_answered(lambda: self.service.get(job.path, headers=headers))


def _is_answered(call: Callable[[], object]) -> bool:
    """Whether a call of the service was answered; who is killed does not answer, and no other failure is expected."""
    try:
        call()
    except ServiceError as error:
        if error.answered:
            raise
        return False
    return True


def _people(connection: Connection, table: Table, run_id: str) -> list[int]:
    """For whom a run wrote rows of a table."""
    statement = select(table.c.person).where(table.c.run == run_id).order_by(table.c.person)
    return list(connection.execute(statement).scalars())


@contextmanager
def _hold_port() -> Iterator[int]:
    """A port that a server can listen on until the block ends, and that nobody else is given meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def run_site(folder: Path, database_url: str) -> Iterator[Site]:
    """Start all parts on an empty database; they are gone when the block ends."""
    database = Database(database_url)
    migration.upgrade(database)
    with database.write() as connection:
        tables.create_all(connection)
    points = Points(folder)
    queue_server = QueueServer(folder, ["--queues", "queue.yaml"], root=APPLICATION)
    try:
        with run_sink() as sink, Parts(folder) as parts, _hold_port() as port:
            url = f"http://127.0.0.1:{port}"
            service = ServiceClient(Address(url, queue_server.grpc, queue_server.rest, ADMIN_TOKEN))
            variables = {
                "PATH": os.environ["PATH"],
                "CLOUD_TASKS_EMULATOR_HOST": queue_server.grpc,
                "FAULT_POINTS": str(folder),
                "HEADRACE_ADMIN_TOKEN": ADMIN_TOKEN,
                "HEADRACE_APP": str(APPLICATION),
                "HEADRACE_DATA": str(folder),
                "HEADRACE_DATABASE_URL": database_url,
                "HEADRACE_ENV": "development",
                "HEADRACE_TEST_CLOCK": str(folder / "clock"),
                # One request at a time: points follow one another in one order.
                "HEADRACE_THREADS": "1",
                "HEADRACE_TOKEN_ISSUER": queue_server.rest,
                "MAIL_SINK": sink.address,
                "PORT": str(port),
                "PYTHONPATH": str(ROOT),
            }
            command = [sys.executable, "-m", "gunicorn", "--config", "python:tests.faults.service"]
            part = parts.start(
                "service", [*command, "tests.faults.service:create_probed_app()"], variables, APPLICATION
            )
            parts.wait_for("The service", service.is_ready, 60)
            yield Site(service, queue_server, database, sink, points)
            # gunicorn takes seconds to stop; its workers end with its session.
            part.process.kill()
    finally:
        queue_server.close()
        database.close()
