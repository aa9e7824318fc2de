"""Each page does what a person would do there."""

import re

import orjson
import pytest
from flask.testing import FlaskClient

from headrace.console.views.runs import step_bars, time_left
from headrace.database import Database, audit_rows
from tests.console.conftest import csrf_of
from tests.queue_in_memory import QueueInMemory

CRON = {"X-Appengine-Cron": "true"}


def start(browser: FlaskClient) -> str:
    return browser.get("/v1/cron/synchronizeUserAccess", headers=CRON).headers["X-Run-Id"]


def kill_first(database: Database) -> int:
    """Make the first batch dead, as its queue's last failure would."""
    with database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE headrace_batches SET state = 'dead', cause = 'exhausted', error = 'ValueError: <b>no</b>',"
            " ended_at = 1800000000000 WHERE id = 1"
        )
    return 1


def test_an_empty_console_says_how_to_begin(browser: FlaskClient) -> None:
    assert "Nothing has run yet" in browser.get("/console").text
    assert "No runs yet" in browser.get("/console/runs").text
    assert "No dead letters" in browser.get("/console/dead").text
    assert "Nothing to decide" in browser.get("/console/decisions").text


def test_a_run_is_listed_found_and_shown_with_its_steps_and_tasks(browser: FlaskClient) -> None:
    run_id = start(browser)
    assert run_id in browser.get("/console/runs").text
    assert run_id in browser.get("/console/runs?state=running").text
    assert run_id not in browser.get("/console/runs?state=failed").text
    page = browser.get(f"/console/runs/{run_id}").text
    assert "handlers.access.synchronize_user_access" in page
    assert page.count('class="cell') == 3
    assert browser.get("/console/runs/none").status_code == 404


def test_a_run_under_way_tells_how_long_it_will_take(browser: FlaskClient, database: Database) -> None:
    run_id = start(browser)
    assert " left" not in browser.get("/console/runs").text
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE headrace_steps SET done = 1")
    assert re.search(r"about [\d.]+ m?s left", browser.get("/console/runs").text)
    assert re.search(r"[\d.]+ m?s left", browser.get(f"/console/runs/{run_id}").text)


def test_a_run_is_cancelled_from_its_page_and_the_audit_says_so(browser: FlaskClient, database: Database) -> None:
    run_id = start(browser)
    answer = browser.post(f"/console/runs/{run_id}/cancel", data={"csrf": csrf_of(browser)})
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/console/runs/{run_id}")
    assert ">cancelled<" in browser.get(f"/console/runs/{run_id}").text
    with database.read() as connection:
        (row, *_) = audit_rows.list_audit(connection, limit=5)
    assert run_id in row.object
    again = browser.post(f"/console/runs/{run_id}/cancel", data={"csrf": csrf_of(browser)})
    assert (again.status_code, "Not done" in again.text) == (409, True)


def test_a_dead_task_is_read_edited_and_retried(browser: FlaskClient, database: Database, tasks: QueueInMemory) -> None:
    start(browser)
    batch_id = kill_first(database)
    listed = browser.get("/console/dead").text
    assert f"/console/tasks/{batch_id}" in listed
    assert "&lt;b&gt;no&lt;/b&gt;" in listed, "what a handler raised is text"
    assert "exhausted" in browser.get(f"/console/tasks/{batch_id}").text
    form = {"csrf": csrf_of(browser)}
    broken = browser.post(f"/console/tasks/{batch_id}/edit", data={**form, "payload": '["a"]'})
    assert (broken.status_code, "/0" in broken.text) == (400, True)
    edited = browser.post(f"/console/tasks/{batch_id}/edit", data={**form, "payload": "[7]"})
    assert edited.status_code == 303
    pushed = [push for push in tasks.tasks.values() if push.name.endswith(f"-{batch_id}-2")]
    assert [orjson.loads(push.body) for push in pushed] == [[7]]


def test_a_schedule_is_paused_resumed_edited_and_sent(browser: FlaskClient) -> None:
    form = {"csrf": csrf_of(browser), "url": "/v1/cron/synchronizeUserAccess"}
    assert browser.post("/console/schedules/pause", data=form).status_code == 303
    assert ">paused<" in browser.get("/console/schedules").text
    assert browser.post("/console/schedules/resume", data=form).status_code == 303
    assert browser.post("/console/schedules/edit", data={**form, "schedule": "every nonsense"}).status_code == 400
    assert browser.post("/console/schedules/edit", data={**form, "schedule": "every day 05:00"}).status_code == 303
    page = browser.get("/console/schedules").text
    assert "every day 05:00" in page
    sent = browser.post("/console/schedules/send", data=form)
    assert sent.headers["Location"].startswith("/console/runs/")


@pytest.mark.parametrize(("ended", "wanted"), [(None, [(0.0, 0.5), (0.5, 0.5)]), ("1970-01-01T00:00:50Z", None)])
def test_bars_of_steps_lie_where_their_time_was(ended: str | None, wanted: list[tuple[float, float]] | None) -> None:
    steps = [
        {"started_at": "1970-01-01T00:00:00Z", "ended_at": "1970-01-01T00:00:50Z"},
        {"started_at": "1970-01-01T00:00:50Z", "ended_at": ended},
    ]
    run = {"started_at": "1970-01-01T00:00:00Z", "ended_at": None if ended is None else "1970-01-01T00:01:40Z"}
    bars = step_bars({**run, "steps": steps}, now=100.0)
    assert [(bar["left"], bar["width"]) for bar in bars] == (wanted or [(0.0, 0.5), (0.5, 0.005)])


def test_time_left_is_told_by_the_pace_so_far() -> None:
    run = {"started_at": "1970-01-01T00:00:00Z", "ended_at": None, "progress": 0.25}
    assert time_left(run, 50.0) == pytest.approx(150.0)
    assert time_left({**run, "progress": 0.0}, 50.0) is None
