"""An operation makes one workspace, however often its work is begun."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert, text

from governance.tables import storage_buckets, workspace_operations, workspaces
from governance.verify_jobs import check_workspaces
from governance.workspaces import UnknownMember, ask, begin, fail, finish, show
from headrace.database import Database

NOW = 1_790_000_000.0
ANNA, BEN = "user1@example.org", "user2@example.org"


@pytest.fixture
def operation_id(database: Database, add_user: Callable[..., None]) -> str:
    """Anna asks for a workspace with Ben."""
    add_user(1)
    add_user(2)
    with database.write() as connection:
        return ask(connection, ANNA, {"name": "genomes", "members": [BEN, BEN, ANNA]}, NOW)


def make(database: Database, operation_id: str) -> None:
    with database.write() as connection:
        workspace_id = begin(connection, operation_id, NOW)
        row = {"name": f"workspace-{workspace_id}", "idempotency_key": "key"}
        connection.execute(insert(storage_buckets), [row])
        finish(connection, operation_id, row["name"])


def test_an_operation_is_shown_to_its_owner_with_the_workspace_that_it_made(database: Database, operation_id: str):
    with database.read() as connection:
        assert show(connection, operation_id, ANNA) == {"operationId": operation_id, "state": "QUEUED"}
    with database.write() as connection:
        begin(connection, operation_id, NOW)
        assert show(connection, operation_id, ANNA) == {"operationId": operation_id, "state": "PROCESSING"}
        finish(connection, operation_id, "bucket")
        shown = show(connection, operation_id, ANNA)
        assert show(connection, operation_id, BEN) is None
        assert show(connection, "another", ANNA) is None
    assert shown is not None
    assert shown["state"] == "SUCCESS"
    workspace = shown["workspace"]
    assert (workspace["name"], workspace["bucket"]) == ("genomes", "bucket")
    assert workspace["members"] == [{"email": ANNA, "role": "owner"}, {"email": BEN, "role": "member"}]


def test_a_second_beginning_finds_the_first_ones_workspace(
    database: Database, operation_id: str, rows: Callable[..., list[dict[str, Any]]]
):
    with database.write() as connection:
        first = begin(connection, operation_id, NOW)
    with database.write() as connection:
        assert begin(connection, operation_id, NOW + 60) == first
    assert [row["id"] for row in rows(workspaces)] == [first]


def test_a_member_whom_nobody_knows_makes_no_workspace(
    database: Database, operation_id: str, rows: Callable[..., list[dict[str, Any]]]
):
    with database.write() as connection:
        wrong = ask(connection, ANNA, {"name": "x", "members": ["eve@example.org"]}, NOW)
        with pytest.raises(UnknownMember, match="no user eve"):
            begin(connection, wrong, NOW)
        fail(connection, wrong, "There is no user eve@example.org.")
        shown = show(connection, wrong, ANNA)
    assert shown == {"operationId": wrong, "state": "ERROR", "error": "There is no user eve@example.org."}
    assert rows(workspaces) == []
    assert len(rows(workspace_operations)) == 2


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE workspaces SET state = 'creating'", "has no workspace that can be used"),
        ("DELETE FROM storage_buckets", "has no workspace that can be used"),
        ("UPDATE workspace_operations SET state = 'ERROR'", "is ERROR with a workspace"),
        ("DELETE FROM workspace_members", "does not own its workspace"),
        ("INSERT INTO workspaces (name, state, last_modified) VALUES ('x', 'creating', 1)", "made for no operation"),
        ("INSERT INTO storage_buckets (name, idempotency_key) VALUES ('x', 'x')", "the bucket x belongs to no"),
    ],
)
def test_the_sql_check_finds_harm(database: Database, operation_id: str, harm: str, says: str):
    make(database, operation_id)
    with database.write() as connection:
        assert check_workspaces(connection) == ()
        connection.execute(text(harm))
        assert any(says in fault for fault in check_workspaces(connection))
