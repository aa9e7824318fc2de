"""The independent check of directories, exports, workspaces and access requests: SQL that says what is wrong.

It knows the tables and nothing of the rules in Python, as governance.verify does for the jobs over users. Each
check answers with the first `EXAMPLES` faults, in words; with none when all is as it must be. For SQLite and
PostgreSQL.
"""

from sqlalchemy import Connection, text

from governance.verify import EXAMPLES

Faults = tuple[str, ...]


def check_directory(connection: Connection, source: str) -> Faults:
    """Judge what synchronizeDirectory left: users, groups and memberships are those of the directory, and no more."""
    return _judge(connection, _DIRECTORY, source=source)


def remember_exports(connection: Connection) -> None:
    """Keep what was stamped and sent before an export, in a table of this check alone."""
    connection.execute(text("DROP TABLE IF EXISTS check_exports"))
    connection.execute(text(f"CREATE TABLE check_exports AS {_EXPORTS}"))


def check_exports(connection: Connection, *, backfill: bool = False) -> Faults:
    """Judge what one exportToRdr sent and stamped since `remember_exports`."""
    return _judge(connection, _EXPORTED, backfill=backfill)


def check_workspaces(connection: Connection) -> Faults:
    """Judge what createWorkspace left: one workspace and one bucket for each success, and nothing beside them."""
    return _judge(connection, _WORKSPACES)


def check_requests(connection: Connection, at: float) -> Faults:
    """Judge access requests at the time `at` (epoch seconds): a temporary group for those in force, none for others."""
    return _judge(connection, _REQUESTS, at=int(at * 1000))


def _judge(connection: Connection, faults: str, **parameters: object) -> Faults:
    query = f"{faults} SELECT what FROM faults ORDER BY what LIMIT {EXAMPLES}"  # noqa: S608 - constants of this module
    return tuple(connection.execute(text(query), parameters).scalars())


_DIRECTORY = """
    WITH linked AS (
        SELECT e.dn, e.kind, e.attributes ->> 'mail' AS mail, e.source || '/' || (e.attributes ->> 'cn') AS name,
               l.kind AS linked_kind, l.object_id
        FROM directory_entries e LEFT JOIN ldap_links l ON l.source = e.source AND l.uuid = e.uuid
        WHERE e.source = :source
    ),
    must AS (
        SELECT g.object_id AS group_id, u.object_id AS user_id
        FROM directory_members m
        JOIN linked g ON g.dn = m.dn
        JOIN linked u ON u.dn = m.member AND u.kind = 'user'
        WHERE m.source = :source
    ),
    held AS (
        SELECT group_id, user_id FROM memberships
        WHERE source = 'ldap' AND group_id IN (SELECT object_id FROM linked WHERE kind = 'group')
    ),
    faults AS (
        SELECT dn || ' is not the user ' || mail AS what
        FROM linked LEFT JOIN users u ON u.id = object_id AND linked_kind = 'user' AND u.email = mail
        WHERE kind = 'user' AND u.id IS NULL
        UNION ALL
        SELECT dn || ' is not the group ' || linked.name
        FROM linked LEFT JOIN groups g ON g.id = object_id AND linked_kind = 'group' AND g.name = linked.name
        WHERE kind = 'group' AND g.id IS NULL
        UNION ALL
        SELECT 'user ' || user_id || ' is not in group ' || group_id
        FROM (SELECT group_id, user_id FROM must EXCEPT SELECT group_id, user_id FROM held) AS lacking
        UNION ALL
        SELECT 'user ' || user_id || ' is in group ' || group_id || ' unduly'
        FROM (SELECT group_id, user_id FROM held EXCEPT SELECT group_id, user_id FROM must) AS undue
        UNION ALL
        SELECT l.dn || ' is gone from the directory, and still linked' FROM ldap_links l
        WHERE l.source = :source AND l.uuid NOT IN (SELECT uuid FROM directory_entries WHERE source = :source)
    )
    """

_EXPORTS = """
    SELECT 'user' AS entity_type, u.id AS entity_id, u.last_modified, 1 AS mappable,
           coalesce(e.last_modified, -1) AS stamp, coalesce(s.received, 0) AS received
    FROM users u
    LEFT JOIN rdr_export e ON e.entity_type = 'user' AND e.entity_id = u.id
    LEFT JOIN rdr_sink_users s ON s.id = u.id
    UNION ALL
    SELECT 'workspace', w.id, w.last_modified, CASE WHEN w.creator_id IS NULL THEN 0 ELSE 1 END,
           coalesce(e.last_modified, -1), coalesce(s.received, 0)
    FROM workspaces w
    LEFT JOIN rdr_export e ON e.entity_type = 'workspace' AND e.entity_id = w.id
    LEFT JOIN rdr_sink_workspaces s ON s.id = w.id
    """

_EXPORTED = f"""
    WITH must AS (
        SELECT entity_type, entity_id, last_modified, stamp, received,
               CASE WHEN mappable = 1 AND (:backfill OR stamp < last_modified) THEN 1 ELSE 0 END AS sent
        FROM check_exports
    ),
    compared AS (
        SELECT must.entity_type || ' ' || must.entity_id AS entity,
               must.sent, found.received - must.received AS times, found.stamp,
               CASE WHEN must.sent = 1 AND NOT :backfill THEN must.last_modified ELSE must.stamp END AS due
        FROM must JOIN ({_EXPORTS}) AS found
          ON found.entity_type = must.entity_type AND found.entity_id = must.entity_id
    ),
    faults AS (
        SELECT entity || ' was sent ' || times || ' times instead of ' || sent AS what FROM compared
        WHERE times <> sent
        UNION ALL
        SELECT entity || ' is stamped ' || stamp || ' instead of ' || due FROM compared WHERE stamp <> due
    )
    """  # noqa: S608 - put together from constants of this module

_WORKSPACES = """
    WITH faults AS (
        SELECT 'operation ' || o.id || ' has no workspace that can be used' AS what
        FROM workspace_operations o
        LEFT JOIN workspaces w ON w.id = o.workspace_id AND w.state = 'active'
        LEFT JOIN storage_buckets b ON b.name = w.bucket
        WHERE o.state = 'SUCCESS' AND b.name IS NULL
        UNION ALL
        SELECT 'operation ' || o.id || ' is ' || o.state || ' with a workspace'
        FROM workspace_operations o JOIN workspaces w ON w.id = o.workspace_id
        WHERE o.state IN ('QUEUED', 'ERROR') OR (o.state = 'PROCESSING' AND w.state = 'active')
        UNION ALL
        SELECT 'the owner of operation ' || o.id || ' does not own its workspace'
        FROM workspace_operations o
        LEFT JOIN users u ON u.email = o.owner
        LEFT JOIN workspace_members m ON m.workspace_id = o.workspace_id AND m.user_id = u.id AND m.role = 'owner'
        WHERE o.workspace_id IS NOT NULL AND m.user_id IS NULL
        UNION ALL
        SELECT 'workspace ' || id || ' was made for no operation' FROM workspaces
        WHERE (state = 'creating' OR bucket IS NOT NULL)
          AND id NOT IN (SELECT workspace_id FROM workspace_operations WHERE workspace_id IS NOT NULL)
        UNION ALL
        SELECT 'the bucket ' || name || ' belongs to no workspace' FROM storage_buckets
        WHERE name NOT IN (SELECT bucket FROM workspaces WHERE bucket IS NOT NULL)
    )
    """

_REQUESTS = """
    WITH named AS (
        SELECT r.id, r.user_id, r.expires_at, r.state, g.id AS group_id,
               CASE WHEN r.state = 'approved' AND r.expires_at > :at THEN 1 ELSE 0 END AS in_force
        FROM access_requests r LEFT JOIN groups g ON g.name = '__access_req_' || r.id
    ),
    faults AS (
        SELECT 'request ' || n.id || ' is in force without its membership' AS what
        FROM named n
        LEFT JOIN memberships m ON m.group_id = n.group_id AND m.user_id = n.user_id
             AND m.source = 'request' AND m.expires_at = n.expires_at
        WHERE n.in_force = 1 AND m.user_id IS NULL
        UNION ALL
        SELECT 'request ' || id || ' is not in force, and its group is there' FROM named
        WHERE in_force = 0 AND group_id IS NOT NULL
        UNION ALL
        SELECT 'request ' || id || ' is past its time, and still approved' FROM named
        WHERE in_force = 0 AND state = 'approved'
    )
    """
