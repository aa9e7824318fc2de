"""Requests for access that ends by itself: pending, then approved, then revoked by a person or expired.

An approved request is a group of its own with one member; both are gone when the request ends.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select, update

from governance.tables import access_requests, groups, memberships, users

PENDING, APPROVED, REVOKED, EXPIRED = "pending", "approved", "revoked", "expired"
APPROVERS = "approvers"
"""The group whose members decide."""
HOUR_MS = 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Request:
    """An access request for some `hours`; `requester` is an e-mail, `expiry_run` the run that ends the access."""

    id: int
    requester: str
    hours: int
    state: str
    expiry_run: str | None


def ask(connection: Connection, email: str, reason: str, hours: int, at: float) -> int:
    """Write a request of the user with this e-mail for so many hours, at the time `at` (epoch seconds); its id."""
    user_id = connection.execute(select(users.c.id).where(users.c.email == email)).scalar_one()
    row = {"user_id": user_id, "reason": reason, "hours": hours, "state": PENDING, "created_at": int(at * 1000)}
    return int(connection.execute(insert(access_requests).values(row).returning(access_requests.c.id)).scalar_one())


def find(connection: Connection, request_id: int) -> Request | None:
    """One request."""
    here = access_requests.c
    mine = select(here.id, users.c.email, here.hours, here.state, here.expiry_run).join(users)
    row = connection.execute(mine.where(here.id == request_id)).one_or_none()
    return None if row is None else Request(*row)


def may_decide(connection: Connection, email: str, request: Request) -> bool:
    """Whether this user approves: a member of `APPROVERS`, and never for a request of one's own."""
    held = users.join(memberships).join(groups)
    mine = select(users.c.id).select_from(held).where(groups.c.name == APPROVERS, users.c.email == email)
    return email != request.requester and connection.execute(mine).first() is not None


def approve(connection: Connection, request: Request, decided_by: str, at: float) -> float | None:
    """Give the access from `at` (epoch seconds) on; when it ends. None when the request is not pending."""
    expires_at = int(at * 1000) + request.hours * HOUR_MS
    here = access_requests.c
    pending = update(access_requests).where(here.id == request.id, here.state == PENDING)
    decided = pending.values(state=APPROVED, decided_by=decided_by, expires_at=expires_at)
    user_id = connection.execute(decided.returning(here.user_id)).scalar_one_or_none()
    if user_id is None:
        return None
    group = {"name": f"__access_req_{request.id}", "expires_at": expires_at}
    group_id = connection.execute(insert(groups).values(group).returning(groups.c.id)).scalar_one()
    member = {"group_id": group_id, "user_id": user_id, "source": "request", "expires_at": expires_at}
    connection.execute(insert(memberships), [member])
    connection.execute(update(access_requests).where(here.id == request.id).values(group_id=group_id))
    return expires_at / 1000


def expire_by(connection: Connection, request_id: int, run_id: str) -> None:
    """Keep the run that ends the access."""
    mine = access_requests.c.id == request_id
    connection.execute(update(access_requests).where(mine).values(expiry_run=run_id))


def end(connection: Connection, request_id: int, state: str) -> bool:
    """Take the access; `state` says how it ended. False when it is not approved, or has ended already."""
    here = access_requests.c
    approved = update(access_requests).where(here.id == request_id, here.state == APPROVED).values(state=state)
    group_id = connection.execute(approved.returning(here.group_id)).scalar_one_or_none()
    if group_id is None:
        return False
    connection.execute(delete(groups).where(groups.c.id == group_id))
    return True
