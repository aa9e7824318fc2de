"""The console of a queue server alone, in a real browser (`make test-browser`)."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from headrace.console.queue_server import PAGES
from tests.browser.actions import confirm, wait_for_a_live_update
from tests.browser.pages import AXE, JUDGE
from tests.browser.stage import NARROW, PATIENCE, WIDE
from tests.cloud.conftest import LOCATION, Push, Server, Target, serving_target, start_server, stop_server
from tools import chromium

QUEUES = "queue:\n- name: mail\n  rate: 5/s\n- name: flaky\n  rate: 5/s\n  retry_parameters: {task_retry_limit: 0}\n"
CRON = "cron:\n- url: /nightly\n  schedule: every day 06:00\n"
MAIL = f"{LOCATION}/queues/mail"


@dataclass
class Stage:
    """A queue server, what its tasks go to, and a browser."""

    server: Server
    sink: Target
    browser: Browser

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self.server.rest + path, data, method=method)) as answer:
            return json.load(answer)

    def put_task(self, queue: str, name: str) -> None:
        task = {"name": f"{queue}/tasks/{name}", "httpRequest": {"url": f"{self.sink.url}/{name}", "body": "WzEsIDJd"}}
        self.call("POST", f"/v2/{queue}/tasks", {"task": task})

    @contextmanager
    def visit(self, *, size: tuple[int, int] = WIDE, dark: bool = False) -> Iterator["Visit"]:
        context = self.browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if dark else "light"
        )
        context.set_default_timeout(PATIENCE)
        try:
            yield Visit(f"{self.server.rest}/console", context.new_page())
        finally:
            context.close()


@dataclass
class Visit:
    """One window, and what went wrong in it."""

    console: str
    page: Page
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self.faults.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def go(self, path: str) -> None:
        self.page.goto(self.console + path)


@pytest.fixture(scope="module")
def queue_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    if chromium.find() is None:
        pytest.skip("there is no Chromium on this machine")
    folder = tmp_path_factory.mktemp("queue-server")
    (folder / "queue.yaml").write_text(QUEUES)
    (folder / "cron.yaml").write_text(CRON)
    with serving_target() as sink, sync_playwright() as playwright:
        sink.answer = answer
        files = ("--queues", str(folder / "queue.yaml"), "--cron", str(folder / "cron.yaml"))
        server = start_server("--memory", "--service-url", sink.url, *files)
        browser = playwright.chromium.launch(executable_path=chromium.find(), args=["--no-sandbox"])
        try:
            yield Stage(server, sink, browser)
        finally:
            browser.close()
            stop_server(server)


def answer(push: Push) -> int:
    """What the target says: a task that is named so fails."""
    return 503 if push.path.startswith("/fail") else 204


@pytest.fixture
def window(queue_stage: Stage) -> Iterator[Visit]:
    """A wide, light window. Whatever the test did in it, nothing went wrong on any page."""
    with queue_stage.visit() as opened:
        yield opened
        assert opened.faults == []


@pytest.fixture(scope="module")
def every_page(queue_stage: Stage) -> list[str]:
    """Every page, with something to show."""
    flaky, paused = f"{LOCATION}/queues/flaky", f"{LOCATION}/queues/paused"
    queue_stage.call("PUT", f"/headrace/v1/{paused}", {"rate": "1/m"})
    queue_stage.call("POST", f"/headrace/v1/{paused}:pause")
    queue_stage.call("PATCH", f"/headrace/v1/{flaky}/limits", {"rateLimits": {"maxDispatchesPerSecond": 2}})
    queue_stage.put_task(paused, "waits")
    queue_stage.put_task(flaky, "fails")
    queue_stage.call("POST", "/headrace/v1:waitUntilIdle", {})
    tasks = ["/queues/paused/tasks/waits", "/queues/flaky/tasks/fails"]
    return [
        *(page.path for page in PAGES),
        *("/queues/paused", "/queues/flaky", "/queues/flaky/limits", "/schedules/edit?job=nightly"),
        *tasks,
    ]


# What a person does.


def test_a_queue_is_paused_a_task_seen_to_wait_run_by_hand_and_its_delivery_seen(
    queue_stage: Stage, window: Visit
) -> None:
    page = window.page
    window.go("")
    page.locator("tr", has_text="mail").get_by_role("button", name="Pause").click()
    page.wait_for_url("**/console/queues/mail")
    expect(page.locator(".title .state")).to_have_text("paused")
    queue_stage.put_task(MAIL, "letter")
    page.get_by_role("link", name="letter").click()
    expect(page.locator(".hint")).to_have_text("Why it is not running: queue paused")
    expect(page.get_by_text("204")).to_have_count(0)
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".title .state")).to_have_text("ended")
    expect(page.locator(".timeline .state")).to_have_text("done, 204")
    page.locator("summary").click()
    expect(page.locator(".timeline pre").first).to_contain_text(f"POST {queue_stage.sink.url}/letter")
    page.get_by_role("link", name="mail").click()
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".title .state")).to_have_text("running")


def test_a_purge_is_asked_about_with_the_count(queue_stage: Stage, window: Visit) -> None:
    full = f"{LOCATION}/queues/full"
    queue_stage.call("PUT", f"/headrace/v1/{full}", {"rate": "0/s"})
    for number in range(3):
        queue_stage.put_task(full, f"kept-{number}")
    window.go("/queues/full")
    asked: list[str] = []
    window.page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    window.page.get_by_role("button", name="Purge").click()
    assert asked == ["Purge full? This drops the 3 tasks that it holds now, for good."]
    assert queue_stage.call("GET", f"/headrace/v1/{full}")["pending"] == 3
    confirm(window.page)
    window.page.get_by_role("button", name="Purge").click()
    expect(window.page.get_by_role("heading", name="No task waits")).to_be_visible()


def test_limits_are_set_over_the_file_and_given_back(window: Visit) -> None:
    page = window.page
    window.go("/queues/mail")
    page.get_by_role("link", name="Edit limits").click()
    page.get_by_label("Pushes a second").fill("0.5")
    page.get_by_role("button", name="Set").click()
    expect(page.locator("dl.facts")).to_contain_text("30/m, burst 5, 1,000 at once the file says 5/s")
    page.get_by_role("button", name="Give back to the file").click()
    expect(page.get_by_text("the file says")).to_have_count(0)
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("tbody tr").nth(1)).to_contain_text("limit queue")


def test_a_job_is_run_by_hand_without_a_reload(window: Visit) -> None:
    window.go("/schedules")
    row = window.page.locator("tr", has_text="nightly")
    expect(row).to_contain_text("none yet")
    row.get_by_role("button", name="Run now").click()
    expect(row.locator(".state.done")).to_have_text("done")


def test_keys_lead_to_the_pages_and_a_live_update_goes_on(window: Visit) -> None:
    window.go("/audit")
    for key, title in (("q", "Queues"), ("s", "Schedules"), ("a", "Audit"), ("q", "Queues")):
        window.page.keyboard.press("g")
        window.page.keyboard.press(key)
        expect(window.page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    wait_for_a_live_update(window.page)


# What holds for every page.


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_a_serious_fault_for_people_with_a_screen_reader(
    queue_stage: Stage, every_page: list[str], dark: bool
) -> None:
    found: dict[str, list[str]] = {}
    with queue_stage.visit(dark=dark) as visit:
        for path in every_page:
            visit.go(path)
            visit.page.evaluate(AXE)
            found[path] = visit.page.evaluate(JUDGE)
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_page_scrolls_sideways(queue_stage: Stage, every_page: list[str], size: tuple[int, int]) -> None:
    with queue_stage.visit(size=size) as visit:
        for path in every_page:
            visit.go(path)
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= size[0], path


def test_pages_load_nothing_from_elsewhere_and_break_neither_policy_nor_script(
    queue_stage: Stage, every_page: list[str], window: Visit
) -> None:
    for path in every_page:
        window.go(path)
        window.page.wait_for_load_state("networkidle")
    assert [url for url in window.requests if not url.startswith(f"{queue_stage.server.rest}/console")] == []
