"""What is read once for everybody who watches."""

import threading

import pytest
from flask.testing import FlaskClient

from headrace.console.recent import LONGEST, MOST, Recent
from tests.console.conftest import csrf_of
from tests.console.test_pages import start

TICK = {"HX-Request": "true", "HX-Target": "list"}


def test_a_value_is_kept_for_its_time_and_then_read_again() -> None:
    now, reads = [0.0], iter(range(10))
    recent = Recent(2.0, lambda: now[0])
    assert [recent.get("a", lambda: next(reads)), recent.get("a", lambda: next(reads))] == [0, 0]
    assert recent.get("b", lambda: next(reads)) == 1
    now[0] = 2.0
    assert recent.get("a", lambda: next(reads)) == 2


def test_what_is_dear_to_read_is_kept_longer_but_not_for_long() -> None:
    now, reads = [0.0], iter(range(10))

    def read(seconds: float) -> int:
        now[0] += seconds
        return next(reads)

    recent = Recent(2.0, lambda: now[0])
    recent.get("a", lambda: read(0.05))
    now[0] = 4.9
    assert recent.get("a", lambda: read(0.05)) == 0, "50 ms are a hundredth of 5 s"
    now[0] = 5.1
    assert recent.get("a", lambda: read(2.0)) == 1
    now[0] = 5.1 + LONGEST
    assert recent.get("a", lambda: read(2.0)) == 2


def test_what_cannot_be_read_is_not_kept() -> None:
    recent = Recent(2.0, lambda: 0.0)
    with pytest.raises(ZeroDivisionError):
        recent.get("a", lambda: 1 // 0)
    assert recent.get("a", lambda: "there") == "there"


def test_values_that_nobody_asks_for_make_room() -> None:
    recent = Recent(2.0, lambda: 0.0)
    for number in range(MOST + 1):
        recent.get(str(number), lambda: "old")
    assert recent.get("0", lambda: "new") == "new"
    assert recent.get(str(MOST), lambda: "new") == "old"


def test_threads_that_ask_at_one_moment_wait_for_one_reading() -> None:
    recent, begun, go_on, reads = Recent(60.0), threading.Event(), threading.Event(), []

    def read() -> str:
        reads.append(1)
        begun.set()
        assert go_on.wait(10)
        return "value"

    got: list[str] = []
    threads = [threading.Thread(target=lambda: got.append(recent.get("a", read))) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert begun.wait(10)
    go_on.set()
    for thread in threads:
        thread.join()
    assert (got, len(reads)) == (["value"] * 4, 1)


def test_live_updates_share_a_reading_and_a_page_that_is_opened_is_new(browser: FlaskClient) -> None:
    empty = browser.get("/console/runs", headers=TICK).text
    run_id = start(browser)
    assert run_id in browser.get("/console/runs").text
    assert browser.get("/console/runs", headers=TICK).text == empty
    assert run_id in browser.get("/console/runs?state=running", headers=TICK).text, "each address has its own"


def test_what_somebody_does_is_in_the_next_live_update(browser: FlaskClient) -> None:
    run_id = start(browser)
    assert ">running<" in browser.get(f"/console/runs/{run_id}", headers=TICK).text
    browser.post(f"/console/runs/{run_id}/cancel", data={"csrf": csrf_of(browser)})
    assert ">cancelled<" in browser.get(f"/console/runs/{run_id}", headers=TICK).text


def test_a_live_update_brings_the_part_and_nothing_around_it(browser: FlaskClient) -> None:
    part = browser.get("/console/runs", headers=TICK).text
    assert 'id="list"' in part
    assert "<nav" not in part
    assert "<html" not in part
    moved = browser.get("/console/runs", headers={"HX-Request": "true"}).text
    assert "<nav" in moved, "what leads to another page brings all of it"
