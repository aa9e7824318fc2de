"""The pages of queues, and of one task, over a real queue in the test's own process."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from headrace.clock import ManualClock
from headrace.config.settings import load_settings
from headrace.console.timelines import join_attempts
from headrace.database import Database
from headrace.database.tables import batches
from headrace.drivers.inline import InlineDriver
from headrace.operators.queues import PURGE_TIME
from headrace.service import create_app
from headrace.service.assembly import assemble
from headrace.service.current import service_of
from tests.console.conftest import ROOT, csrf_of

QUEUE = "synchronizeAccessQueue"
CRON = {"X-Appengine-Cron": "true"}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_800_000_000.0)


@pytest.fixture
def queue(tmp_path: Path, database: Database, clock: ManualClock) -> Iterator[tuple[FlaskClient, InlineDriver]]:
    """A browser that is logged in, and the queue of its service."""
    variables = {
        "HEADRACE_DATABASE_URL": f"sqlite:///{tmp_path / 'application.db'}",
        "HEADRACE_DATA": str(tmp_path / "data"),
        "HEADRACE_ADMIN_TOKEN": "secret",
        "HEADRACE_DRIVER": "inline",
    }
    settings = load_settings(variables, folder=ROOT)
    app = create_app(settings=settings, clock=clock, assemble=partial(assemble, database=database))
    inline = service_of(app).queue
    assert isinstance(inline, InlineDriver)
    inline.start(app)
    browser = app.test_client()
    assert browser.post("/console/login", data={"token": "secret"}).status_code == 303
    yield browser, inline
    inline.close()


def post(browser: FlaskClient, path: str, **form: str) -> int:
    return browser.post(f"/console{path}", data={"csrf": csrf_of(browser), **form}).status_code


def test_queues_are_listed_though_they_cannot_be_asked(browser: FlaskClient) -> None:
    page = browser.get("/console/queues").text
    assert QUEUE in page
    assert ">unknown<" in page
    assert "This queue cannot be asked now" in browser.get(f"/console/queues/{QUEUE}").text
    assert post(browser, f"/queues/{QUEUE}/pause") == 503
    assert browser.get(f"/console/queues/{QUEUE}/limits").status_code == 503
    assert browser.get("/console/queues/none").status_code == 404


def test_a_queue_is_paused_its_task_run_and_the_rest_purged(
    queue: tuple[FlaskClient, InlineDriver], database: Database
) -> None:
    browser, inline = queue
    assert post(browser, f"/queues/{QUEUE}/pause") == 303
    run_id = browser.get("/v1/cron/synchronizeUserAccess", headers=CRON).headers["X-Run-Id"]
    page = browser.get(f"/console/queues/{QUEUE}").text
    assert ">paused<" in page
    assert "This drops the 3 tasks that it holds now" in page
    with database.read() as connection:
        batch_id = connection.execute(select(batches.c.id).order_by(batches.c.id).limit(1)).scalar_one()
    task = browser.get(f"/console/tasks/{batch_id}").text
    assert "The queue says: queue paused." in task
    assert "application/json" in task
    assert "Bearer" not in task
    name = browser.get(f"/api/v1/queues/{QUEUE}", headers={"Authorization": "Bearer secret"}).json["tasks"][0]["task"]  # type: ignore[index]
    led = browser.get(f"/console/queues/{QUEUE}/tasks/{name}")
    assert (led.status_code, led.headers["Location"]) == (303, f"/console/tasks/{batch_id}")
    assert browser.get(f"/console/queues/{QUEUE}/tasks/foreign").status_code == 404
    assert post(browser, f"/tasks/{batch_id}/run") == 303
    inline.settle()
    with database.read() as connection:
        second = connection.execute(select(batches.c.id).where(batches.c.state == "pushed").limit(1)).scalar_one()
    assert second != batch_id
    assert post(browser, f"/queues/{QUEUE}/purge") == 303
    assert ">completed<" in browser.get(f"/console/runs/{run_id}").text


def test_deliveries_and_attempts_stand_in_one_line(queue: tuple[FlaskClient, InlineDriver], database: Database) -> None:
    browser, inline = queue
    browser.get("/v1/cron/synchronizeUserAccess", headers=CRON)
    inline.settle()
    with database.read() as connection:
        batch_id = connection.execute(select(batches.c.id).order_by(batches.c.id).limit(1)).scalar_one()
    page = browser.get(f"/console/tasks/{batch_id}").text
    assert page.index("Delivery 1") < page.index("Attempt 1")
    assert "done, 204" in page


def test_limits_are_edited_and_given_back(queue: tuple[FlaskClient, InlineDriver]) -> None:
    browser, _ = queue
    form = browser.get(f"/console/queues/{QUEUE}/limits").text
    assert 'name="rate_per_second" type="number"' in form
    limits = {"rate_per_second": "2.5", "bucket_size": "500", "max_concurrent_requests": "1000", "max_attempts": "4"}
    limits |= {"max_duration": "300", "min_backoff": "0.1", "max_backoff": "3600", "max_doublings": "16"}
    assert post(browser, f"/queues/{QUEUE}/limits", **limits) == 303
    page = browser.get(f"/console/queues/{QUEUE}").text
    assert "2.5/s, burst 500" in page
    assert "the file says" in page
    assert post(browser, f"/queues/{QUEUE}/limits", **{**limits, "rate_per_second": "501"}) == 400
    assert post(browser, f"/queues/{QUEUE}/limits/give-back") == 303
    assert "the file says" not in browser.get(f"/console/queues/{QUEUE}").text


def test_each_attempt_stands_with_the_delivery_during_which_it_began() -> None:
    def delivery(number: int, second: int, lasting: float) -> dict[str, object]:
        return {"number": number, "started_at": f"2027-01-15T08:00:{second:02}.000Z", "seconds": lasting}

    def attempt(number: int, at: str) -> dict[str, object]:
        return {"number": number, "started_at": f"2027-01-15T08:00:{at}Z"}

    moments = join_attempts(
        [attempt(1, "00.010"), attempt(2, "10.005"), attempt(3, "40.000")],
        [delivery(3, 20, 1.0), delivery(2, 10, 1.0), delivery(1, 0, 2.0)],
    )
    shown = [
        (moment.delivery and moment.delivery["number"], [each["number"] for each in moment.attempts])
        for moment in moments
    ]
    assert shown == [(None, [3]), (3, []), (2, [2]), (1, [1])]


def test_a_purge_that_needs_more_than_its_time_says_so_and_goes_on(
    queue: tuple[FlaskClient, InlineDriver], database: Database, clock: ManualClock
) -> None:
    browser, _ = queue
    assert post(browser, f"/queues/{QUEUE}/pause") == 303
    run_id = browser.get("/v1/cron/synchronizeUserAccess", headers=CRON).headers["X-Run-Id"]
    database.observer = lambda facts: clock.advance(PURGE_TIME)
    led = browser.post(f"/console/queues/{QUEUE}/purge", data={"csrf": csrf_of(browser)})
    assert led.headers["Location"] == f"/console/queues/{QUEUE}/purge"
    assert "Purge the rest" in browser.get(led.headers["Location"]).text
    database.observer = None
    assert post(browser, f"/queues/{QUEUE}/purge") == 303
    assert ">completed<" in browser.get(f"/console/runs/{run_id}").text
