"""The independent check of the two jobs: SQL that derives by itself what must be, and names who is wrong.

It knows the tables and nothing of the rules in Python. `remember` keeps what was there before a job; afterwards
`check_access` and `check_projects` compare tiers or findings, the audit log and the messages with what the job
had to make of it. For SQLite and PostgreSQL.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, text

EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one user; user 0 where the database does not know whose it is."""

    user_id: int
    what: str

    def __str__(self) -> str:
        return f"user {self.user_id}: {self.what}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many users are wrong, and the first `EXAMPLES` faults by user id."""

    wrong_users: int
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.wrong_users


def remember(connection: Connection) -> None:
    """Keep the tiers, the open findings and the ends of audit log and messages, in tables of this check alone."""
    for table, rows in _KEPT.items():
        connection.execute(text(f"DROP TABLE IF EXISTS {table}"))
        connection.execute(text(f"CREATE TABLE {table} AS {rows}"))


def check_access(connection: Connection, at: float) -> Verdict:
    """Judge what synchronizeUserAccess left since `remember`, as of the time `at` (epoch seconds)."""
    return _judge(connection, _ACCESS, at=int(at * 1000))


def check_projects(connection: Connection) -> Verdict:
    """Judge what auditProjectAccess left since `remember`."""
    return _judge(connection, _PROJECTS)


def count_changes(connection: Connection) -> dict[str, int]:
    """How many rows of each action the audit log got since `remember`."""
    rows = connection.execute(
        text("SELECT action, count(*) FROM audit_log WHERE id > (SELECT audit_id FROM check_marks) GROUP BY action")
    )
    return {str(action): int(count) for action, count in rows}


def _judge(connection: Connection, faults: str, **parameters: int) -> Verdict:
    query = f"""
        WITH {faults}
        SELECT user_id, what, (SELECT count(DISTINCT user_id) FROM faults)
        FROM faults ORDER BY user_id, what LIMIT {EXAMPLES}
        """  # noqa: S608 - put together from constants of this module
    rows = connection.execute(text(query), parameters).all()
    return Verdict(
        wrong_users=rows[0][2] if rows else 0,
        faults=tuple(Fault(user_id, what) for user_id, what, _ in rows),
    )


_KEPT = {
    "check_tiers": "SELECT user_id, tier, since FROM user_tiers",
    "check_findings": "SELECT user_id, project_id FROM audit_findings WHERE closed_at IS NULL",
    "check_marks": """
        SELECT (SELECT coalesce(max(id), 0) FROM audit_log) AS audit_id,
               (SELECT coalesce(max(id), 0) FROM user_messages) AS message_id
        """,
}

_ACCESS = """
    valid AS (
        SELECT user_id, module FROM user_modules
        WHERE bypassed_at IS NOT NULL
           OR (completed_at IS NOT NULL AND (expires_at IS NULL OR expires_at > :at))
    ),
    must AS (
        SELECT u.id AS user_id, t.name AS tier FROM users u CROSS JOIN access_tiers t
        WHERE NOT u.disabled AND NOT EXISTS (
            SELECT 1 FROM tier_requirements r WHERE r.tier = t.name AND NOT EXISTS (
                SELECT 1 FROM valid v WHERE v.user_id = u.id AND v.module = r.module))
    ),
    lacking AS (SELECT user_id, tier FROM must EXCEPT SELECT user_id, tier FROM user_tiers),
    undue AS (SELECT user_id, tier FROM user_tiers EXCEPT SELECT user_id, tier FROM must),
    given AS (SELECT user_id, tier FROM must EXCEPT SELECT user_id, tier FROM check_tiers),
    taken AS (SELECT user_id, tier FROM check_tiers EXCEPT SELECT user_id, tier FROM must),
    again AS (
        SELECT b.user_id, b.tier FROM check_tiers b
        JOIN user_tiers t ON t.user_id = b.user_id AND t.tier = b.tier WHERE t.since <> b.since
    ),
    changes AS (
        SELECT user_id, 'take_tier' AS action, tier FROM taken
        UNION ALL SELECT user_id, 'give_tier', tier FROM given
    ),
    logged AS (
        SELECT CAST(substr(object, 7) AS BIGINT) AS user_id, action, coalesce(old, new) AS tier, count(*) AS times
        FROM audit_log
        WHERE id > (SELECT audit_id FROM check_marks) AND action IN ('take_tier', 'give_tier')
        GROUP BY object, action, coalesce(old, new)
    ),
    unlogged AS (SELECT user_id, action, tier FROM changes EXCEPT SELECT user_id, action, tier FROM logged),
    overlogged AS (SELECT user_id, action, tier FROM logged EXCEPT SELECT user_id, action, tier FROM changes),
    due AS (
        SELECT 'tier-taken/' || b.user_id || '/' || b.tier || '/' || b.since AS message_key, u.email AS recipient
        FROM taken t
        JOIN check_tiers b ON b.user_id = t.user_id AND b.tier = t.tier
        JOIN users u ON u.id = b.user_id
    ),
    written AS (
        SELECT message_key, recipient FROM user_messages WHERE id > (SELECT message_id FROM check_marks)
    ),
    unwritten AS (SELECT message_key, recipient FROM due EXCEPT SELECT message_key, recipient FROM written),
    overwritten AS (SELECT message_key, recipient FROM written EXCEPT SELECT message_key, recipient FROM due),
    faults AS (
        SELECT user_id, 'lacks the tier ' || tier AS what FROM lacking
        UNION ALL SELECT user_id, 'holds the tier ' || tier || ' unduly' FROM undue
        UNION ALL SELECT user_id, 'was right, and got the tier ' || tier || ' anew' FROM again
        UNION ALL SELECT user_id, action || ' ' || tier || ' is not in the audit log' FROM unlogged
        UNION ALL SELECT user_id, action || ' ' || tier || ' in the audit log, without reason' FROM overlogged
        UNION ALL SELECT user_id, action || ' ' || tier || ' more than once in the audit log' FROM logged
            WHERE times > 1
        UNION ALL SELECT coalesce(u.id, 0), 'no message ' || message_key
            FROM unwritten LEFT JOIN users u ON u.email = recipient
        UNION ALL SELECT coalesce(u.id, 0), 'message ' || message_key || ' without reason'
            FROM overwritten LEFT JOIN users u ON u.email = recipient
    )
    """

_PROJECTS = """
    must AS (
        SELECT g.user_id, g.project_id FROM project_grants g JOIN projects p ON p.id = g.project_id
        WHERE p.parent_id IS NULL OR p.parent_id NOT IN (SELECT parent_id FROM allowed_parents)
        GROUP BY g.user_id, g.project_id
    ),
    found AS (SELECT user_id, project_id FROM audit_findings WHERE closed_at IS NULL),
    missing AS (SELECT user_id, project_id FROM must EXCEPT SELECT user_id, project_id FROM found),
    undue AS (SELECT user_id, project_id FROM found EXCEPT SELECT user_id, project_id FROM must),
    opened AS (SELECT user_id, project_id FROM must EXCEPT SELECT user_id, project_id FROM check_findings),
    closed AS (SELECT user_id, project_id FROM check_findings EXCEPT SELECT user_id, project_id FROM must),
    changes AS (
        SELECT 'open_finding' AS action, 'users/' || user_id || '/projects/' || project_id AS object FROM opened
        UNION ALL SELECT 'close_finding', 'users/' || user_id || '/projects/' || project_id FROM closed
    ),
    logged AS (
        SELECT action, object, count(*) AS times FROM audit_log
        WHERE id > (SELECT audit_id FROM check_marks) AND action IN ('open_finding', 'close_finding')
        GROUP BY action, object
    ),
    misreported AS (
        SELECT action, object, 'is not in the audit log' AS how
        FROM (SELECT action, object FROM changes EXCEPT SELECT action, object FROM logged) AS a
        UNION ALL SELECT action, object, 'in the audit log, without reason'
        FROM (SELECT action, object FROM logged EXCEPT SELECT action, object FROM changes) AS b
        UNION ALL SELECT action, object, 'more than once in the audit log' FROM logged WHERE times > 1
    ),
    faults AS (
        SELECT user_id, 'has no finding for project ' || project_id AS what FROM missing
        UNION ALL SELECT user_id, 'has an open finding for project ' || project_id || ' unduly' FROM undue
        UNION ALL SELECT coalesce(f.user_id, 0), action || ' of ' || object || ' ' || how
            FROM misreported
            LEFT JOIN audit_findings f ON object = 'users/' || f.user_id || '/projects/' || f.project_id
    )
    """
