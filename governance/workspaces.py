"""Workspaces, and the operations that make them.

An operation is QUEUED when it is asked for, PROCESSING once the workspace has its row, SUCCESS when the workspace
can be used, ERROR when it cannot be made. A row of the operation leads to the one workspace that it makes, so the
work may be begun any number of times.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, delete, insert, select, update

from governance.tables import users, workspace_members, workspace_operations, workspaces

QUEUED, PROCESSING, SUCCESS, ERROR = "QUEUED", "PROCESSING", "SUCCESS", "ERROR"
OWNER, MEMBER = "owner", "member"


class UnknownMember(LookupError):
    """A workspace is asked for with a member who is no user."""


def ask(connection: Connection, owner: str, request: Mapping[str, Any], at: float) -> str:
    """Write an operation for `owner` (an e-mail) at the time `at` (epoch seconds); its id.

    `request` has the workspace's `name`, and `members`: e-mails.
    """
    operation_id = uuid4().hex
    row = {"id": operation_id, "owner": owner, "request": dict(request), "state": QUEUED, "created_at": int(at * 1000)}
    connection.execute(insert(workspace_operations), [row])
    return operation_id


def show(connection: Connection, operation_id: str, caller: str) -> dict[str, Any] | None:
    """The operation as a JSON object, with the workspace that it made; None when it is not the caller's."""
    here = workspace_operations.c
    mine = select(here.state, here.error, here.workspace_id).where(here.id == operation_id, here.owner == caller)
    row = connection.execute(mine).one_or_none()
    if row is None:
        return None
    shown: dict[str, Any] = {"operationId": operation_id, "state": row.state}
    if row.state == SUCCESS:
        shown["workspace"] = _show_workspace(connection, row.workspace_id)
    if row.state == ERROR:
        shown["error"] = row.error
    return shown


def begin(connection: Connection, operation_id: str, at: float) -> int:
    """Write the workspace with its members, if that is still to be done; its id. Raises UnknownMember."""
    here = workspace_operations.c
    row = connection.execute(select(workspace_operations).where(here.id == operation_id)).one()
    if row.workspace_id is not None:
        return int(row.workspace_id)
    owner_id, *member_ids = _user_ids(connection, [row.owner, *row.request["members"]])
    workspace = {
        "name": row.request["name"],
        "creator_id": owner_id,
        "state": "creating",
        "last_modified": int(at * 1000),
    }
    made = connection.execute(insert(workspaces).values(workspace).returning(workspaces.c.id))
    workspace_id: int = made.scalar_one()
    roles = dict.fromkeys(member_ids, MEMBER) | {owner_id: OWNER}
    members = [{"workspace_id": workspace_id, "user_id": user_id, "role": role} for user_id, role in roles.items()]
    connection.execute(insert(workspace_members), members)
    _change(connection, operation_id, state=PROCESSING, workspace_id=workspace_id)
    return workspace_id


def begun(connection: Connection, operation_id: str) -> int | None:
    """The id of the workspace that an operation has begun to make, or has made."""
    here = workspace_operations.c
    found: int | None = connection.execute(select(here.workspace_id).where(here.id == operation_id)).scalar_one()
    return found


def bucket_of(workspace_id: int) -> str:
    """What the storage of a workspace is called."""
    return f"workspace-{workspace_id}"


def finish(connection: Connection, operation_id: str, bucket: str) -> None:
    """The workspace has its storage, and can be used."""
    made = select(workspace_operations.c.workspace_id).where(workspace_operations.c.id == operation_id)
    mine = workspaces.c.id == made.scalar_subquery()
    connection.execute(update(workspaces).where(mine).values(bucket=bucket, state="active"))
    _change(connection, operation_id, state=SUCCESS)


def fail(connection: Connection, operation_id: str, error: str) -> None:
    """The workspace cannot be made: its rows are taken back, and its owner is told why; what is said first stays."""
    here = workspace_operations.c
    workspace_id = begun(connection, operation_id)
    unended = update(workspace_operations).where(here.id == operation_id, here.state.in_((QUEUED, PROCESSING)))
    if connection.execute(unended.values(state=ERROR, error=error, workspace_id=None)).rowcount:
        connection.execute(delete(workspaces).where(workspaces.c.id == workspace_id))


def _change(connection: Connection, operation_id: str, **values: object) -> None:
    connection.execute(update(workspace_operations).where(workspace_operations.c.id == operation_id).values(values))


def _user_ids(connection: Connection, emails: Sequence[str]) -> list[int]:
    """The ids of users, in the order of their e-mails."""
    found = select(users.c.email, users.c.id).where(users.c.email.in_(emails))
    ids: dict[str, int] = dict(connection.execute(found).all())
    for email in emails:
        if email not in ids:
            raise UnknownMember(f"There is no user {email}.")
    return [ids[email] for email in emails]


def _show_workspace(connection: Connection, workspace_id: int) -> dict[str, Any]:
    mine = select(workspaces.c.name, workspaces.c.bucket).where(workspaces.c.id == workspace_id)
    name, bucket = connection.execute(mine).one()
    members = (
        select(users.c.email, workspace_members.c.role)
        .join(workspace_members)
        .where(workspace_members.c.workspace_id == workspace_id)
        .order_by(users.c.email)
    )
    people = [{"email": email, "role": role} for email, role in connection.execute(members)]
    return {"id": workspace_id, "name": name, "bucket": bucket, "members": people}
