"""Finds grants on projects outside the allowed parents, and closes the findings that are repaired.

A finding is one row a user and project, whatever the roles. Each that is opened or closed leaves one row in
`audit_log`; a second call changes nothing.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Update, bindparam, insert, select, update

from governance.tables import allowed_parents, audit_findings, audit_log, project_grants, projects, users

ACTOR = "auditProjectAccess"

_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
# The lock orders two audits of one user; SQLite has one writer and needs none.
_USERS = select(users.c.id).where(users.c.id.in_(_IDS)).order_by(users.c.id).with_for_update(key_share=True)
_GRANTS = (
    select(project_grants.c.user_id, project_grants.c.project_id, projects.c.parent_id)
    .join(projects)
    .where(project_grants.c.user_id.in_(_IDS))
)
_FINDINGS = select(audit_findings.c.user_id, audit_findings.c.project_id, audit_findings.c.closed_at).where(
    audit_findings.c.user_id.in_(_IDS)
)
_ONE_FINDING = (
    audit_findings.c.user_id == bindparam("found_user"),
    audit_findings.c.project_id == bindparam("found_project"),
)
_REOPEN = update(audit_findings).where(*_ONE_FINDING).values(opened_at=bindparam("now"), closed_at=None)
_CLOSE = update(audit_findings).where(*_ONE_FINDING).values(closed_at=bindparam("now"))

Place = tuple[int, int]
"""A user's id and a project's."""


@dataclass(frozen=True, slots=True)
class Audited:
    """What one call did: findings opened (for the first time or again) and closed."""

    opened: int
    closed: int


def outside(grants: Iterable[tuple[int, int, int | None]], allowed: Collection[int]) -> set[Place]:
    """Where a grant (user, project, parent of the project) is on a project with no allowed parent."""
    return {(user_id, project_id) for user_id, project_id, parent_id in grants if parent_id not in allowed}


def audit(connection: Connection, user_ids: Sequence[int], at: float) -> Audited:
    """Compare the grants of `user_ids` with the allowed parents at the time `at` (epoch seconds).

    Works in the caller's transaction; nothing is committed here.
    """
    ids = {"ids": user_ids}
    connection.execute(_USERS, ids)
    allowed = set(connection.execute(select(allowed_parents.c.parent_id)).scalars())
    grants = connection.execute(_GRANTS, ids)
    wrong = outside(((user, project, parent) for user, project, parent in grants), allowed)
    known = {(user, project): closed_at for user, project, closed_at in connection.execute(_FINDINGS, ids)}
    still_open = {place for place, closed_at in known.items() if closed_at is None}
    opened, closed = sorted(wrong - still_open), sorted(still_open - wrong)
    at_ms = int(at * 1000)
    _open(connection, [place for place in opened if place not in known], at_ms)
    _change(connection, _REOPEN, [place for place in opened if place in known], at_ms)
    _change(connection, _CLOSE, closed, at_ms)
    _log(connection, opened, closed, at_ms)
    return Audited(opened=len(opened), closed=len(closed))


def _open(connection: Connection, places: Sequence[Place], at: int) -> None:
    if places:
        rows = [{"user_id": user, "project_id": project, "opened_at": at} for user, project in places]
        connection.execute(insert(audit_findings), rows)


def _change(connection: Connection, statement: Update, places: Sequence[Place], at: int) -> None:
    if places:
        rows = [{"found_user": user, "found_project": project, "now": at} for user, project in places]
        connection.execute(statement, rows)


def _log(connection: Connection, opened: Sequence[Place], closed: Sequence[Place], at: int) -> None:
    rows = [_audit_entry("open_finding", place, None, "open", at) for place in opened]
    rows += [_audit_entry("close_finding", place, "open", None, at) for place in closed]
    if rows:
        connection.execute(insert(audit_log), rows)


def _audit_entry(action: str, place: Place, old: str | None, new: str | None, at: int) -> dict[str, object]:
    user_id, project_id = place
    where = f"users/{user_id}/projects/{project_id}"
    return {"at": at, "actor": ACTOR, "action": action, "object": where, "old": old, "new": new}
