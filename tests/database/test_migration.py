"""The schema's versions, on both databases."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from headrace.database import Database, migration
from headrace.database.tables import metadata
from headrace.errors import StartError


def test_the_migrations_make_just_the_tables_that_the_code_knows(database_url: str) -> None:
    database = Database(database_url)
    migration.upgrade(database)
    migration.upgrade(database)
    migration.check(database)
    with database.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"version_table": migration.VERSION_TABLE, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []
    database.close()


def test_a_database_without_tables_says_which_command_makes_them(database_url: str) -> None:
    database = Database(database_url)
    with pytest.raises(StartError, match="headrace database upgrade"):
        migration.check(database)
    database.close()


def test_a_database_from_a_newer_version_is_refused_in_one_line(database_url: str) -> None:
    database = Database(database_url)
    migration.upgrade(database)
    with database.write() as connection:
        connection.exec_driver_sql(f"UPDATE {migration.VERSION_TABLE} SET version_num = '9999'")
    for touch in (migration.check, migration.upgrade):
        with pytest.raises(StartError, match=r"newer than this Headrace knows") as caught:
            touch(database)
        assert "\n" not in str(caught.value)
    database.close()


def test_a_database_that_cannot_be_opened_says_so_in_one_line(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'missing' / 'application.db'}")
    with pytest.raises(StartError, match="HEADRACE_DATABASE_URL") as caught:
        migration.check(database)
    assert "\n" not in str(caught.value)
    database.close()


def test_a_url_that_is_none_says_what_to_write() -> None:
    with pytest.raises(StartError, match="postgresql\\+psycopg://"):
        Database("nonsense")
