"""Access requests over HTTP: who may do what, and access that ends when its time is up, or before."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, insert

from governance.access_requests import APPROVERS
from governance.tables import access_requests, groups, memberships, users
from governance.verify_jobs import check_requests
from tests.governance.application import NOW, Governance, payload_of, run_governance

ANNA, BEN, CARL = "anna@example.org", "ben@example.org", "carl@example.org"
DAY = 86_400.0


@pytest.fixture
def governance(database_url: str) -> Iterator[Governance]:
    """Anna and Carl are users, Ben is an approver."""
    with run_governance(database_url) as running:

        def add_people(connection: Connection) -> None:
            people = [
                {"id": number, "email": email, "last_modified": 1} for number, email in enumerate((ANNA, BEN, CARL), 1)
            ]
            connection.execute(insert(users), people)
            connection.execute(insert(groups), [{"id": 90, "name": APPROVERS}])
            connection.execute(insert(memberships), [{"group_id": 90, "user_id": 2, "source": "direct"}])

        running.change(add_people)
        yield running


@pytest.fixture
def request_id(governance: Governance) -> int:
    """Anna's request for a day."""
    asked = {"reason": "to mend the index", "hours": 24}
    answer = governance.client.post("/api/v1/accessRequests", headers=governance.sign_in(ANNA), json=asked)
    assert (answer.status_code, answer.json["state"]) == (201, "pending")
    found: int = answer.json["requestId"]
    return found


def decide(governance: Governance, request_id: int, verb: str, email: str) -> int:
    path = f"/api/v1/accessRequests/{request_id}/{verb}"
    return governance.client.post(path, headers=governance.sign_in(email)).status_code


def members(governance: Governance) -> list[int]:
    return [row["user_id"] for row in governance.rows(memberships) if row["source"] == "request"]


def state(governance: Governance) -> str:
    (row,) = governance.rows(access_requests)
    return str(row["state"])


def test_an_approval_gives_the_membership_at_once_and_pushes_its_end_a_day_later(
    governance: Governance, request_id: int
):
    assert decide(governance, request_id, "approve", BEN) == 200
    assert members(governance) == [1]
    (push,) = governance.queue.tasks.values()
    assert (push.queue, push.schedule_at) == ("accessRequestQueue", NOW + DAY)
    assert payload_of(push) == {"requestId": request_id}


def test_the_access_is_gone_when_its_time_is_up_and_not_a_second_before(governance: Governance, request_id: int):
    decide(governance, request_id, "approve", BEN)
    assert governance.drain(within=DAY - 1) == []
    governance.clock.advance(DAY - 1)
    assert members(governance) == [1]
    assert len(governance.drain(within=1)) == 1
    assert members(governance) == []
    assert state(governance) == "expired"
    assert governance.ask(check_requests, governance.clock.now()) == ()


@pytest.mark.parametrize("who", [ANNA, BEN])
def test_an_early_revocation_takes_the_access_and_leaves_nothing_for_the_day_after(
    governance: Governance, request_id: int, who: str
):
    decide(governance, request_id, "approve", BEN)
    assert decide(governance, request_id, "revoke", who) == 200
    assert members(governance) == []
    (row,) = governance.rows(access_requests)
    assert governance.show(row["expiry_run"])["state"] == "cancelled"
    governance.drain(within=DAY)
    assert state(governance) == "revoked"
    assert governance.ask(check_requests, governance.clock.now()) == ()


@pytest.mark.parametrize(("verb", "who"), [("approve", ANNA), ("approve", CARL), ("revoke", CARL)])
def test_who_is_not_allowed_to_decide_changes_nothing(governance: Governance, request_id: int, verb: str, who: str):
    if verb == "revoke":
        decide(governance, request_id, "approve", BEN)
    before = governance.rows(access_requests)
    assert decide(governance, request_id, verb, who) == 403
    assert governance.rows(access_requests) == before


def test_a_request_in_another_state_is_left_as_it_is(governance: Governance, request_id: int):
    assert decide(governance, request_id, "revoke", BEN) == 409
    decide(governance, request_id, "approve", BEN)
    assert decide(governance, request_id, "approve", BEN) == 409
    decide(governance, request_id, "revoke", BEN)
    assert decide(governance, request_id, "revoke", BEN) == 409
    assert state(governance) == "revoked"


def test_a_request_that_is_not_there_is_not_found(governance: Governance):
    assert decide(governance, 7, "approve", BEN) == 404


def test_a_token_that_nobody_has_opens_nothing(governance: Governance):
    asked = {"reason": "why not", "hours": 24}
    for headers in ({}, {"Authorization": "Bearer guessed"}):
        assert governance.client.post("/api/v1/accessRequests", headers=headers, json=asked).status_code == 401


def test_a_token_of_a_user_who_was_disabled_opens_nothing(governance: Governance):
    headers = governance.sign_in(ANNA)
    governance.change(lambda connection: connection.execute(users.update().values(disabled=True)))
    asked = {"reason": "why not", "hours": 24}
    assert governance.client.post("/api/v1/accessRequests", headers=headers, json=asked).status_code == 401
