"""Tasks, settings and workers in a real browser (`make test-browser`)."""

import json
import re
import time
from collections.abc import Iterator
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import expect

from tests.browser.stage import DEAD, JOB, Stage, Visit

CAP = "task_inline_max_concurrent"


@pytest.fixture(autouse=True)
def sound(stage: Stage) -> Iterator[None]:
    """After each test the handler works again."""
    yield
    stage.set_fault("")


def workers_of(stage: Stage) -> dict[str, object]:
    """What a program is told of the workers."""
    address = stage.site.address
    request = Request(f"{address.service}/api/v1/workers", headers={"Authorization": f"Bearer {address.admin_token}"})
    with urlopen(request, timeout=10) as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_two_dead_tasks_are_chosen_among_all_and_retried(stage: Stage, visit: Visit) -> None:
    stage.set_fault(DEAD)
    for _ in range(2):
        visit.send(JOB)
        visit.wait_for_state("failed")
    stage.set_fault("")
    visit.page.keyboard.press("g")
    visit.page.keyboard.press("t")
    expect(visit.page.get_by_role("heading", name="Tasks", exact=True)).to_be_visible()
    visit.page.get_by_label("State").select_option("error")
    visit.page.get_by_role("button", name="Show").click()
    visit.page.wait_for_url("**state=error**")
    ticks = visit.page.get_by_role("checkbox", name=re.compile("^task"))
    expect(ticks).to_have_count(2)
    for index in range(2):
        ticks.nth(index).check()
    visit.page.get_by_role("button", name="Retry").click()
    expect(visit.page.get_by_role("heading", name="No tasks like these")).to_be_visible()
    visit.go("/runs")
    expect(visit.page.locator("tbody .state.completed")).to_have_count(2)


def test_ticks_stay_while_the_list_would_be_renewed(visit: Visit) -> None:
    visit.go("/tasks")
    tick = visit.page.get_by_role("checkbox", name=re.compile("^task")).first
    tick.check()
    visit.page.locator("h1").click()
    visit.page.evaluate("document.querySelector('.part').dataset.old = 'yes'")
    visit.page.wait_for_timeout(4_000)
    expect(tick).to_be_checked()
    expect(visit.page.locator(".part[data-old]")).to_have_count(1)


def test_the_concurrency_that_a_person_sets_is_what_programs_are_told(stage: Stage, visit: Visit) -> None:
    visit.go("/workers")
    visit.page.get_by_label("Tasks at once").fill("3")
    visit.page.get_by_role("button", name="Set").click()
    expect(visit.page.locator(".card", has_text="Task Concurrency")).to_contain_text("3")
    deadline = time.monotonic() + 5
    while workers_of(stage)[CAP] != 3:
        assert time.monotonic() < deadline
    visit.go("/settings")
    row = visit.page.locator("tr", has_text=CAP)
    expect(row).to_contain_text("override")
    row.get_by_role("button", name="Clear").click()
    expect(row).to_contain_text("default")
