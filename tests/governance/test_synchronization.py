"""A batch of users is brought in line with their modules."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event, insert, select, update

from governance import seed, verify
from governance.access import CONTROLLED, DAY_MS, REGISTERED
from governance.schema import open_database
from governance.synchronization import Synchronized, synchronize
from governance.tables import audit_log, user_messages, user_modules, user_tiers, users
from governance.users import ids_after
from headrace.database import Database

NOW = 1_790_000_000.0
NOW_MS = int(NOW * 1000)
BOTH = (REGISTERED, CONTROLLED)


def run(database: Database, *user_ids: int, at: float = NOW) -> Synchronized:
    with database.write() as connection:
        return synchronize(connection, user_ids, at)


def change_module(database: Database, user_id: int, module: str, **values: int | None) -> None:
    with database.write() as connection:
        statement = update(user_modules).where(user_modules.c.user_id == user_id, user_modules.c.module == module)
        connection.execute(statement.values(**values))


def test_a_module_expired_yesterday_takes_the_tiers_and_leaves_a_trace(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=BOTH)
    change_module(database, 1, "DATA_USER_CODE_OF_CONDUCT", expires_at=NOW_MS - DAY_MS)
    assert run(database, 1) == Synchronized(users=1, taken=2, given=0)
    assert rows(user_tiers) == []
    trace = [(row["object"], row["action"], row["old"], row["new"], row["at"]) for row in rows(audit_log)]
    assert trace == [
        ("users/1", "take_tier", CONTROLLED, None, NOW_MS),
        ("users/1", "take_tier", REGISTERED, None, NOW_MS),
    ]
    messages = rows(user_messages)
    assert {row["recipient"] for row in messages} == {"user1@example.org"}
    assert {row["state"] for row in messages} == {"pending"}
    assert len(messages) == 2


def test_two_factor_removed_by_hand_is_detected(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=(REGISTERED,))
    change_module(database, 1, "TWO_FACTOR_AUTH", completed_at=None, expires_at=None)
    assert run(database, 1).taken == 1
    assert rows(user_tiers) == []


def test_a_compliant_user_is_not_touched(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=BOTH)
    before = rows(user_tiers)
    assert run(database, 1) == Synchronized(users=1, taken=0, given=0)
    assert rows(user_tiers) == before
    assert rows(audit_log) == rows(user_messages) == []


def test_an_earned_tier_is_given_without_a_message(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=(REGISTERED,))
    assert run(database, 1) == Synchronized(users=1, taken=0, given=1)
    given = [row for row in rows(user_tiers) if row["tier"] == CONTROLLED]
    assert given == [{"user_id": 1, "tier": CONTROLLED, "since": NOW_MS}]
    assert [row["new"] for row in rows(audit_log)] == [CONTROLLED]
    assert rows(user_messages) == []


def test_only_the_tier_that_needs_the_module_is_taken(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=BOTH)
    change_module(database, 1, "CT_COMPLIANCE_TRAINING", expires_at=NOW_MS - DAY_MS)
    assert run(database, 1).taken == 1
    assert [row["tier"] for row in rows(user_tiers)] == [REGISTERED]


def test_a_bypass_keeps_the_tier_and_a_disabled_user_loses_it(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=BOTH)
    change_module(database, 1, "PROFILE_CONFIRMATION", expires_at=NOW_MS - DAY_MS, bypassed_at=NOW_MS)
    add_user(2, tiers=BOTH, disabled=True)
    assert run(database, 1, 2) == Synchronized(users=2, taken=2, given=0)
    assert {row["user_id"] for row in rows(user_tiers)} == {1}


def test_a_second_loss_of_the_same_tier_is_a_message_of_its_own(
    database: Database, add_user: Callable[..., None], rows: Callable[..., list[dict[str, Any]]]
):
    add_user(1, tiers=BOTH)
    for hours in range(3):
        lost = hours % 2 == 0
        change_module(database, 1, "TWO_FACTOR_AUTH", completed_at=None if lost else NOW_MS)
        run(database, 1, at=NOW + hours * 3600)
    assert len(rows(user_messages)) == 4
    assert len(rows(audit_log)) == 6


def test_ids_of_users_that_are_gone_are_passed_over(database: Database, add_user: Callable[..., None]):
    add_user(1)
    assert run(database, 1, 2).users == 1
    assert run(database) == Synchronized(users=0, taken=0, given=0)


def test_a_second_call_changes_nothing_and_the_sql_check_agrees(database: Database):
    seed.fill(database, 700, seed=5, at=NOW)
    with database.write() as connection:
        verify.remember(connection)
        user_ids = list(ids_after(connection, None))
        first = synchronize(connection, user_ids, NOW)
        second = synchronize(connection, user_ids, NOW)
        assert verify.check_access(connection, NOW) == verify.Verdict(0, ())
        assert verify.count_changes(connection) == {"take_tier": first.taken, "give_tier": first.given}
    assert first.taken > 50
    assert first.given > 20
    assert second == Synchronized(users=700, taken=0, given=0)


def test_the_number_of_statements_does_not_grow_with_the_batch(database: Database):
    seed.fill(database, 300, seed=1, at=NOW)
    statements: list[str] = []
    with database.write() as connection:
        event.listen(connection, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        synchronize(connection, range(1, 301), NOW)
        assert len(statements) == 8
        statements.clear()
        synchronize(connection, range(1, 301), NOW)
        assert len(statements) == 4


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with open_database(f"sqlite:///{tmp_path_factory.mktemp('scratch') / 'application.db'}") as database:
        yield database


module_states = st.dictionaries(
    st.sampled_from([module.name for module in seed.CONTROLLED_MODULES]),
    st.tuples(*[st.none() | st.integers(NOW_MS - 2 * DAY_MS, NOW_MS + 2 * DAY_MS)] * 3),
)
people = st.lists(st.tuples(st.booleans(), module_states, st.sets(st.sampled_from(BOTH))), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(people)
def test_whatever_the_users_the_sql_check_finds_the_same_tiers(
    scratch: Database,
    drawn: list[tuple[bool, dict[str, tuple[int | None, int | None, int | None]], set[str]]],
):
    with scratch.write() as connection:
        example = connection.begin_nested()
        for number, (disabled, modules, tiers) in enumerate(drawn, start=1):
            person = {"id": number, "email": str(number), "disabled": disabled, "last_modified": 0}
            connection.execute(insert(users), [person])
            for module, (completed_at, bypassed_at, expires_at) in modules.items():
                state = {"completed_at": completed_at, "bypassed_at": bypassed_at, "expires_at": expires_at}
                connection.execute(insert(user_modules), [{"user_id": number, "module": module, **state}])
            for tier in tiers:
                connection.execute(insert(user_tiers), [{"user_id": number, "tier": tier, "since": 1}])
        verify.remember(connection)
        synchronize(connection, range(1, len(drawn) + 1), NOW)
        assert verify.check_access(connection, NOW).faults == ()
        holders = connection.execute(select(user_tiers.c.user_id)).scalars().all()
        assert not any(drawn[user_id - 1][0] for user_id in holders)
        example.rollback()
