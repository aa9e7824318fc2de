"""A real run, with gunicorn's processes and a queue server: metrics, logs and trace context from end to end."""

import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from headrace.database.tables import steps
from tests.e2e.site import JOB, OPERATION, Site, copy_for_faults, run_site, wait_until
from tests.observability.conftest import samples_in

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HANDLER = "handlers.access.synchronize_user_access"
QUEUE = "synchronizeAccessQueue"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two workers, after a run of six batches whose request had a trace context."""
    application = copy_for_faults(tmp_path_factory.mktemp("site") / "application")
    with run_site(application, users=300, variables={"WEB_CONCURRENCY": "2", "NO_COLOR": "1"}) as site:
        request = urllib.request.Request(f"{site.address.service}{JOB}")
        request.add_header("X-Appengine-Cron", "true")
        request.add_header("traceparent", f"00-{TRACE}-00f067aa0ba902b7-01")
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 204
        assert site.end()["state"] == "completed"
        yield site


def test_the_processes_together_count_what_the_database_has(site: Site) -> None:
    with site.database.read() as connection:
        step = connection.execute(select(steps).where(steps.c.handler == HANDLER)).one()
    assert step.batches == 6

    with urllib.request.urlopen(f"{site.address.service}/metrics") as answer:
        seen = samples_in(answer.read().decode())

    own = (HANDLER, QUEUE)
    assert seen["headrace_batches_ended_total", (*own, "done")] == step.done == 6
    assert seen["headrace_attempts_total", (HANDLER, "done", QUEUE)] == step.attempts
    assert seen["headrace_items_total", (HANDLER, "done", QUEUE)] == step.items_done == 300
    assert seen["headrace_pushes_total", (HANDLER, "pushed", QUEUE)] == step.batches
    assert seen["headrace_attempt_seconds_count", own] == step.attempts
    assert seen["headrace_runs_ended_total", (OPERATION, "completed")] == 1
    assert seen["headrace_workers", ()] == 2
    assert seen["headrace_batches", (*own, "pushed")] == 0


def test_work_goes_on(site: Site) -> None:
    assert site.service.get("/healthz/progress") == {"status": "moving", "reason": None}


def test_one_search_for_the_run_finds_its_job_and_every_delivery_with_one_trace(site: Site) -> None:
    run_id = site.run_id()

    def found() -> list[str]:
        lines = (line for line in site.log("service").splitlines() if run_id in line)
        return [re.sub(r"\x1b\[[\d;]*m", "", line) for line in lines if "status=" in line]

    wait_until("A line of each request of the run", lambda: len(found()) >= 7)
    lines = found()

    assert sum(f"job={OPERATION}" in line for line in lines) == 1
    assert sum(f"handler={HANDLER}" in line and "attempt=1" in line for line in lines) == 6
    assert all(TRACE in line for line in lines)
    assert Path(site.data / "metrics").is_dir()
