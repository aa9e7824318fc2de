"""The audit: narrowed by who, what and to what, and read page by page."""

import pytest

from headrace.database import Database, audit_rows
from headrace.database.audit_rows import AuditFilter, AuditRow


@pytest.fixture
def rows(database: Database) -> list[AuditRow]:
    """Twelve rows of two actors, two actions and three objects; the newest first."""
    with database.write() as connection:
        for number in range(12):
            audit_rows.record(
                connection,
                at=number,
                actor=("ada", "grace")[number % 2],
                action=("retry", "cancel_run")[number // 2 % 2],
                object=f"batch/{number % 3}",
            )
    return listed(database, AuditFilter())


def listed(database: Database, where: AuditFilter, limit: int = 100) -> list[AuditRow]:
    with database.read() as connection:
        return audit_rows.list_audit(connection, limit=limit, where=where)


@pytest.mark.parametrize("actor", [None, "ada", "nobody"])
@pytest.mark.parametrize("action", [None, "retry"])
@pytest.mark.parametrize("object", [None, "batch/1"])
@pytest.mark.parametrize("before", [None, 8])
def test_filters_narrow_together_and_the_newest_comes_first(
    database: Database, rows: list[AuditRow], actor: str | None, action: str | None, object: str | None, before: int
) -> None:
    last = None if before is None else rows[before].id
    wanted = [
        row
        for row in rows
        if (actor is None or row.actor == actor)
        and (action is None or row.action == action)
        and (object is None or row.object == object)
        and (last is None or row.id < last)
    ]
    assert listed(database, AuditFilter(actor, action, object, last)) == wanted
    assert listed(database, AuditFilter(actor, action, object, last), limit=2) == wanted[:2]


def test_pages_by_the_last_id_leave_nothing_out_and_show_nothing_twice(
    database: Database, rows: list[AuditRow]
) -> None:
    seen: list[AuditRow] = []
    while page := listed(database, AuditFilter("ada", before=seen[-1].id if seen else None), limit=4):
        seen += page
    assert seen == [row for row in rows if row.actor == "ada"]
