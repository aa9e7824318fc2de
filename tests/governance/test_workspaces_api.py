"""createWorkspace over HTTP: an operation to ask after, one workspace whatever fails on the way."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from governance import storage
from governance.tables import storage_buckets, users, workspaces
from governance.verify_jobs import check_workspaces
from tests.governance.application import Governance, payload_of, run_governance

ANNA, BEN = "anna@example.org", "ben@example.org"
PATH = "/api/v1/workspaces"


@pytest.fixture
def governance(database_url: str) -> Iterator[Governance]:
    """Anna and Ben are users."""
    with run_governance(database_url) as running:

        def add_people(connection: Connection) -> None:
            people = [{"id": number, "email": email, "last_modified": 1} for number, email in enumerate((ANNA, BEN), 1)]
            connection.execute(insert(users), people)

        running.change(add_people)
        yield running


def ask(governance: Governance, *members: str) -> str:
    body = {"name": "genomes", "members": list(members)}
    answer = governance.client.post(PATH, headers=governance.sign_in(ANNA), json=body)
    assert (answer.status_code, answer.json["state"]) == (202, "QUEUED")
    operation_id: str = answer.json["operationId"]
    return operation_id


def look(governance: Governance, operation_id: str, email: str = ANNA) -> dict[str, Any]:
    answer = governance.client.get(f"{PATH}/operations/{operation_id}", headers=governance.sign_in(email))
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json
    return shown


def test_an_operation_is_queued_at_once_and_ends_with_the_workspace(governance: Governance):
    operation_id = ask(governance, BEN)
    assert look(governance, operation_id) == {"operationId": operation_id, "state": "QUEUED"}
    governance.drain()
    shown = look(governance, operation_id)
    assert shown["state"] == "SUCCESS"
    assert shown["workspace"]["name"] == "genomes"
    assert [each["email"] for each in shown["workspace"]["members"]] == [ANNA, BEN]
    assert governance.ask(check_workspaces) == ()


def test_the_task_carries_no_token_and_nothing_but_the_operation(governance: Governance):
    operation_id = ask(governance, BEN)
    (push,) = governance.queue.tasks.values()
    assert payload_of(push) == {"operationId": operation_id}
    assert not any("authorization" in name.lower() for name, _ in push.headers)


def test_another_user_does_not_find_the_operation(governance: Governance):
    operation_id = ask(governance)
    path = f"{PATH}/operations/{operation_id}"
    assert governance.client.get(path, headers=governance.sign_in(BEN)).status_code == 404
    assert governance.client.get(f"{PATH}/operations/none", headers=governance.sign_in(ANNA)).status_code == 404
    assert governance.client.get(path).status_code == 401


def test_a_vendor_that_fails_half_way_leaves_it_processing_and_the_retry_makes_no_second_workspace(
    governance: Governance, monkeypatch: pytest.MonkeyPatch
):
    keys = []

    def make_and_hang_up(name: str, idempotency_key: str) -> str:
        keys.append(idempotency_key)
        make_bucket(name, idempotency_key)
        raise ConnectionError("the vendor has hung up")

    make_bucket = storage.make_bucket
    operation_id = ask(governance, BEN)
    (push,) = governance.queue.tasks.values()
    with monkeypatch.context() as patched:
        patched.setattr(storage, "make_bucket", make_and_hang_up)
        assert governance.deliver(push).status_code == 500
        assert look(governance, operation_id)["state"] == "PROCESSING"
        assert governance.deliver(push).status_code == 500
    governance.drain()
    assert look(governance, operation_id)["state"] == "SUCCESS"
    assert len(governance.rows(workspaces)) == len(governance.rows(storage_buckets)) == len(set(keys)) == 1
    assert governance.ask(check_workspaces) == ()


def test_a_member_whom_nobody_knows_ends_the_operation_with_an_error_at_once(governance: Governance):
    operation_id = ask(governance, "eve@example.org")
    governance.drain()
    shown = look(governance, operation_id)
    assert shown["state"] == "ERROR"
    assert "There is no user eve@example.org." in shown["error"]
    assert governance.rows(workspaces) == []


def test_a_body_that_breaks_its_schema_is_refused(governance: Governance):
    answer = governance.client.post(PATH, headers=governance.sign_in(ANNA), json={"name": ""})
    assert answer.status_code == 400
    assert governance.queue.tasks == {}


def test_a_vendor_that_always_fails_ends_the_operation_with_an_error_and_what_was_made_is_taken_back(
    governance: Governance, monkeypatch: pytest.MonkeyPatch
):
    def make_and_hang_up(name: str, idempotency_key: str) -> str:
        make_bucket(name, idempotency_key)
        raise ConnectionError("the vendor has hung up")

    make_bucket = storage.make_bucket
    monkeypatch.setattr(storage, "make_bucket", make_and_hang_up)
    operation_id = ask(governance)
    (push,) = governance.queue.tasks.values()
    for _ in range(100):
        if governance.deliver(push).status_code < 300:
            break
        governance.clock.advance(60)
    assert look(governance, operation_id)["error"] == "The workspace cannot be made."
    assert governance.rows(workspaces) == governance.rows(storage_buckets) == []
    assert governance.ask(check_workspaces) == ()
