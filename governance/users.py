"""Streams of user ids for the jobs that go over users: in order, resumable, a page of rows in memory."""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, Select, select, union

from governance.tables import audit_findings, project_grants, users

PAGE = 2_000


def ids_after(connection: Connection, after: int | None) -> Iterator[int]:
    """All ids above `after` (None: all there are), ascending; disabled users too: they may hold a tier."""
    return _stream(connection, select(users.c.id), users.c.id, after)


def ids_with_projects_after(connection: Connection, after: int | None) -> Iterator[int]:
    """Ids above `after` of users with a grant on a project or an open finding, ascending, each once."""
    holders = union(
        select(project_grants.c.user_id.label("id")),
        select(audit_findings.c.user_id).where(audit_findings.c.closed_at.is_(None)),
    ).subquery()
    return _stream(connection, select(holders.c.id), holders.c.id, after)


def _stream(connection: Connection, query: Select[int], key: ColumnElement[int], after: int | None) -> Iterator[int]:
    if after is not None:
        query = query.where(key > after)
    # A splitter may leave in the middle; the cursor is closed with the generator.
    with connection.execute(query.order_by(key), execution_options={"yield_per": PAGE}).scalars() as ids:
        yield from ids
