"""What a person does with queues on the console, in a real browser (`make test-browser`)."""

import re

from playwright.sync_api import Dialog, expect

from tests.browser.stage import JOB, Visit

QUEUE = "synchronizeAccessQueue"


def test_a_queue_is_paused_one_of_its_tasks_run_its_rate_edited_and_the_rest_purged(visit: Visit) -> None:
    page = visit.page
    visit.go("/queues")
    row = page.locator("tr", has_text=QUEUE)
    expect(row.locator(".state")).to_have_text("running")
    row.get_by_role("button", name="Pause").click()
    visit.wait_for_state("paused")

    run_id = visit.send(JOB)
    page.locator(".cell.pushed").first.click()
    expect(page.get_by_text("The queue says: queue paused.")).to_be_visible()
    expect(page.get_by_text("None yet.")).to_be_visible()
    page.get_by_role("button", name="Run now").click()
    visit.wait_for_state("done")
    expect(page.get_by_text("Delivery 1")).to_be_visible()
    expect(page.get_by_text("Attempt 1")).to_be_visible()
    page.get_by_role("link", name=QUEUE).click()

    expect(page.locator(".card", has_text="Waiting")).to_contain_text("39")
    page.get_by_role("link", name="Edit limits").click()
    page.get_by_label(re.compile("^Pushes a second")).fill("2.5")
    page.get_by_role("button", name="Set").click()
    expect(page.get_by_text("2.5/s, burst 5")).to_be_visible()
    expect(page.get_by_text("the file says 8/s")).to_be_visible()

    asked: list[str] = []

    def accept(dialog: Dialog) -> None:
        asked.append(dialog.message)
        dialog.accept()

    page.once("dialog", accept)
    page.get_by_role("button", name="Purge").click()
    expect(page.locator(".card", has_text="Waiting")).to_contain_text(re.compile(r"Waiting\s*0"))
    assert "This drops the 39 tasks that it holds now" in asked[0]
    page.get_by_role("button", name="Give back to the file").click()
    expect(page.get_by_text("8/s, burst 5")).to_be_visible()
    page.get_by_role("button", name="Resume").click()
    visit.wait_for_state("running")
    visit.go(f"/runs/{run_id}")
    visit.wait_for_state("completed")


def test_the_key_q_leads_to_the_queues(visit: Visit) -> None:
    visit.page.keyboard.press("g")
    visit.page.keyboard.press("q")
    expect(visit.page.get_by_role("heading", name="Queues", exact=True)).to_be_visible()
