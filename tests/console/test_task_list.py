"""The pages of tasks, settings and workers do what a person would do there."""

import re

import pytest
from flask.testing import FlaskClient

from headrace.console.views.task_list import address_of, filters_of
from headrace.database import Database
from headrace.database.states import DisplayState
from tests.console.conftest import csrf_of
from tests.console.test_pages import kill_first, start

CAP = "task_inline_max_concurrent"


def test_tasks_are_listed_narrowed_and_told_apart(browser: FlaskClient, database: Database) -> None:
    assert "No tasks yet" in browser.get("/console/tasks").text
    run_id = start(browser)
    kill_first(database)
    page = browser.get("/console/tasks").text
    assert page.count('name="batch_id"') == 3
    failed = browser.get("/console/tasks?state=error&hide_successful=yes").text
    assert re.findall(r'name="batch_id" value="(\d+)"', failed) == ["1"]
    assert "No tasks like these" in browser.get("/console/tasks?state=running").text
    assert f'/console/tasks?run_id={run_id}"' in browser.get(f"/console/runs/{run_id}").text
    assert browser.get(f"/console/tasks?run_id={run_id}").text.count('name="batch_id"') == 3
    assert browser.get("/console/tasks?before=x&state=y&standalone=z").text.count('name="batch_id"') == 3


def test_chosen_tasks_are_retried_cancelled_and_discarded(browser: FlaskClient, database: Database) -> None:
    start(browser)
    kill_first(database)
    form = {"csrf": csrf_of(browser), "back": "state=error&next=//elsewhere"}
    answer = browser.post("/console/tasks/retry", data={**form, "batch_id": ["1"]})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/console/tasks?state=error")
    partly = browser.post("/console/tasks/discard", data={**form, "batch_id": ["1", "2"]})
    assert (partly.status_code, "0 given up; 2 refused" in partly.text) == (409, True)
    none = browser.post("/console/tasks/cancel", data=form)
    assert (none.status_code, "No task is chosen" in none.text) == (400, True)
    assert browser.post("/console/tasks/cancel", data={**form, "batch_id": ["1", "2", "3"]}).status_code == 303
    assert browser.get("/console/tasks?state=cancelled").text.count('name="batch_id"') == 3


def test_one_task_that_waits_is_cancelled_on_its_page(browser: FlaskClient) -> None:
    start(browser)
    assert "/console/tasks/1/cancel" in browser.get("/console/tasks/1").text
    assert browser.post("/console/tasks/1/cancel", data={"csrf": csrf_of(browser)}).status_code == 303
    assert "/console/tasks/1/cancel" not in browser.get("/console/tasks/1").text


def test_a_run_leads_to_what_else_is_about_its_object(browser: FlaskClient) -> None:
    answer = browser.get("/v1/cron/synchronizeDirectory?source=corporate", headers={"X-Appengine-Cron": "true"})
    run_id = answer.headers["X-Run-Id"]
    assert '/console/tasks?object=source/corporate"' in browser.get(f"/console/runs/{run_id}").text
    assert run_id in browser.get("/console/runs?object=source/corporate").text
    assert run_id not in browser.get("/console/runs?object=source/other").text
    assert '/console/runs?object=source/corporate"' in browser.get("/console/tasks?object=source/corporate").text


def test_settings_are_shown_set_and_cleared(browser: FlaskClient) -> None:
    page = browser.get("/console/settings").text
    assert CAP in page
    assert "batch_size.handlers.access.synchronize_user_access" in page
    form = {"csrf": csrf_of(browser), "key": CAP}
    wrong = browser.post("/console/settings", data={**form, "value": "ten"})
    assert (wrong.status_code, "a whole number from 0 to 10,000" in wrong.text) == (400, True)
    assert browser.post("/console/settings", data={**form, "value": "7"}).status_code == 303
    assert ">7<" in browser.get("/console/settings").text
    assert browser.post("/console/settings/clear", data=form).status_code == 303
    assert "override" not in browser.get("/console/settings").text


def test_the_page_of_workers_shows_five_cards_and_sets_the_concurrency(browser: FlaskClient) -> None:
    page = browser.get("/console/workers").text
    for title in (
        "Login Worker Mode",
        "Login Worker Concurrency",
        "Proxy Mode",
        "Backend Version",
        "Task Concurrency",
    ):
        assert f"<h2>{title}</h2>" in page
    assert "no agents that could connect" in page
    assert browser.post("/console/workers", data={"csrf": csrf_of(browser), "value": "2"}).status_code == 303
    assert browser.get("/api/v1/workers", headers={"Authorization": "Bearer secret"}).json[CAP] == 2


@pytest.mark.parametrize(("word", "wanted"), [("error", DisplayState.ERROR), ("odd", None), ("", None)])
def test_what_an_address_says_wrong_counts_as_not_said(word: str, wanted: DisplayState | None) -> None:
    names = ("q", "state", "handler", "queue", "run_id", "object", "standalone", "hide_successful", "before")
    given = {**dict.fromkeys(names, ""), "state": word, "before": "9" * 30}
    filters = filters_of(given)
    assert (filters.state, filters.before) == (wanted, 2**63 - 1)
    assert address_of({"state": "error", "csrf": "x"}) == "/tasks?state=error"
