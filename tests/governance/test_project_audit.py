"""Grants outside the allowed parents become findings, and findings that were repaired are closed."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from governance import seed, verify
from governance.project_audit import Audited, audit, outside
from governance.tables import allowed_parents, audit_findings, audit_log, project_grants, projects
from governance.users import ids_with_projects_after
from headrace.database import Database

NOW = 1_790_000_000.0
NOW_MS = int(NOW * 1000)


@pytest.fixture
def project(database: Database, add_user: Callable[..., None]) -> Callable[[int | None], None]:
    """Puts project 1 under a parent; user 1 has two roles in it. Parent 10 alone is allowed."""
    add_user(1)
    with database.write() as connection:
        connection.execute(insert(allowed_parents), [{"parent_id": 10, "name": "research"}])
        connection.execute(insert(projects), [{"id": 1, "name": "genomes"}])
        grants = [{"user_id": 1, "project_id": 1, "role": role} for role in ("reader", "owner")]
        connection.execute(insert(project_grants), grants)

    def move(parent_id: int | None) -> None:
        with database.write() as connection:
            connection.execute(update(projects).values(parent_id=parent_id))

    return move


def run(database: Database, *user_ids: int, at: float = NOW) -> Audited:
    with database.write() as connection:
        return audit(connection, user_ids, at)


def test_a_grant_is_outside_when_its_project_has_another_parent_or_none():
    grants = [(1, 1, 10), (1, 2, 11), (2, 3, None)]
    assert outside(grants, {10}) == {(1, 2), (2, 3)}


@pytest.mark.parametrize("parent", [99, None])
def test_a_grant_outside_the_allowed_parents_is_one_finding_and_a_rerun_adds_none(
    database: Database,
    project: Callable[[int | None], None],
    rows: Callable[..., list[dict[str, Any]]],
    parent: int | None,
):
    project(parent)
    assert run(database, 1) == Audited(opened=1, closed=0)
    findings = rows(audit_findings)
    assert [(row["user_id"], row["project_id"], row["opened_at"], row["closed_at"]) for row in findings] == [
        (1, 1, NOW_MS, None)
    ]
    assert run(database, 1, at=NOW + 60) == Audited(opened=0, closed=0)
    assert rows(audit_findings) == findings
    assert len(rows(audit_log)) == 1


def test_a_grant_inside_the_allowed_parents_is_no_finding(
    database: Database, project: Callable[[int | None], None], rows: Callable[..., list[dict[str, Any]]]
):
    project(10)
    assert run(database, 1) == Audited(opened=0, closed=0)
    assert rows(audit_findings) == rows(audit_log) == []


def test_a_finding_is_closed_when_repaired_and_opened_again_when_it_comes_back(
    database: Database, project: Callable[[int | None], None], rows: Callable[..., list[dict[str, Any]]]
):
    project(99)
    run(database, 1)
    project(10)
    assert run(database, 1, at=NOW + 1) == Audited(opened=0, closed=1)
    assert [row["closed_at"] for row in rows(audit_findings)] == [NOW_MS + 1000]
    project(99)
    assert run(database, 1, at=NOW + 2) == Audited(opened=1, closed=0)
    assert [(row["opened_at"], row["closed_at"]) for row in rows(audit_findings)] == [(NOW_MS + 2000, None)]
    assert [row["action"] for row in rows(audit_log)] == ["open_finding", "close_finding", "open_finding"]


def test_a_finding_is_closed_when_the_grant_is_gone(database: Database, project: Callable[[int | None], None]):
    project(99)
    run(database, 1)
    with database.write() as connection:
        connection.execute(delete(project_grants))
    with database.read() as connection:
        assert list(ids_with_projects_after(connection, None)) == [1]
    assert run(database, 1) == Audited(opened=0, closed=1)
    with database.read() as connection:
        assert list(ids_with_projects_after(connection, None)) == []


def test_the_sql_check_agrees_with_an_audit_of_everybody(database: Database):
    seed.fill(database, 3_000, seed=5, at=NOW)
    with database.write() as connection:
        verify.remember(connection)
        done = audit(connection, list(ids_with_projects_after(connection, None)), NOW)
        assert verify.check_projects(connection) == verify.Verdict(0, ())
        assert verify.count_changes(connection) == {"open_finding": done.opened, "close_finding": done.closed}
        assert audit(connection, list(ids_with_projects_after(connection, None)), NOW) == Audited(0, 0)
    assert done.opened > 20
    assert done.closed > 2
