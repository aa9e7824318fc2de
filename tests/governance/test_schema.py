"""The tables are made once, and another version's are refused."""

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select, update

from governance import schema
from governance.schema import check, open_database
from governance.tables import schema_version, tier_requirements
from headrace.database import Database
from headrace.errors import StartError


def test_making_the_tables_twice_changes_nothing(database: Database, database_url: str):
    with open_database(database_url), database.read() as connection:
        assert connection.execute(select(schema_version.c.version)).all() == [(2,)]
        assert connection.execute(select(func.count()).select_from(tier_requirements)).scalar_one() == 13


def test_tables_of_another_version_are_refused(database: Database, database_url: str):
    with database.write() as connection:
        connection.execute(update(schema_version).values(version=9))
    with pytest.raises(StartError, match="are of version 9; this code needs version 2"), open_database(database_url):
        pass


def test_a_database_without_the_tables_is_refused(database_url: str):
    empty = Database(database_url)
    with empty.read() as connection, pytest.raises(StartError, match="missing"):
        check(connection)
    empty.close()


def test_the_command_makes_the_tables(database_url: str):
    result = CliRunner().invoke(schema.main, ["--database-url", database_url])
    assert (result.exit_code, result.output) == (0, "schema: version 2\n")
