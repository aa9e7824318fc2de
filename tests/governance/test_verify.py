"""The independent check names the user who is wrong."""

from collections.abc import Callable

import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from governance import seed, verify
from governance.project_audit import audit
from governance.synchronization import synchronize
from governance.tables import audit_findings, audit_log, user_messages, user_modules, user_tiers
from governance.users import ids_after, ids_with_projects_after
from headrace.database import Database

NOW = 1_790_000_000.0


@pytest.fixture
def synchronized(database: Database) -> Database:
    """500 users after the job; nothing is wrong."""
    seed.fill(database, 500, seed=3, at=NOW)
    with database.write() as connection:
        verify.remember(connection)
        synchronize(connection, list(ids_after(connection, None)), NOW)
        audit(connection, list(ids_with_projects_after(connection, None)), NOW)
        assert verify.check_access(connection, NOW).ok
        assert verify.check_projects(connection).ok
    return database


def _holder(connection: Connection) -> int:
    return connection.execute(select(user_tiers.c.user_id).order_by(user_tiers.c.since).limit(1)).scalar_one()


def _loser(connection: Connection) -> int:
    taken = select(audit_log.c.object).where(audit_log.c.action == "take_tier").limit(1)
    return int(connection.execute(taken).scalar_one().removeprefix("users/"))


def _take_a_tier(connection: Connection) -> int:
    user_id = _holder(connection)
    connection.execute(delete(user_tiers).where(user_tiers.c.user_id == user_id))
    return user_id


def _give_a_tier(connection: Connection) -> int:
    user_id = _loser(connection)
    connection.execute(delete(user_tiers).where(user_tiers.c.user_id == user_id))
    rows = [{"user_id": user_id, "tier": "controlled", "since": 1}]
    connection.execute(insert(user_tiers), rows)
    return user_id


def _give_a_kept_tier_anew(connection: Connection) -> int:
    kept = text("SELECT t.user_id FROM user_tiers t JOIN check_tiers c USING (user_id, tier) LIMIT 1")
    user_id: int = connection.execute(kept).scalar_one()
    connection.execute(update(user_tiers).where(user_tiers.c.user_id == user_id).values(since=7))
    return user_id


def _expire_a_module(connection: Connection) -> int:
    user_id = _holder(connection)
    mine = (user_modules.c.user_id == user_id, user_modules.c.expires_at.is_not(None))
    connection.execute(update(user_modules).where(*mine).values(expires_at=1, bypassed_at=None))
    return user_id


def _forget_the_log(connection: Connection) -> int:
    user_id = _loser(connection)
    connection.execute(delete(audit_log).where(audit_log.c.object == f"users/{user_id}"))
    return user_id


def _log_twice(connection: Connection) -> int:
    user_id = _loser(connection)
    columns = [audit_log.c[name] for name in ("at", "actor", "action", "object", "old", "new")]
    mine = select(*columns).where(audit_log.c.object == f"users/{user_id}")
    connection.execute(insert(audit_log).from_select([column.name for column in columns], mine))
    return user_id


def _lose_a_message(connection: Connection) -> int:
    user_id = _loser(connection)
    mine = user_messages.c.recipient == f"user{user_id}@example.org"
    connection.execute(delete(user_messages).where(mine))
    return user_id


def _write_a_message_too_many(connection: Connection) -> int:
    user_id = _holder(connection)
    message = {"message_key": "x", "recipient": f"user{user_id}@example.org", "body": "", "created_at": 1}
    connection.execute(insert(user_messages), [message])
    return user_id


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (_take_a_tier, "lacks the tier"),
        (_give_a_tier, "holds the tier controlled unduly"),
        (_give_a_kept_tier_anew, "was right, and got the tier"),
        (_expire_a_module, "holds the tier"),
        (_forget_the_log, "is not in the audit log"),
        (_log_twice, "more than once in the audit log"),
        (_lose_a_message, "no message"),
        (_write_a_message_too_many, "without reason"),
    ],
)
def test_harm_done_to_one_user_is_found_and_named(synchronized: Database, harm: Callable[[Connection], int], says: str):
    with synchronized.write() as connection:
        user_id = harm(connection)
        verdict = verify.check_access(connection, NOW)
    assert not verdict.ok
    assert verdict.wrong_users == 1
    assert {fault.user_id for fault in verdict.faults} == {user_id}
    assert any(says in fault.what for fault in verdict.faults)
    assert str(verdict.faults[0]).startswith(f"user {user_id}: ")


def _open_finding(connection: Connection) -> tuple[int, int]:
    row = connection.execute(select(audit_findings).where(audit_findings.c.closed_at.is_(None)).limit(1)).one()
    return row.id, row.user_id


def test_a_finding_that_is_gone_is_named(synchronized: Database):
    with synchronized.write() as connection:
        finding, user_id = _open_finding(connection)
        connection.execute(delete(audit_findings).where(audit_findings.c.id == finding))
        verdict = verify.check_projects(connection)
    assert [fault.user_id for fault in verdict.faults] == [user_id]


def test_a_finding_that_should_be_closed_is_named(synchronized: Database):
    with synchronized.write() as connection:
        _, user_id = _open_finding(connection)
        connection.execute(text("UPDATE projects SET parent_id = 101"))
        verdict = verify.check_projects(connection)
    assert user_id in {fault.user_id for fault in verdict.faults}
    assert any("unduly" in fault.what for fault in verdict.faults)


def test_a_finding_missing_from_the_log_is_named(synchronized: Database):
    with synchronized.write() as connection:
        where = connection.execute(
            select(audit_log.c.object).where(audit_log.c.action == "open_finding").limit(1)
        ).scalar_one()
        connection.execute(delete(audit_log).where(audit_log.c.object == where))
        verdict = verify.check_projects(connection)
    assert [fault.user_id for fault in verdict.faults] == [int(where.split("/")[1])]


def test_the_examples_are_bounded_and_all_wrong_users_are_counted(synchronized: Database):
    with synchronized.write() as connection:
        holders = connection.execute(text("SELECT count(DISTINCT user_id) FROM user_tiers")).scalar_one()
        connection.execute(delete(user_tiers))
        verdict = verify.check_access(connection, NOW)
    assert verdict.wrong_users == holders
    assert len(verdict.faults) == verify.EXAMPLES
