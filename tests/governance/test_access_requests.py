"""Access that ends by itself is a group of its own, there while the request is in force."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, insert, text

from governance import access_requests
from governance.access_requests import EXPIRED, REVOKED, Request
from governance.tables import groups, memberships
from governance.verify_jobs import check_requests
from headrace.database import Database

NOW = 1_790_000_000.0
HOUR = 3_600.0
ANNA, BEN, CARL = (f"user{number}@example.org" for number in (1, 2, 3))
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def request_id(database: Database, add_user: Callable[..., None]) -> int:
    """Anna's request for two hours; Ben is an approver."""
    for number in (1, 2, 3):
        add_user(number)
    with database.write() as connection:
        connection.execute(insert(groups), [{"id": 90, "name": access_requests.APPROVERS}])
        connection.execute(insert(memberships), [{"group_id": 90, "user_id": 2, "source": "direct"}])
        return access_requests.ask(connection, ANNA, "to mend the index", 2, NOW)


def find(connection: Connection, request_id: int) -> Request:
    found = access_requests.find(connection, request_id)
    assert found is not None
    return found


@pytest.mark.parametrize(("who", "may"), [(ANNA, False), (BEN, True), (CARL, False), ("nobody", False)])
def test_an_approver_decides_and_nobody_else(database: Database, request_id: int, who: str, may: bool):
    with database.read() as connection:
        assert access_requests.may_decide(connection, who, find(connection, request_id)) is may


def test_an_approver_does_not_decide_a_request_of_ones_own(database: Database, request_id: int):
    with database.write() as connection:
        own = find(connection, access_requests.ask(connection, BEN, "because", 1, NOW))
        assert not access_requests.may_decide(connection, BEN, own)


def test_an_approved_request_is_a_group_with_one_member_until_it_ends(database: Database, request_id: int, rows: Rows):
    with database.write() as connection:
        assert access_requests.approve(connection, find(connection, request_id), BEN, NOW) == NOW + 2 * HOUR
        assert check_requests(connection, NOW) == ()
        assert check_requests(connection, NOW + 2 * HOUR) != ()
    (mine,) = [row for row in rows(memberships) if row["source"] == "request"]
    assert (mine["user_id"], mine["expires_at"]) == (1, int((NOW + 2 * HOUR) * 1000))
    assert f"__access_req_{request_id}" in {row["name"] for row in rows(groups)}
    with database.write() as connection:
        assert access_requests.end(connection, request_id, EXPIRED)
        assert check_requests(connection, NOW + 2 * HOUR) == ()
    assert [row["source"] for row in rows(memberships)] == ["direct"]


def test_a_request_is_approved_and_ended_once(database: Database, request_id: int):
    with database.write() as connection:
        assert not access_requests.end(connection, request_id, REVOKED)
        assert access_requests.approve(connection, find(connection, request_id), BEN, NOW) is not None
        assert access_requests.approve(connection, find(connection, request_id), BEN, NOW) is None
        assert access_requests.end(connection, request_id, REVOKED)
        assert not access_requests.end(connection, request_id, EXPIRED)
        assert find(connection, request_id).state == REVOKED


def test_a_request_that_is_not_there_is_not_found(database: Database):
    with database.read() as connection:
        assert access_requests.find(connection, 1) is None


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("DELETE FROM memberships WHERE source = 'request'", "is in force without its membership"),
        ("UPDATE memberships SET expires_at = NULL", "is in force without its membership"),
        ("UPDATE access_requests SET state = 'revoked'", "is not in force, and its group is there"),
        ("UPDATE access_requests SET expires_at = 1", "is past its time, and still approved"),
    ],
)
def test_the_sql_check_finds_harm(database: Database, request_id: int, harm: str, says: str):
    with database.write() as connection:
        access_requests.approve(connection, find(connection, request_id), BEN, NOW)
        connection.execute(text(harm))
        assert any(says in fault for fault in check_requests(connection, NOW))
