"""Ids come in order, after a cursor, a page at a time."""

from itertools import islice

import pytest

from governance import seed, users
from governance.users import ids_after, ids_with_projects_after
from headrace.database import Database

NOW = 1_790_000_000.0


@pytest.fixture
def filled(database: Database) -> Database:
    seed.fill(database, 500, seed=1, at=NOW)
    return database


def test_all_ids_come_in_order_and_after_the_cursor(filled: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(users, "PAGE", 7)
    with filled.read() as connection:
        assert list(ids_after(connection, None)) == list(range(1, 501))
    with filled.read() as connection:
        assert list(ids_after(connection, 490)) == list(range(491, 501))
    with filled.read() as connection:
        assert list(ids_after(connection, 500)) == []


def test_a_stream_that_was_left_goes_on_from_its_cursor(filled: Database):
    with filled.read() as connection:
        first = list(islice(ids_with_projects_after(connection, None), 20))
    with filled.read() as connection:
        rest = list(ids_with_projects_after(connection, first[-1]))
    with filled.read() as connection:
        assert first + rest == list(ids_with_projects_after(connection, None))
    assert len(set(first + rest)) == len(first + rest) > 50
