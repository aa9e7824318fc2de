"""Exports researchers and workspaces to the research data repository: those that changed since the last export.

What was sent is stamped with the `last_modified` that was sent, so a change made meanwhile is sent the next time.
A backfill sends everything and stamps nothing.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, and_, select

from governance.tables import (
    rdr_export,
    rdr_sink_users,
    rdr_sink_workspaces,
    users,
    workspace_members,
    workspaces,
)
from governance.upsert import upsert

USER = "user"
WORKSPACE = "workspace"
_TABLES = {USER: (users, rdr_sink_users), WORKSPACE: (workspaces, rdr_sink_workspaces)}


class Unmappable(ValueError):
    """An entity that the repository has no form for."""


def exports_after(
    connection: Connection, after: int | None, *, entity_type: str, backfill: bool
) -> Iterator[dict[str, Any]]:
    """`{id, backfill}` of what is to be exported, in order, behind the id `after`."""
    table, _ = _TABLES[entity_type]
    exported = and_(rdr_export.c.entity_type == entity_type, rdr_export.c.entity_id == table.c.id)
    ids = select(table.c.id).outerjoin(rdr_export, exported).order_by(table.c.id)
    if not backfill:
        ids = ids.where(rdr_export.c.last_modified.is_(None) | (rdr_export.c.last_modified < table.c.last_modified))
    if after is not None:
        ids = ids.where(table.c.id > after)
    for entity_id in connection.execute(ids).scalars():
        yield {"id": entity_id, "backfill": backfill}


def export_user(connection: Connection, user_id: int, *, backfill: bool, at: float) -> None:
    """Send one user at the time `at` (epoch seconds); nothing is sent of one who is gone."""
    user = connection.execute(select(users).where(users.c.id == user_id)).one_or_none()
    if user is None:
        return
    body = map_user(user.email, disabled=user.disabled)
    _send(connection, USER, user_id, body, user.last_modified, None if backfill else at)


def export_workspace(connection: Connection, workspace_id: int, *, backfill: bool, at: float) -> None:
    """Send one workspace at the time `at` (epoch seconds); nothing is sent of one that is gone. Raises Unmappable."""
    workspace = connection.execute(select(workspaces).where(workspaces.c.id == workspace_id)).one_or_none()
    if workspace is None:
        return
    here = workspace_members.c
    people = select(here.user_id).where(here.workspace_id == workspace_id).order_by(here.user_id)
    body = map_workspace(workspace.name, workspace.creator_id, connection.execute(people).scalars().all())
    _send(connection, WORKSPACE, workspace_id, body, workspace.last_modified, None if backfill else at)


def map_user(email: str, *, disabled: bool) -> dict[str, Any]:
    """A user as the repository wants one."""
    return {"email": email, "status": "disabled" if disabled else "active"}


def map_workspace(name: str, creator_id: int | None, member_ids: Sequence[int]) -> dict[str, Any]:
    """A workspace as the repository wants one. Raises Unmappable for one whose creator is gone."""
    if creator_id is None:
        raise Unmappable(f"The workspace {name} has no creator any more, and the repository asks for one.")
    return {"name": name, "creator": creator_id, "members": list(member_ids)}


def _send(
    connection: Connection, entity_type: str, entity_id: int, body: dict[str, Any], version: int, stamp: float | None
) -> None:
    sink: Table = _TABLES[entity_type][1]
    row = {"id": entity_id, "body": body, "last_modified": version, "received": 1}
    upsert(connection, sink, [row], received=sink.c.received + 1)
    if stamp is not None:
        exported = {"last_modified": version, "last_export": int(stamp * 1000)}
        upsert(connection, rdr_export, [{"entity_type": entity_type, "entity_id": entity_id, **exported}])
