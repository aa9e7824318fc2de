"""The stage: the reference application, whose handler can be told to fail, and a browser that is logged in."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from headrace.console.service import PAGES as SERVICE_PAGES
from tests.e2e.site import Site, copy_application, run_site
from tools import chromium

JOB = "/v1/cron/synchronizeUserAccess"
SLOW_JOB = "/v1/cron/auditProjectAccess"
PAGES = tuple(page.path for page in SERVICE_PAGES)
DEAD = "dead"
DOUBT = "doubt"
WIDE = (1280, 800)
NARROW = (375, 700)
PATIENCE = 30_000
"""Milliseconds that a page may take to show what has to come."""

_HANDLER = '''"""The application's handler, which fails as the file `fault` beside openapi.yaml says."""

from pathlib import Path

from governance.synchronization import synchronize
from headrace import Batch, PermanentFailure

FAULT = Path(__file__).parents[1] / "fault"


def synchronize_user_access(batch: Batch) -> None:
    fault = FAULT.read_text() if FAULT.exists() else ""
    if fault == "dead" and 1 in batch.items:
        raise PermanentFailure("User 1 is under review: her tiers must not change.")
    if fault == "doubt" and 51 in batch.items:
        batch.once("letter to user 51", send)
    with batch.transaction(completes=True) as connection:
        synchronize(connection, batch.items, at=batch.now)


def send(key: str) -> None:
    raise ConnectionError("The mail server was cut off after the letter was sent.")
'''
_QUEUE = re.compile(r"(name: synchronizeAccessQueue\n  rate: )1/s\n  bucket_size: 500")


@dataclass
class Stage:
    """A running site, the folder of its application, and a browser."""

    site: Site
    application: Path
    browser: Browser

    @property
    def console(self) -> str:
        """The URL of the console."""
        return f"{self.site.address.service}/console"

    def set_fault(self, fault: str) -> None:
        """Have the handler fail from now on; with an empty word it works."""
        (self.application / "fault").write_text(fault)

    @contextmanager
    def visit(self, *, size: tuple[int, int] = WIDE, dark: bool = False, token: str | None = None) -> Iterator["Visit"]:
        """A person who is logged in, by the root's token where no other is given, with a window of that size."""
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE)
        visit = Visit(self, context.new_page())
        try:
            visit.log_in(token or self.site.address.admin_token or "")
            yield visit
        finally:
            context.close()


@dataclass
class Visit:
    """One person's window, and what went wrong in it."""

    stage: Stage
    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        # A policy that is broken is an error on the browser's console, too.
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def log_in(self, token: str) -> None:
        """Open the console and give the token."""
        self.page.goto(self.stage.console)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Overview").wait_for()

    def go(self, path: str) -> None:
        """Open a page of the console."""
        self.page.goto(self.stage.console + path)

    def send(self, job: str) -> str:
        """Start a job on the page of schedules; the id of its run."""
        self.go("/schedules")
        self.page.locator("tr", has_text=job).get_by_role("button", name="Run now").click()
        self.page.wait_for_url("**/console/runs/*")
        return self.page.url.rpartition("/")[2]

    def judge(self, library: str, question: str) -> list[str]:
        """What a library of scripts finds in the page. It is run beside the page's policy, as a debugger is."""
        self.page.evaluate(library)
        found: list[str] = self.page.evaluate(question)
        return found

    def wait_for_state(self, word: str) -> None:
        """Until the page of a run or task says that this is its state, by its own live update."""
        self.page.locator(".title .state", has_text=re.compile(f"^{word}$")).wait_for()


@contextmanager
def open_stage(folder: Path, *, users: int, rate: str) -> Iterator[Stage]:
    """The site with so many users and the browser; `rate` is that of the queue of the main job."""
    application = copy_application(folder / "application")
    (application / "handlers" / "access.py").write_text(_HANDLER)
    queues, changed = _QUEUE.subn(rf"\g<1>{rate}\n  bucket_size: 5", (application / "queue.yaml").read_text())
    if not changed:
        raise ValueError("queue.yaml has another synchronizeAccessQueue.")
    (application / "queue.yaml").write_text(queues)
    with run_site(application, users=users) as running, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        try:
            yield Stage(running, application, browser)
        finally:
            browser.close()
