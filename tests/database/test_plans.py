"""Queries that must not read what is finished: SQLite says which indexes it takes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event

from headrace.database import Database, backlog_rows, migration, trouble_rows


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    database = Database(f"sqlite:///{tmp_path / 'application.db'}")
    migration.upgrade(database)
    with database.read() as opened:
        yield opened
    database.close()


@pytest.mark.parametrize(
    "query",
    [
        lambda connection: trouble_rows.failures_since(connection, since=0),
        lambda connection: trouble_rows.failures_near(connection, "handler", 7, since=0),
        lambda connection: trouble_rows.latest_failures(connection, limit=5),
        lambda connection: trouble_rows.dead_since(connection, since=0),
        lambda connection: trouble_rows.longest_waiting(connection, before=0),
        lambda connection: backlog_rows.read_backlog(connection, now=0),
        lambda connection: backlog_rows.read_movement(connection, now=0),
    ],
)
def test_what_is_rare_is_found_by_an_index(connection: Connection, query: Callable[[Connection], Any]) -> None:
    plans = plans_of(connection, query)
    assert plans
    whole = [
        line for line in plans if line in ("SCAN headrace_attempts", "SCAN headrace_batches", "SCAN headrace_runs")
    ]
    assert whole == []


def plans_of(connection: Connection, query: Callable[[Connection], Any]) -> list[str]:
    """What SQLite plans for each statement of a query."""
    statements: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: bool) -> None:
        statements.append((statement, parameters))

    event.listen(connection.engine, "before_cursor_execute", keep)
    query(connection)
    event.remove(connection.engine, "before_cursor_execute", keep)
    return [
        row.detail
        for statement, parameters in statements
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    ]
