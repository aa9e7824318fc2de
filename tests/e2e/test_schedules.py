"""Schedules and delayed tasks on a real queue server, whose clock the test moves, and a real service on that clock."""

import os
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from sqlalchemy import select

from governance.schema import open_database
from headrace.database import Database, migration
from headrace.database.tables import runs
from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from headrace.testing.server import QueueServer
from tests.e2e.site import WAIT, copy_application, free_ports, kill

JOB = "/v1/cron/auditProjectAccess"
HOUR, DAY = 3_600.0, 86_400.0
DELAYED = """
from pathlib import Path

import headrace
from headrace import Batch


def push(at: float) -> dict[str, str]:
    with headrace.transaction() as connection:
        return {"run_id": headrace.push(connection, remember, "once", at=at).run_id}


def cancel(run_id: str) -> dict[str, bool]:
    with headrace.transaction() as connection:
        return {"done": headrace.cancel(connection, run_id, "no need")}


def reschedule(run_id: str, at: float) -> dict[str, bool]:
    with headrace.transaction() as connection:
        return {"done": headrace.reschedule(connection, run_id, at)}


def remember(batch: Batch) -> None:
    with Path(__file__).with_name("remembered").open("a") as file:
        file.write(f"{batch.run_id} {batch.now}\\n")
"""


@dataclass(frozen=True)
class Scheduled:
    """A service with an hourly job, and the queue server that calls it."""

    queue_server: QueueServer
    service: ServiceClient
    database: Database
    folder: Path

    def ask(self, path: str) -> dict[str, Any]:
        """GET one of the endpoints of `DELAYED`."""
        return self.service.get(f"/delayed/{path}")

    def remembered(self) -> list[tuple[str, float]]:
        """Each execution of the delayed task: its run, and when that was."""
        file = self.folder / "remembered"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(run_id, float(at)) for run_id, at in (line.split() for line in lines)]

    def sweep(self) -> dict[str, int]:
        return self.service.call_cron("/v1/cron/headrace/sweep")

    def runs(self) -> list[Any]:
        """Of the hourly job, in the order of their times."""
        statement = select(runs).where(runs.c.schedule == JOB).order_by(runs.c.scheduled_at)
        with self.database.read() as connection:
            return list(connection.execute(statement))

    def shown(self) -> dict[str, Any]:
        schedules = self.service.ask("/api/v1/schedules")["schedules"]
        return next(dict(each) for each in schedules if each["url"] == JOB)


def add_delayed(folder: Path) -> None:
    """Endpoints that push, cancel and reschedule a task which leaves a line in a file."""
    (folder / "delayed.py").write_text(DELAYED)
    contract = yaml.safe_load((folder / "openapi.yaml").read_text())
    at = {"name": "at", "in": "query", "required": True, "schema": {"type": "number"}}
    run_id = {"name": "run_id", "in": "query", "required": True, "schema": {"type": "string"}}
    answer = {"description": "Done.", "content": {"application/json": {"schema": {"type": "object"}}}}
    for name, parameters in {"push": [at], "cancel": [run_id], "reschedule": [run_id, at]}.items():
        operation = {"operationId": f"delayed.{name}", "security": [], "parameters": parameters}
        contract["paths"][f"/delayed/{name}"] = {"get": operation | {"responses": {"200": answer}}}
    contract["paths"]["/v1/cloudTask/remember"] = {
        "post": {
            "operationId": "delayed.remember",
            "security": [{"taskQueue": []}],
            "x-task": {"queue": "accessRequestQueue"},
            "requestBody": {"content": {"application/json": {"schema": {"type": "string"}}}},
            "responses": {"204": {"description": "Done."}},
        }
    }
    (folder / "openapi.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Scheduled]:
    (port,) = free_ports(1)
    url, folder = f"http://127.0.0.1:{port}", copy_application(tmp_path / "application")
    (folder / "cron.yaml").write_text(f"cron: [{{url: {JOB}, schedule: '0 * * * *'}}]\n")
    add_delayed(folder)
    options = ["--queues", "queue.yaml", "--cron", "cron.yaml", "--service-url", url]
    command = [sys.executable, "-m", "gunicorn", "--config", "python:headrace.service.gunicorn_conf"]
    with (
        closing(QueueServer(tmp_path, options, root=folder)) as queue_server,
        open_database(database_url) as database,
        Parts(tmp_path) as parts,
    ):
        migration.upgrade(database)
        variables = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")} | {
            "HEADRACE_APP": str(folder),
            "HEADRACE_DATA": str(tmp_path),
            "HEADRACE_DATABASE_URL": database_url,
            "HEADRACE_SERVICE_URL": url,
            "HEADRACE_ADMIN_TOKEN": "secret",
            "HEADRACE_TEST_CLOCK": str(tmp_path / "clock"),
            "HEADRACE_TOKEN_ISSUER": queue_server.rest,
            "CLOUD_TASKS_EMULATOR_HOST": queue_server.grpc,
            "PORT": str(port),
        }
        part = parts.start("service", [*command, "headrace.service:create_app()"], variables, folder)
        service = ServiceClient(Address(url, None, None, "secret"))
        parts.wait_for("The service", service.is_ready, WAIT)
        yield Scheduled(queue_server, service, database, folder)
        master = psutil.Process(part.process.pid)
        for process in (master, *master.children()):
            kill(process)


def test_each_hour_has_its_run_and_the_sweep_adds_none(site: Scheduled) -> None:
    site.queue_server.advance(3 * HOUR)
    assert site.sweep()["fired"] == 0
    found = site.runs()
    assert [run.state for run in found] == ["completed"] * 3
    assert [run.scheduled_at % (HOUR * 1000) for run in found] == [0] * 3
    assert site.shown()["last_run"] == {"run_id": found[-1].id, "state": "completed"}


def test_a_pause_holds_back_the_schedulers_calls_and_a_resume_waits_for_the_next_hour(site: Scheduled) -> None:
    site.service.tell("/api/v1/schedules:pause", {"url": JOB})
    site.queue_server.advance(2 * HOUR)
    assert {(run.state, run.reason) for run in site.runs()} == {("skipped", "The schedule is paused.")}
    site.service.tell("/api/v1/schedules:resume", {"url": JOB})
    assert site.sweep()["fired"] == 0
    site.queue_server.advance(HOUR)
    assert [run.state for run in site.runs()] == ["skipped", "skipped", "completed"]


def test_an_operators_schedule_takes_the_place_of_the_files(site: Scheduled) -> None:
    site.service.tell("/api/v1/schedules", {"url": JOB, "schedule": "15 */3 * * *"}, method="PATCH")
    site.queue_server.advance(3 * HOUR)
    site.sweep()
    site.queue_server.wait_until_idle()
    (run,) = site.runs()
    assert (run.state, run.scheduled_at % (3 * HOUR * 1000)) == ("completed", 15 * 60 * 1000)


def test_a_task_for_tomorrow_is_executed_when_its_day_is_over_and_not_before(site: Scheduled) -> None:
    at = site.queue_server.now() + DAY
    run_id = site.ask(f"push?at={at}")["run_id"]
    site.queue_server.advance(DAY - 60)
    assert site.remembered() == []
    site.queue_server.advance(60)
    ((remembered, executed_at),) = site.remembered()
    assert remembered == run_id
    assert at <= executed_at <= at + 60


def test_a_task_that_is_cancelled_before_its_time_is_a_task_without_work(site: Scheduled) -> None:
    run_id = site.ask(f"push?at={site.queue_server.now() + DAY}")["run_id"]
    assert site.ask(f"cancel?run_id={run_id}") == {"done": True}
    assert site.ask(f"cancel?run_id={run_id}") == {"done": False}
    assert site.queue_server.advance(DAY).failed == 0
    assert site.remembered() == []
    assert site.service.show_run(run_id)["state"] == "cancelled"


def test_a_task_that_gets_another_time_is_executed_then_and_once(site: Scheduled) -> None:
    now = site.queue_server.now()
    run_id = site.ask(f"push?at={now + DAY}")["run_id"]
    assert site.ask(f"reschedule?run_id={run_id}&at={now + HOUR}") == {"done": True}
    site.queue_server.advance(HOUR)
    assert [remembered for remembered, _ in site.remembered()] == [run_id]
    assert site.ask(f"reschedule?run_id={run_id}&at={now + DAY}") == {"done": False}
    assert site.queue_server.advance(2 * DAY).failed == 0
    assert len(site.remembered()) == 1
