"""Pictures of the console for the docs: `python -m tools.screenshots` writes PNGs into docs/images.

Runs the reference application until it has something to show: a run under way, one that failed with a dead letter,
a decision that waits.
"""

import tempfile
from pathlib import Path

from playwright.sync_api import Page

from headrace.console.service import PAGES
from headrace.local.service import ServiceClient
from tests.browser.stage import DEAD, DOUBT, JOB, NARROW, SLOW_JOB, Stage, Visit, open_stage

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
USERS = 4_000
RATE = "8/s"
SLOW_QUEUE = "auditProjectQueue"
SWEEP = "/v1/cron/headrace/sweep"


def main() -> None:
    """Take them all."""
    IMAGES.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="headrace-screenshots-") as folder,
        open_stage(Path(folder), users=USERS, rate=RATE) as stage,
    ):
        take_all(stage)
    for path in sorted(IMAGES.glob("*.png")):
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def take_all(stage: Stage) -> None:
    """Set the scene, and take each page."""
    with stage.visit() as visit:
        failed, doubtful = set_scene(stage, visit)
        for page in PAGES:
            visit.go(page.path)
            take(visit.page, page.path.lstrip("/") or "overview")
        visit.go("/queues/synchronizeAccessQueue")
        take(visit.page, "queue")
        visit.go(f"/runs/{failed}")
        take(visit.page, "run")
        visit.page.locator(".cell.dead").first.click()
        visit.page.get_by_role("heading", name="Attempts").wait_for()
        take(visit.page, "task")
    with stage.visit(dark=True) as visit:
        visit.go(f"/runs/{doubtful}")
        take(visit.page, "run-dark")
    with stage.visit(size=NARROW) as visit:
        visit.go(f"/runs/{doubtful}")
        take(visit.page, "run-narrow")
    take_queue_server(stage)


def take_queue_server(stage: Stage) -> None:
    """The queue server's own console: its queues, and one of their tasks, which waits."""
    console = f"{stage.site.address.queue_server_rest}/console"
    with stage.visit() as visit:
        visit.send(SLOW_JOB)
        page = visit.page
        page.goto(f"{console}/queues")
        page.locator("tr", has_text=SLOW_QUEUE).get_by_role("button", name="Pause").click()
        page.get_by_text("This queue is paused").wait_for()
        page.get_by_role("link", name="Queues").click()
        page.locator("tr", has_text=SLOW_QUEUE).locator(".paused").wait_for()
        take(page, "server-queues")
        for name in ("schedules", "audit"):
            page.get_by_role("link", name=name.capitalize(), exact=True).click()
            page.get_by_role("heading", name=name.capitalize(), exact=True).wait_for()
            take(page, f"server-{name}")
        page.get_by_role("link", name="Queues", exact=True).click()
        page.get_by_role("link", name=SLOW_QUEUE).click()
        page.get_by_role("heading", name=SLOW_QUEUE).wait_for()
        take(page, "server-queue")
        page.locator(".task-name").first.click()
        page.get_by_text("Why it is not running").wait_for()
        take(page, "server-task")


def set_scene(stage: Stage, visit: Visit) -> tuple[str, str]:
    """The ids of a run that failed and of one with a decision that waits; a slow one is under way beside them."""
    visit.send(JOB)
    visit.wait_for_state("completed")
    stage.set_fault(DEAD)
    failed = visit.send(JOB)
    visit.wait_for_state("failed")
    stage.set_fault(DOUBT)
    doubtful = visit.send(JOB)
    visit.page.locator(".cell.undecided").first.wait_for()
    stage.set_fault("")
    visit.send(SLOW_JOB)
    # Alerts are found by the sweep, which a schedule calls each minute.
    ServiceClient(stage.site.address).call_cron(SWEEP)
    return failed, doubtful


def take(page: Page, name: str) -> None:
    """The window as it is, once its chart stands."""
    page.wait_for_load_state("load")
    page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
