"""The seed makes the same users for the same number, and some of every kind."""

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import func, insert, select

from governance import seed, verify
from governance.schema import open_database
from governance.tables import (
    directory_entries,
    metadata,
    project_grants,
    user_modules,
    user_tiers,
    users,
    workspace_members,
    workspaces,
)
from headrace.database import Database
from headrace.errors import StartError

NOW = 1_790_000_000.0


def fingerprint(database: Database) -> str:
    digest = hashlib.sha256()
    with database.read() as connection:
        for table in metadata.sorted_tables:
            for row in connection.execute(select(table).order_by(*table.c)):
                digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


def filled(folder: Path, name: str, count: int, number: int) -> str:
    with open_database(f"sqlite:///{folder / name}") as database:
        seed.fill(database, count, seed=number, at=NOW)
        return fingerprint(database)


def test_the_same_seed_makes_the_same_rows_and_another_seed_others(tmp_path: Path):
    first = filled(tmp_path, "a.db", 400, 1)
    assert filled(tmp_path, "b.db", 400, 1) == first
    assert filled(tmp_path, "c.db", 400, 2) != first


def test_sqlite_and_postgresql_get_the_same_rows(postgresql_url: str, tmp_path: Path):
    with open_database(postgresql_url) as database:
        seed.fill(database, 400, seed=1, at=NOW)
        assert fingerprint(database) == filled(tmp_path, "a.db", 400, 1)


def test_there_are_users_of_every_kind(database: Database):
    seed.fill(database, 2_000, seed=1, at=NOW)
    with database.write() as connection:
        verify.remember(connection)
        wrong = verify.check_access(connection, NOW).wrong_users
        assert connection.execute(select(func.count()).select_from(users)).scalar_one() == 2_000
        for column in (user_modules.c.bypassed_at, user_modules.c.expires_at, user_modules.c.completed_at):
            found = connection.execute(select(func.count(column)).select_from(user_modules)).scalar_one()
            assert 0 < found < connection.execute(select(func.count()).select_from(user_modules)).scalar_one()
        disabled = connection.execute(select(func.count()).where(users.c.disabled)).scalar_one()
        assert connection.execute(select(func.count()).select_from(project_grants)).scalar_one() > 300
    assert 30 < disabled < 100
    assert 200 < wrong < 600


def test_nothing_expires_within_a_week_of_the_seed_time(database: Database):
    seed.fill(database, 2_000, seed=1, at=NOW)
    soon = user_modules.c.expires_at.between(NOW * 1000 - seed.DAY_MS, NOW * 1000 + 7 * seed.DAY_MS)
    with database.read() as connection:
        assert connection.execute(select(user_modules.c.user_id).where(soon)).first() is None


def test_a_database_with_users_is_not_filled_again(database: Database):
    seed.fill(database, 10, seed=1, at=NOW)
    with pytest.raises(StartError, match="has users already"):
        seed.fill(database, 10, seed=1, at=NOW)


def test_the_shares_of_the_kinds_add_up_to_a_hundred():
    assert sum(profile.share for profile in seed.PROFILES) == 100


def test_no_users_is_a_database_too(database: Database):
    seed.fill(database, 0, seed=1, at=NOW)
    with database.read() as connection:
        assert connection.execute(select(user_tiers)).first() is None


def test_a_row_after_the_seed_gets_an_id_of_its_own(database: Database):
    seed.fill(database, 10, seed=1, at=NOW)
    seed.fill_workspaces(database, 10, seed=1, at=NOW)
    rows = {users: {"email": "new@example.org"}, workspaces: {"name": "new", "state": "active"}}
    with database.write() as connection:
        for table, row in rows.items():
            added = insert(table).values(last_modified=1, **row).returning(table.c.id)
            assert connection.execute(added).scalar_one() == 11


def test_workspaces_have_their_creators_but_for_one_in_fifty(database: Database):
    seed.fill(database, 20, seed=1, at=NOW)
    seed.fill_workspaces(database, 100, seed=1, at=NOW)
    with database.read() as connection:
        creators = connection.execute(select(workspaces.c.creator_id)).scalars().all()
        owners = select(func.count()).select_from(workspace_members).where(workspace_members.c.role == "owner")
        assert (len(creators), creators.count(None)) == (100, 2)
        assert connection.execute(owners).scalar_one() == 98


def test_workspaces_need_users(database: Database):
    with pytest.raises(StartError, match="needs a user"):
        seed.fill_workspaces(database, 1, seed=1, at=NOW)


def test_the_command_fills_workspaces_and_a_directory_when_they_are_asked_for(database_url: str):
    options = ["--database-url", database_url, "--users", "20", "--workspaces", "5", "--directory"]
    result = CliRunner().invoke(seed.main, options)
    assert result.exit_code == 0, result.output
    with open_database(database_url) as database, database.read() as connection:
        for table, count in ((users, 20), (workspaces, 5), (directory_entries, 1_200)):
            assert connection.execute(select(func.count()).select_from(table)).scalar_one() == count
