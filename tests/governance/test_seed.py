"""The seed makes the same users for the same number, and some of every kind."""

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import func, select

from governance import seed, verify
from governance.schema import open_database
from governance.tables import metadata, project_grants, user_modules, user_tiers, users
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
