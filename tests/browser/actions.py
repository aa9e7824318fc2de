"""What a person does on the console, in a real browser (`make test-browser`)."""

import json
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.stage import DEAD, DOUBT, JOB, SLOW_JOB, Stage, Visit

MARK = "window.stillThere = true"
IS_MARKED = "window.stillThere === true"


@pytest.fixture(autouse=True)
def sound(stage: Stage) -> Iterator[None]:
    """After each test the handler works again."""
    yield
    stage.set_fault("")


def confirm(page: Page) -> None:
    page.once("dialog", lambda dialog: dialog.accept())


def wait_for_a_live_update(page: Page) -> None:
    page.evaluate("document.querySelector('.part').dataset.old = 'yes'")
    page.locator(".part:not([data-old])").wait_for()


def test_a_job_is_started_and_its_run_seen_to_complete_without_a_reload(visit: Visit) -> None:
    visit.send(JOB)
    visit.page.evaluate(MARK)
    expect(visit.page.locator(".title .state")).to_have_text("running")
    visit.wait_for_state("completed")
    expect(visit.page.locator(".card", has_text="Items done")).to_contain_text("2,000")
    assert visit.page.evaluate(IS_MARKED)


def test_a_run_is_cancelled(visit: Visit) -> None:
    visit.send(SLOW_JOB)
    visit.wait_for_state("running")
    confirm(visit.page)
    visit.page.get_by_role("button", name="Cancel the run").click()
    visit.wait_for_state("cancelled")
    expect(visit.page.get_by_role("button", name="Cancel the run")).to_have_count(0)


def test_a_dead_letter_is_edited_and_retried(stage: Stage, visit: Visit) -> None:
    stage.set_fault(DEAD)
    visit.send(JOB)
    visit.wait_for_state("failed")
    visit.go("/dead")
    visit.page.get_by_role("link", name=re.compile("^task")).first.click()
    expect(visit.page.locator(".problem")).to_contain_text("User 1 is under review")
    visit.page.get_by_role("link", name="Edit and retry").click()
    payload = visit.page.get_by_label("Payload, as JSON")
    items = json.loads(payload.input_value())
    payload.fill(json.dumps([each for each in items if each != 1]))
    visit.page.get_by_role("button", name="Retry with this payload").click()
    visit.wait_for_state("done")
    visit.go("/dead")
    expect(visit.page.get_by_role("heading", name="No dead letters")).to_be_visible()


def test_a_decision_is_made(stage: Stage, visit: Visit) -> None:
    stage.set_fault(DOUBT)
    visit.send(JOB)
    visit.page.locator(".cell.undecided").wait_for()
    visit.go("/decisions")
    expect(visit.page.get_by_role("article")).to_contain_text("letter to user 51")
    confirm(visit.page)
    visit.page.get_by_role("button", name="Resume: it has happened").click()
    expect(visit.page.get_by_role("heading", name="Nothing to decide")).to_be_visible()
    visit.go("/runs")
    visit.page.locator("tbody a").first.click()
    visit.wait_for_state("completed")


def test_a_schedule_is_paused_and_resumed(visit: Visit) -> None:
    visit.go("/schedules")
    row = visit.page.locator("tr", has_text=SLOW_JOB)
    row.get_by_role("button", name="Pause").click()
    expect(row.locator(".state").first).to_have_text("paused")
    row.get_by_role("button", name="Resume").click()
    expect(row.locator(".state").first).to_have_text("active")


def test_a_token_is_issued_and_opens_what_it_is_for_until_it_is_revoked(stage: Stage, visit: Visit) -> None:
    visit.go("/tokens")
    visit.page.get_by_label("Name").fill("ada")
    visit.page.get_by_label("send_schedule").check()
    visit.page.get_by_role("button", name="Issue").click()
    token = visit.page.get_by_label("The token").inner_text()
    with stage.visit(token=token) as ada:
        expect(ada.page.get_by_role("link", name="Tokens")).to_have_count(0)
        ada.go("/schedules")
        row = ada.page.locator("tr", has_text=SLOW_JOB)
        expect(row.get_by_role("button", name="Run now")).to_be_enabled()
        pause = row.get_by_role("button", name="Pause")
        expect(pause).to_be_disabled()
        expect(pause).to_have_attribute("title", "Needs the permission pause")
        visit.go("/tokens")
        confirm(visit.page)
        visit.page.locator("tr", has_text="ada").get_by_role("button", name="Revoke").click()
        expect(visit.page.locator("tr", has_text="ada").locator(".state")).to_have_text("revoked")
        # The page of who is logged in renews itself, and learns that the log-in is over.
        ada.page.wait_for_url("**/console/login")
    visit.go("/audit?action=revoke_token")
    expect(visit.page.locator("tbody tr").first).to_contain_text("ada: read send_schedule")


def test_keys_lead_to_pages_and_rows_and_switch_what_is_shown(visit: Visit) -> None:
    page = visit.page
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    for key, title in (("s", "Schedules"), ("e", "Decisions"), ("d", "Dead letters"), ("r", "Runs")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    rows = page.locator("tbody tr a:first-of-type")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(rows.nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(rows.first).to_be_focused()
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.keyboard.press("t")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    page.keyboard.press("p")
    expect(page.get_by_role("status")).to_have_text("held")
    page.keyboard.press("p")
    expect(page.get_by_role("status")).to_have_text("live")
    page.keyboard.press("Enter")
    page.wait_for_url("**/console/runs/*")


def test_a_live_update_keeps_the_focus_and_what_is_unfolded(visit: Visit) -> None:
    visit.go("/schedules")
    row = visit.page.locator("tr", has_text=SLOW_JOB)
    row.locator("summary").click()
    row.get_by_role("button", name="Run now").focus()
    wait_for_a_live_update(visit.page)
    expect(row.get_by_role("button", name="Run now")).to_be_focused()
    expect(row.locator("details")).to_have_attribute("open", "")
