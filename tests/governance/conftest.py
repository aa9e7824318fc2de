"""A database of access governance, on SQLite and on PostgreSQL, and people to put into it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Table, insert, select

from governance.access import CONTROLLED_MODULES, DAY_MS, Module, expiry
from governance.schema import open_database
from governance.tables import user_modules, user_tiers, users
from headrace.database import Database

NOW = 1_790_000_000.0
NOW_MS = int(NOW * 1000)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def add_user(database: Database) -> Callable[..., None]:
    """Adds a user who completed `modules` 100 days ago and was given `tiers` 90 days ago."""

    def add(
        user_id: int,
        *,
        modules: tuple[Module, ...] = CONTROLLED_MODULES,
        tiers: tuple[str, ...] = (),
        disabled: bool = False,
    ) -> None:
        completed_at = NOW_MS - 100 * DAY_MS
        with database.write() as connection:
            person = {
                "id": user_id,
                "email": f"user{user_id}@example.org",
                "disabled": disabled,
                "last_modified": completed_at,
            }
            connection.execute(insert(users), [person])
            for module in modules:
                connection.execute(
                    insert(user_modules),
                    [
                        {
                            "user_id": user_id,
                            "module": module.name,
                            "completed_at": completed_at,
                            "expires_at": expiry(module, completed_at),
                        }
                    ],
                )
            for tier in tiers:
                since = NOW_MS - 90 * DAY_MS
                connection.execute(insert(user_tiers), [{"user_id": user_id, "tier": tier, "since": since}])

    return add


@pytest.fixture
def rows(database: Database) -> Callable[[Table], list[dict[str, Any]]]:
    """All rows of a table, in order of its columns."""

    def read(table: Table) -> list[dict[str, Any]]:
        with database.read() as connection:
            found = connection.execute(select(table).order_by(*table.c)).mappings()
            return [dict(row) for row in found]

    return read
