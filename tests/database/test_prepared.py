"""Statements that the driver runs itself behave as those that SQLAlchemy runs."""

from collections.abc import Iterator

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, bindparam, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from headrace.database import Database
from headrace.database.prepared import Prepared

metadata = MetaData()
notes = Table("notes", metadata, Column("id", Integer, primary_key=True), Column("text", String(20)))

add = Prepared(insert(notes).values(id=bindparam("new"), text="50% of it"))
change = Prepared(
    update(notes)
    .where(notes.c.id >= bindparam("first"), notes.c.text.is_not(None))
    .values(text=bindparam("other"))
    .returning(notes.c.id, notes.c.text)
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    with made.write() as connection:
        metadata.create_all(connection)
    yield made
    made.close()


def test_it_tells_the_rows_that_it_touched(database: Database) -> None:
    with database.write() as connection:
        assert add.count(connection, {"new": 1}) == 1
        assert add.count(connection, {"new": 2}) == 1
        assert sorted(change.rows(connection, {"first": 2, "other": "new"})) == [(2, "new")]
        assert change.rows(connection, {"first": 3, "other": None}) == []

    with database.read() as connection:
        assert [tuple(row) for row in connection.execute(select(notes).order_by(notes.c.id))] == [
            (1, "50% of it"),
            (2, "new"),
        ]


def test_it_is_taken_back_with_its_transaction(database: Database) -> None:
    def add_and_fail() -> None:
        with database.write() as connection:
            add.count(connection, {"new": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    with database.read() as connection:
        assert connection.execute(select(notes)).all() == []


def test_an_error_of_the_driver_is_one_of_sqlalchemy_without_values(database: Database) -> None:
    def add_twice() -> None:
        with database.write() as connection:
            add.count(connection, {"new": 1})
            add.count(connection, {"new": 1})

    with pytest.raises(IntegrityError) as raised:
        add_twice()
    assert raised.value.params is None


def test_a_connection_that_broke_is_not_used_again(postgresql_url: str) -> None:
    database = Database(postgresql_url)

    def add_after_the_end() -> None:
        with database.write() as connection:
            (process,) = connection.execute(text("SELECT pg_backend_pid()")).one()
            with database.read() as other:
                other.execute(text("SELECT pg_terminate_backend(:process)"), {"process": process})
            add.count(connection, {"new": 1})

    with database.write() as connection:
        metadata.create_all(connection)
    with pytest.raises(DBAPIError) as raised:
        add_after_the_end()
    assert raised.value.connection_invalidated
    with database.write() as connection:
        assert add.count(connection, {"new": 2}) == 1
    database.close()
