"""What changed is exported and stamped; what cannot be mapped is not; a backfill sends all and stamps nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text, update

from governance import seed
from governance.rdr import (
    USER,
    WORKSPACE,
    Unmappable,
    export_user,
    export_workspace,
    exports_after,
    map_user,
    map_workspace,
)
from governance.tables import rdr_export, rdr_sink_users, rdr_sink_workspaces, users, workspaces
from governance.verify_jobs import check_exports, remember_exports
from headrace.database import Database

NOW = 1_790_000_000.0
Rows = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def filled(database: Database) -> Database:
    seed.fill(database, 60, seed=1, at=NOW)
    seed.fill_workspaces(database, 60, seed=1, at=NOW)
    return database


def export(database: Database, *, backfill: bool = False, at: float = NOW) -> list[str]:
    """Export all that is due; what could not be mapped."""
    unmappable = []
    with database.write() as connection:
        remember_exports(connection)
        for item in exports_after(connection, None, entity_type=USER, backfill=backfill):
            export_user(connection, item["id"], backfill=backfill, at=at)
        for item in exports_after(connection, None, entity_type=WORKSPACE, backfill=backfill):
            try:
                export_workspace(connection, item["id"], backfill=backfill, at=at)
            except Unmappable as error:
                unmappable.append(str(error))
    return unmappable


def test_a_user_is_mapped_with_the_status():
    assert map_user("a@example.org", disabled=False) == {"email": "a@example.org", "status": "active"}
    assert map_user("a@example.org", disabled=True)["status"] == "disabled"


def test_a_workspace_without_a_creator_cannot_be_mapped():
    assert map_workspace("genomes", 7, [7, 8]) == {"name": "genomes", "creator": 7, "members": [7, 8]}
    with pytest.raises(Unmappable, match="genomes has no creator"):
        map_workspace("genomes", None, [])


def test_all_are_sent_once_and_stamped_and_what_cannot_be_mapped_is_neither(filled: Database, rows: Rows):
    assert len(export(filled)) == 1
    assert (len(rows(rdr_sink_users)), len(rows(rdr_sink_workspaces))) == (60, 59)
    assert len(rows(rdr_export)) == 119
    with filled.read() as connection:
        assert check_exports(connection) == ()


def test_only_what_changed_since_is_sent_again(filled: Database, rows: Rows):
    export(filled)
    with filled.write() as connection:
        connection.execute(update(users).where(users.c.id <= 3).values(last_modified=int(NOW * 1000) + 1))
    with filled.read() as connection:
        due = exports_after(connection, None, entity_type=USER, backfill=False)
        assert list(due) == [{"id": number, "backfill": False} for number in (1, 2, 3)]
        assert [each["id"] for each in exports_after(connection, 2, entity_type=USER, backfill=False)] == [3]
    export(filled, at=NOW + 60)
    assert [row["received"] for row in rows(rdr_sink_users)] == [2, 2, 2] + [1] * 57
    with filled.read() as connection:
        assert check_exports(connection) == ()


def test_a_backfill_sends_everything_and_stamps_nothing(filled: Database, rows: Rows):
    export(filled, backfill=True)
    assert rows(rdr_export) == []
    export(filled)
    stamps = rows(rdr_export)
    export(filled, backfill=True, at=NOW + 60)
    assert {row["received"] for row in rows(rdr_sink_users)} == {3}
    assert rows(rdr_export) == stamps
    with filled.read() as connection:
        assert check_exports(connection, backfill=True) == ()


def test_what_is_gone_meanwhile_is_passed_over(filled: Database, rows: Rows):
    with filled.write() as connection:
        export_user(connection, 1_000, backfill=False, at=NOW)
        export_workspace(connection, 1_000, backfill=False, at=NOW)
    assert rows(rdr_export) == []


def test_a_creator_who_is_deleted_leaves_the_workspace(filled: Database, rows: Rows):
    creator = rows(workspaces)[0]["creator_id"]
    with filled.write() as connection:
        connection.execute(text("DELETE FROM users WHERE id = :id"), {"id": creator})
    assert rows(workspaces)[0]["creator_id"] is None


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        ("UPDATE rdr_sink_users SET received = 2 WHERE id = 5", "user 5 was sent 2 times instead of 1"),
        ("DELETE FROM rdr_sink_workspaces WHERE id = 5", "workspace 5 was sent 0 times instead of 1"),
        ("DELETE FROM rdr_export WHERE entity_type = 'user' AND entity_id = 5", "user 5 is stamped -1 instead of"),
    ],
)
def test_the_sql_check_finds_harm(filled: Database, harm: str, says: str):
    export(filled)
    with filled.write() as connection:
        connection.execute(text(harm))
        assert any(says in fault for fault in check_exports(connection))
