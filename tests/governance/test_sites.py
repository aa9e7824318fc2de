"""The reference application on a real queue server and a real service: overlap, limits of one, deaths and delays."""

import json
import os
import sys
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import yaml
from sqlalchemy import func, insert, select

from governance import directory_seed
from governance.access_requests import APPROVERS
from governance.schema import open_database
from governance.sign_in import make_token
from governance.tables import (
    access_requests,
    directory_members,
    groups,
    memberships,
    storage_buckets,
    users,
    workspaces,
)
from governance.verify_jobs import check_directory, check_requests, check_workspaces
from headrace.database import Database, migration
from headrace.database.tables import batches, steps
from headrace.local.address import Address
from headrace.local.processes import Parts
from headrace.local.service import ServiceClient
from headrace.testing.server import QueueServer
from tests.e2e.site import ENDED, WAIT, Site, copy_application, free_ports, kill, run_site, wait_until

SYNCHRONIZE = "/v1/cron/synchronizeDirectory?source=corporate"
RETRY = {"min_backoff_seconds": 0.1, "max_backoff_seconds": 0.5}
TOGETHER = """

from threading import Barrier

together, write_one_page = Barrier(20, timeout=30), write_users


def write_users(batch: Batch) -> None:
    together.wait()
    write_one_page(batch)
"""
HANGING = """

import time
from pathlib import Path

reached, make_it = Path(__file__).with_name("reached"), make_bucket


def make_bucket(name: str, idempotency_key: str) -> str:
    made = make_it(name, idempotency_key)
    if not reached.exists():
        reached.touch()
        time.sleep(60)
    return made
"""


def application(folder: Path, *, slots: int) -> Path:
    """The reference application, each queue with so many slots, and no schedule that fires."""
    copy_application(folder)
    queues = yaml.safe_load((folder / "queue.yaml").read_text())
    for queue in queues["queue"]:
        queue |= {"rate": "500/s", "bucket_size": 50, "max_concurrent_requests": slots, "retry_parameters": dict(RETRY)}
    (folder / "queue.yaml").write_text(yaml.safe_dump(queues))
    (folder / "cron.yaml").write_text(f"cron: [{{url: '{SYNCHRONIZE}', schedule: 1st monday of january 05:00}}]\n")
    return folder


def append(folder: Path, module: str, code: str) -> None:
    with (folder / module).open("a") as file:
        file.write(code)


def synchronize(site: Site) -> str:
    """One synchronisation of 1,000 users and 200 groups to its end; the id of the run."""
    directory_seed.fill(site.database)
    run_id: str = site.service.call_cron(SYNCHRONIZE)["run_id"]
    wait_until("The end of the run", lambda: site.service.show_run(run_id)["state"] in ENDED, every=0.1)
    assert site.service.show_run(run_id)["state"] == "completed"
    return run_id


def times(site: Site, run_id: str) -> dict[int, tuple[int, int, int]]:
    """Of each step with batches: how many, the first start and the last end, in epoch milliseconds."""
    statement = (
        select(steps.c.number, func.count(), func.min(batches.c.started_at), func.max(batches.c.ended_at))
        .join(batches, batches.c.step_id == steps.c.id)
        .where(steps.c.run_id == run_id)
        .group_by(steps.c.number)
    )
    rows = site.ask(lambda connection: connection.execute(statement).all())
    return {number: (count, start, end) for number, count, start, end in rows}


def assert_all_there(site: Site) -> None:
    def count(table: Any) -> int:
        found: int = site.ask(lambda connection: connection.execute(select(func.count()).select_from(table)).scalar())
        return found

    assert (count(users), count(groups)) == (1_000, 200)
    assert count(memberships) == count(directory_members)
    assert site.ask(lambda connection: check_directory(connection, "corporate")) == ()


def test_a_synchronisation_is_done_in_order_with_queues_of_one_slot(tmp_path: Path, database_url: str):
    folder = application(tmp_path / "application", slots=1)
    with run_site(folder, users=0, database_url=database_url) as site:
        found = times(site, synchronize(site))
        assert {number: count for number, (count, _, _) in found.items()} == {1: 20, 2: 4, 3: 4}
        assert found[1][2] <= found[2][1]
        assert found[2][2] <= found[3][1]
        assert_all_there(site)


def test_all_pages_of_users_are_under_way_together_where_there_are_slots(tmp_path: Path):
    folder = application(tmp_path / "application", slots=21)
    append(folder, "handlers/directory.py", TOGETHER)
    with run_site(folder, users=0, variables={"HEADRACE_THREADS": "24"}) as site:
        found = times(site, synchronize(site))
        assert {number: count for number, (count, _, _) in found.items()} == {1: 20, 2: 4, 3: 4}
        assert_all_there(site)


def ask(service: str, method: str, path: str, token: str, body: object = None) -> tuple[int, Any]:
    """One request of a user to the service at a URL; status and body."""
    connection = HTTPConnection(urlsplit(service).netloc, timeout=30)
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def add_people(database: Database, *emails: str) -> list[str]:
    """Users with these e-mails, the last of them an approver; their tokens."""
    with database.write() as connection:
        people = [{"id": number, "email": email, "last_modified": 1} for number, email in enumerate(emails, 1)]
        connection.execute(insert(users), people)
        connection.execute(insert(groups), [{"id": 90, "name": APPROVERS}])
        connection.execute(insert(memberships), [{"group_id": 90, "user_id": len(emails), "source": "direct"}])
        return [make_token(connection, email, 0.0) for email in emails]


@pytest.fixture
def hanging(tmp_path: Path, database_url: str) -> Iterator[Site]:
    """A site whose storage vendor makes the first bucket, and then says nothing."""
    folder = application(tmp_path / "application", slots=4)
    append(folder, "governance/storage.py", HANGING)
    contract = yaml.safe_load((folder / "openapi.yaml").read_text())
    contract["paths"]["/v1/cloudTask/createWorkspace"]["post"]["x-task"]["time-limit"] = "2s"
    (folder / "openapi.yaml").write_text(yaml.safe_dump(contract, sort_keys=False))
    with run_site(folder, users=0, database_url=database_url) as site:
        yield site


def test_a_workspace_whose_worker_is_killed_half_way_is_made_once(hanging: Site):
    service = hanging.address.service
    (token,) = add_people(hanging.database, "anna@example.org")
    asked = {"name": "genomes", "members": []}
    status, queued = ask(service, "POST", "/api/v1/workspaces", token, asked)
    assert (status, queued["state"]) == (202, "QUEUED")
    path = f"/api/v1/workspaces/operations/{queued['operationId']}"
    wait_until("The call of the vendor", (hanging.data.parent / "governance/reached").exists)
    assert ask(service, "GET", path, token)[1]["state"] == "PROCESSING"
    for worker in hanging.workers():
        kill(worker)

    def has_ended() -> bool:
        hanging.sweep()
        return bool(ask(service, "GET", path, token)[1]["state"] == "SUCCESS")

    wait_until("The end of the operation", has_ended, every=0.25)
    for table in (workspaces, storage_buckets):
        assert len(hanging.ask(lambda connection, of=table: connection.execute(select(of)).all())) == 1
    assert hanging.ask(check_workspaces) == ()


@pytest.fixture
def queue_server(tmp_path: Path) -> Iterator[QueueServer]:
    """A queue server on a test clock, with the application's queues."""
    folder = application(tmp_path / "application", slots=4)
    server = QueueServer(tmp_path, ["--queues", "queue.yaml"], root=folder)
    yield server
    server.close()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        migration.upgrade(opened)
        yield opened


@pytest.fixture
def service(tmp_path: Path, queue_server: QueueServer, database: Database, database_url: str) -> Iterator[str]:
    """A service on the same clock; its URL."""
    (port,) = free_ports(1)
    url, folder = f"http://127.0.0.1:{port}", tmp_path / "application"
    variables = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")} | {
        "HEADRACE_APP": str(folder),
        "HEADRACE_DATA": str(tmp_path),
        "HEADRACE_DATABASE_URL": database_url,
        "HEADRACE_SERVICE_URL": url,
        "HEADRACE_TEST_CLOCK": str(tmp_path / "clock"),
        "HEADRACE_TOKEN_ISSUER": queue_server.rest,
        "CLOUD_TASKS_EMULATOR_HOST": queue_server.grpc,
        "PORT": str(port),
    }
    command = [sys.executable, "-m", "gunicorn", "--config", "python:headrace.service.gunicorn_conf"]
    with Parts(tmp_path) as parts:
        part = parts.start("service", [*command, "headrace.service:create_app()"], variables, folder)
        parts.wait_for("The service", ServiceClient(Address(url, None, None, None)).is_ready, WAIT)
        yield url
        master = psutil.Process(part.process.pid)
        for process in (master, *master.children()):
            kill(process)


def test_approved_access_is_gone_when_its_day_is_over_and_not_before(
    service: str, queue_server: QueueServer, database: Database
):
    anna, ben = add_people(database, "anna@example.org", "ben@example.org")
    _, asked = ask(service, "POST", "/api/v1/accessRequests", anna, {"reason": "to mend the index", "hours": 24})
    assert ask(service, "POST", f"/api/v1/accessRequests/{asked['requestId']}/approve", ben)[0] == 200

    def look() -> tuple[int, Any]:
        held = select(func.count()).select_from(memberships).where(memberships.c.source == "request")
        with database.read() as connection:
            return connection.execute(held).scalar_one(), connection.execute(select(access_requests)).one()

    queue_server.advance(86_400 - 60)
    held, request = look()
    assert (held, request.state) == (1, "approved")
    queue_server.advance(60)
    held, request = look()
    assert (held, request.state) == (0, "expired")
    with database.read() as connection:
        began = connection.execute(select(batches.c.started_at).where(batches.c.run_id == request.expiry_run)).scalar()
        assert began is not None
        assert began >= request.expires_at
        assert check_requests(connection, queue_server.now()) == ()
