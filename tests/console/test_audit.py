"""The page of the audit: who did what, narrowed, and read back page by page."""

import re

import pytest
from flask.testing import FlaskClient

from headrace.console.views.audit import PER_PAGE
from headrace.database import Database, audit_rows


@pytest.fixture
def rows(database: Database) -> int:
    """More rows than a page shows; how many."""
    count = PER_PAGE + 20
    with database.write() as connection:
        for number in range(count):
            audit_rows.record(
                connection,
                at=1_800_000_000_000 + number,
                actor="ada" if number % 2 else "grace",
                action="retry",
                object=f"batch/{number}",
                old="exhausted: <b>no</b>",
                new="x" * 5_000,
            )
    return count


def objects_in(page: str) -> list[str]:
    return re.findall(r">(batch/\d+)</a>", page)


def test_the_empty_page_says_what_comes_here(browser: FlaskClient) -> None:
    assert "Nobody has done anything yet" in browser.get("/console/audit").text


def test_who_did_what_is_shown_as_text_with_links_to_its_object(browser: FlaskClient, rows: int) -> None:
    page = browser.get("/console/audit").text
    assert objects_in(page) == [f"batch/{number}" for number in range(rows - 1, 19, -1)]
    assert f'href="/console/tasks/{rows - 1}"' in page
    assert "&lt;b&gt;no&lt;/b&gt;" in page
    assert "x" * 201 not in page


def test_older_rows_are_behind_a_link_that_keeps_what_narrows_them(browser: FlaskClient, rows: int) -> None:
    first = browser.get("/console/audit?action=retry").text
    (older,) = re.findall(r'href="(/console/audit\?[^"]+)">Older', first)
    page = browser.get(older.replace("&amp;", "&")).text
    assert objects_in(first) + objects_in(page) == [f"batch/{number}" for number in range(rows - 1, -1, -1)]
    assert ">Older<" not in page
    assert 'href="/console/audit?action=retry">Newest' in page


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("actor=ada", [f"batch/{number}" for number in range(119, 0, -2)]),
        ("actor=ada&object=batch/7", ["batch/7"]),
        ("actor=ada&object=batch/8", []),
        ("action=refused", []),
        ("before=1", []),
    ],
)
def test_the_audit_is_narrowed_by_actor_action_and_object(
    browser: FlaskClient, rows: int, query: str, found: list[str]
) -> None:
    page = browser.get(f"/console/audit?{query}").text
    assert objects_in(page) == found
    assert ("Nothing like this" in page) == (not found)


@pytest.mark.parametrize("before", ["seven", "-1", "0", "9" * 19, "9" * 50, "²"])
def test_a_place_that_is_none_is_left_out_or_empty(browser: FlaskClient, rows: int, before: str) -> None:
    assert browser.get("/console/audit", query_string={"before": before}).status_code == 200
