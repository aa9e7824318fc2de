"""How the service reads and writes its database.

SQLite: WAL, `BEGIN IMMEDIATE` for writes, a busy time-out of 30 s; the writers of one process queue at a lock
instead of polling the file's. PostgreSQL: READ COMMITTED; a write locks the rows that it updates.
"""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError

from headrace.errors import StartError

BUSY_TIMEOUT_MS = 30_000
_AFTER_COMMIT = "headrace_after_commit"


class Database:
    """One application database. Threads share it; each use takes a connection of its pool."""

    def __init__(self, url: str, *, connections: int = 20) -> None:
        self.engine = _create_engine(url, connections)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading: one snapshot on SQLite, READ COMMITTED on PostgreSQL."""
        with self.engine.connect() as connection, connection.begin():
            if self.is_sqlite:
                _begin(connection, "BEGIN")
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Keep it short and do no I/O inside: on SQLite nobody else writes meanwhile. What is not `durable` survives
        the death of the process, not of the machine, and costs no wait for the disk.
        """
        calls: list[Callable[[], object]] = []
        with self._writer if self.is_sqlite else nullcontext(), self.engine.connect() as connection:
            connection.info[_AFTER_COMMIT] = calls
            try:
                with connection.begin():
                    self._begin_write(connection, durable)
                    yield connection
            finally:
                connection.info.pop(_AFTER_COMMIT, None)
        for call in calls:
            call()

    def after_commit(self, connection: Connection, call: Callable[[], object]) -> None:
        """Have `call` called once the transaction of `write` that `connection` is in has committed.

        On a connection that is not of `write`, nothing is called: sweeps do later what it would have done.
        """
        calls: list[Callable[[], object]] | None = connection.info.get(_AFTER_COMMIT)
        if calls is not None:
            calls.append(call)

    def close(self) -> None:
        """Close the pool's connections."""
        self.engine.dispose()

    def _begin_write(self, connection: Connection, durable: bool) -> None:
        if self.is_sqlite:
            # A write that begins as a reader may fail in the middle with SQLITE_BUSY, which no time-out mends.
            _begin(connection, f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}", "BEGIN IMMEDIATE")
        elif not durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _begin(connection: Connection, *statements: str) -> None:
    # BEGIN goes past SQLAlchemy: an event of its engine would cost more than the statements do.
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        for statement in statements:
            driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statements[-1], None, error) from error


def _create_engine(url: str, connections: int) -> Engine:
    try:
        parsed = make_url(url)
        options: dict[str, Any] = {"pool_size": connections, "max_overflow": connections}
        if parsed.get_backend_name() == "sqlite":
            options["connect_args"] = {"timeout": BUSY_TIMEOUT_MS / 1000, "check_same_thread": False}
            # Every use ends its own transaction.
            options["pool_reset_on_return"] = None
        else:
            options["pool_pre_ping"] = True
        engine = create_engine(parsed, **options)
    except (ArgumentError, SQLAlchemyError, ImportError) as error:
        raise StartError(
            f"HEADRACE_DATABASE_URL is no database URL that can be used: {error}.",
            hint="Write sqlite:///path/to/file.db or postgresql+psycopg://user:password@host/name.",
        ) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "cache_size=-16000"):
        connection.execute(f"PRAGMA {pragma}")
