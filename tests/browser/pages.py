"""What holds for every page of the console, in a real browser (`make test-browser`)."""

from pathlib import Path

import pytest

from tests.browser.stage import DEAD, DOUBT, JOB, NARROW, PAGES, WIDE, Stage, Visit

AXE = (Path(__file__).parent / "axe.min.js").read_text()
JUDGE = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
    .filter((each) => ['serious', 'critical'].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)"""


@pytest.fixture(scope="module")
def paths(stage: Stage) -> tuple[str, ...]:
    """Every page, with something to show: a run that failed, its dead task, a decision that waits."""
    with stage.visit() as visit:
        stage.set_fault(DEAD)
        run_id = visit.send(JOB)
        visit.wait_for_state("failed")
        task = visit.page.locator(".cell.dead").get_attribute("href") or ""
        stage.set_fault(DOUBT)
        visit.send(JOB)
        visit.page.locator(".cell.undecided").wait_for()
        task = task.removeprefix("/console")
    queue = "/queues/synchronizeAccessQueue"
    return (*PAGES, queue, f"{queue}/limits", f"/runs/{run_id}", task, f"{task}/edit", f"/schedules/edit?url={JOB}")


def _log_in_page(visit: Visit) -> None:
    visit.page.context.clear_cookies()
    visit.go("/login")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_no_page_has_a_serious_fault_for_people_with_a_screen_reader(
    stage: Stage, paths: tuple[str, ...], dark: bool
) -> None:
    found: dict[str, list[str]] = {}
    with stage.visit(dark=dark) as visit:
        for path in paths:
            visit.go(path)
            found[path] = visit.judge(AXE, JUDGE)
        _log_in_page(visit)
        found["/login"] = visit.judge(AXE, JUDGE)
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_no_page_scrolls_sideways(stage: Stage, paths: tuple[str, ...], size: tuple[int, int]) -> None:
    too_wide: dict[str, int] = {}
    with stage.visit(size=size) as visit:
        for path in (*paths, "/login"):
            visit.go(path)
            width = visit.page.evaluate("document.documentElement.scrollWidth")
            if width > size[0]:
                too_wide[path] = width
    assert too_wide == {}


def test_pages_load_nothing_from_elsewhere_and_break_neither_policy_nor_script(
    stage: Stage, paths: tuple[str, ...]
) -> None:
    with stage.visit() as visit:
        for path in paths:
            visit.go(path)
            visit.page.wait_for_load_state("networkidle")
        assert visit.faults == []
        own = stage.site.address.service + "/console"
        assert [url for url in visit.requests if not url.startswith(own)] == []
