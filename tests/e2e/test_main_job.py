"""The main job as its callers see it: cron endpoint, queues, handlers, schedules and the admin API."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPMessage
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from sqlalchemy import func, select

from governance import verify
from headrace.database.tables import batches, runs
from headrace.engine.firings import decode_progress, encode_progress
from headrace.engine.scheduler import PROGRESS
from headrace.engine.store.sqlite import SqliteStore
from tests.e2e.site import (
    HANDLER,
    JOB,
    QUEUE,
    ROOT,
    Site,
    copy_for_faults,
    kill,
    queue_path,
    run_site,
    wait_until,
)

CRON = {"X-Appengine-Cron": "true"}
AUDIT_JOB = "/v1/cron/auditProjectAccess"
VENDOR_JOB = "/v1/cron/callVendor"
VENDOR = """
from headrace import Batch, Job


def start(job: Job) -> None:
    job.split(call, items=lambda connection, after: iter(range((after or 0) + 1, 4)))


def call(batch: Batch) -> None:
    if batch.delivery.retry_count < 2:
        raise RuntimeError(f"the vendor is closed at attempt {batch.attempt}")
"""


@dataclass(frozen=True)
class Answer:
    """What the service answered to one request; `seconds` is how long that took."""

    status: int
    headers: HTTPMessage
    body: bytes
    seconds: float

    def json(self) -> Any:
        return json.loads(self.body)


def ask(
    site: Site, path: str, headers: Mapping[str, str] | None = None, *, method: str = "GET", body: bytes | None = None
) -> Answer:
    """One request on a connection of its own."""
    started = time.monotonic()
    connection = HTTPConnection(urlsplit(site.address.service).netloc, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read(), time.monotonic() - started)
    finally:
        connection.close()


def add_vendor_job(application: Path) -> None:
    """A job of three batches whose first two deliveries each fail, and a schedule that starts it."""
    (application / "vendor.py").write_text(VENDOR)
    path = application / "openapi.yaml"
    contract = yaml.safe_load(path.read_text())
    job, handler = contract["paths"][AUDIT_JOB]["get"], contract["paths"][HANDLER]["post"]
    contract["paths"][VENDOR_JOB] = {"get": job | {"operationId": "vendor.start"}}
    contract["paths"]["/v1/cloudTask/callVendor"] = {
        "post": handler | {"operationId": "vendor.call", "x-task": {"queue": "spareQueue"}}
    }
    path.write_text(yaml.safe_dump(contract, sort_keys=False))
    (application / "cron.yaml").write_text(f"cron: [{{url: {VENDOR_JOB}, schedule: every 1 minutes}}]\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """10,000 users."""
    application = copy_for_faults(tmp_path_factory.mktemp("main") / "application")
    add_vendor_job(application)
    with run_site(application, users=10_000) as running:
        yield running


@pytest.fixture(scope="module")
def started(site: Site) -> Answer:
    """The answer of the cron endpoint, while the job's queue is paused."""
    site.queues.pause_queue(name=queue_path())
    return ask(site, JOB, CRON)


@pytest.fixture(scope="module")
def task_headers(site: Site) -> dict[str, str]:
    """What the queue server sends with a push of the job's queue; the token is one that it has signed."""
    received: list[HTTPMessage] = []

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.headers)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Sink) as sink:
        account = {
            "service_account_email": "tasks@headrace-dev.iam.gserviceaccount.com",
            "audience": site.address.service,
        }
        request = {"url": f"http://127.0.0.1:{sink.server_port}/", "oidc_token": account}
        site.queues.create_task(parent=queue_path("spareQueue"), task={"http_request": request})
        sink.timeout = 30
        sink.handle_request()
    return {
        "Authorization": received[0]["Authorization"],
        "Content-Type": "application/json",
        "X-CloudTasks-QueueName": QUEUE,
        "X-CloudTasks-TaskName": "somebody-elses",
    }


def changed_users(site: Site) -> int:
    """How many rows the job has written since the database was filled."""
    return sum(site.ask(verify.count_changes).values())


def counts(site: Site) -> tuple[int, int, int]:
    """Runs, batches, rows written by jobs."""
    return (
        site.ask(lambda connection: connection.scalar(select(func.count()).select_from(runs))),
        site.count(),
        (changed_users(site)),
    )


def test_a_cron_call_over_10_000_users_is_answered_at_once(started: Answer) -> None:
    assert (started.status, started.body) == (204, b"")
    assert started.headers["X-Run-Id"]
    assert started.seconds < 2


def test_its_tasks_wait_on_the_queue_and_no_user_is_changed(site: Site, started: Answer) -> None:
    tasks = site.queues.list_tasks(request={"parent": queue_path(), "page_size": 1_000})
    assert len(list(tasks)) == 200
    run = site.service.show_run(started.headers["X-Run-Id"])
    assert (run["items"], run["tasks"]["total"], run["progress"]) == (10_000, 200, 0)
    assert changed_users(site) == 0
    assert not site.verdict().ok


def test_a_second_call_while_the_job_runs_is_skipped(site: Site, started: Answer) -> None:
    second = ask(site, JOB, CRON)
    assert (second.status, second.headers["X-Run-State"]) == (204, "skipped")
    run = site.service.show_run(second.headers["X-Run-Id"])
    assert run["state"] == "skipped"
    assert started.headers["X-Run-Id"] in run["reason"]
    assert run["tasks"]["total"] == 0


def test_the_job_ends_with_every_user_right(site: Site, started: Answer) -> None:
    site.queues.resume_queue(name=queue_path())
    run_id = started.headers["X-Run-Id"]
    wait_until("The end of the run", lambda: site.service.show_run(run_id)["state"] != "running", every=0.25)
    run = site.service.show_run(run_id)
    assert (run["state"], run["progress"], run["items_done"], run["attempts"]) == ("completed", 1, 10_000, 200)
    assert changed_users(site) > 0
    assert site.verdict().faults == ()


def test_a_caller_that_prefers_a_representation_gets_what_was_made(site: Site) -> None:
    answer = ask(site, AUDIT_JOB, CRON | {"Prefer": "return=representation"})
    assert answer.status == 200
    made = answer.json()
    assert made["run_id"] == answer.headers["X-Run-Id"]
    assert made["tasks"] == -(-made["items"] // 20) > 0


def test_a_handler_that_raises_is_retried_by_its_queue_and_its_errors_are_shown(site: Site) -> None:
    run_id = ask(site, VENDOR_JOB, CRON).headers["X-Run-Id"]
    wait_until("The end of the run", lambda: site.service.show_run(run_id)["state"] != "running", every=0.05)
    run = site.service.show_run(run_id)
    assert (run["state"], run["attempts"], run["retries"]) == ("completed", 9, 6)
    told = sorted((trouble["batch"], trouble["attempt"], trouble["error"]) for trouble in run["troubles"])
    assert told == [
        (batch, attempt, f"RuntimeError: the vendor is closed at attempt {attempt}")
        for batch in (1, 2, 3)
        for attempt in (1, 2)
    ]
    assert "status=500" in site.log("service")


@pytest.mark.parametrize(
    "path",
    [path for path in yaml.safe_load((ROOT / "openapi.yaml").read_text())["paths"] if path.startswith("/v1/")],
)
def test_an_unguarded_call_is_refused(site: Site, path: str) -> None:
    method = "GET" if path.startswith("/v1/cron/") else "POST"
    before = counts(site)
    answer = ask(site, path, {"Content-Type": "application/json"}, method=method, body=b"[1]")
    assert answer.status == 403
    assert counts(site) == before


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        ({}, b'["a"]', 400, "/0"),
        ({"Content-Type": "text/plain"}, b"[1]", 415, "application/json"),
        ({}, b"[%s1]" % (b"1," * 1_000_000), 413, "larger"),
        ({"X-CloudTasks-QueueName": "auditProjectQueue"}, b"[1]", 403, "does not serve"),
        ({"Authorization": "Bearer x.y.z"}, b"[1]", 401, ""),
    ],
    ids=["wrong item", "wrong type", "too large", "other queue", "bad token"],
)
def test_a_push_that_is_refused_executes_nothing_and_is_found_in_the_log(
    site: Site, task_headers: dict[str, str], headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    before = counts(site)
    answer = ask(site, HANDLER, task_headers | headers, method="POST", body=body)
    told = answer.json()
    assert (answer.status, told["statusCode"]) == (status, status)
    assert words in json.dumps(told)
    assert counts(site) == before
    (line,) = [line for line in site.log("service").splitlines() if told["errorUniqueId"] in line]
    assert f"status={status}" in line


def test_a_push_of_a_task_that_somebody_else_made_is_executed(site: Site, task_headers: dict[str, str]) -> None:
    assert ask(site, HANDLER, task_headers, method="POST", body=b"[1, 2]").status == 204
    assert site.count(batches.c.adopted_from == f"{QUEUE}/somebody-elses", batches.c.state == "done") == 1


def test_a_schedule_fires_by_itself_and_one_firing_is_one_run(site: Site) -> None:
    """Within the minute that its period takes, the stored time of the firing is brought forward."""
    start_again = site.kill_queue_server()
    asyncio.run(_bring_forward(site.data / "queue-server"))
    start_again()

    def fired() -> list[str]:
        statement = select(runs.c.firing_key).where(runs.c.firing_key.is_not(None))
        return site.ask(lambda connection: list(connection.execute(statement).scalars()))

    wait_until("The firing", fired)
    (key,) = fired()
    name, _, scheduled = key.rpartition("@")
    headers = CRON | {"X-CloudScheduler-JobName": name, "X-CloudScheduler-ScheduleTime": scheduled}
    again = [ask(site, VENDOR_JOB, headers).headers["X-Run-Id"] for _ in range(2)]
    run = select(runs.c.id).where(runs.c.firing_key == key)
    assert again == [site.ask(lambda connection: connection.execute(run).scalar_one())] * 2
    assert fired() == [key]


async def _bring_forward(folder: Path) -> None:
    store = SqliteStore(folder)
    await store.open()
    for name, kept in (await store.load_documents(PROGRESS)).items():
        soon = replace(decode_progress(kept), next_at=time.time() + 1.5)
        await store.save_document(PROGRESS, name, encode_progress(soon))
    await store.close()


def test_two_workers_on_one_postgresql_share_a_run_and_one_may_die(tmp_path: Path, postgresql_url: str) -> None:
    retry = "{min_backoff_seconds: 0.1, max_backoff_seconds: 0.5}"
    application = copy_for_faults(tmp_path / "application", batch_size=10, rate=200, retry=retry)
    variables = {"WEB_CONCURRENCY": "2"}
    with run_site(application, users=2_000, database_url=postgresql_url, variables=variables) as site:
        wait_until("Two workers", lambda: len(site.workers()) == 2)
        site.call_job()
        kill(site.freeze_worker(lambda: site.running() > 0 and site.done() >= 20))
        run = site.end()
        assert (run["state"], run["items_done"], run["tasks"]["done"]) == ("completed", 2_000, 200)
        assert site.verdict().faults == ()
