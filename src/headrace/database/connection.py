"""How the service reads and writes its database.

SQLite: WAL, `BEGIN IMMEDIATE` for writes, a busy time-out of 30 s; writers queue at a lock instead of polling the
file's. PostgreSQL: READ COMMITTED; a write locks the rows that it updates.
"""

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import Pool, StaticPool

from headrace.database.facts import Fact, Observer, collect
from headrace.database.writers import WriterLock
from headrace.errors import StartError

BUSY_TIMEOUT_MS = 30_000
T = TypeVar("T")
_AFTER_COMMIT = "headrace_after_commit"


def _held_lock() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True)
class _Change:
    """A change that waits for company; `result` or `error` is there when the lock `ended` is let go."""

    make: Callable[[Connection], Any]
    durable: bool
    ended: threading.Lock = field(default_factory=_held_lock)
    result: Any = None
    error: Exception | None = None


class Database:
    """One application database. Threads share it; each use takes a connection of its pool.

    `observer` is told what its transactions made true, see `facts`.
    """

    def __init__(self, url: str, *, connections: int = 20) -> None:
        self.observer: Observer | None = None
        self.engine = _create_engine(url, connections)
        self.is_sqlite = self.engine.dialect.name == "sqlite"
        self._writer = WriterLock(_lock_file(self.engine))
        # One connection writes: another one's commit would make it forget the pages that it knows.
        self._writing = _create_engine(url, connections, poolclass=StaticPool) if self.is_sqlite else self.engine
        self._thread = threading.local()
        self._waiting: deque[_Change] = deque()
        # Opened once for the changes that share transactions, and by the process that it is for.
        self._together: Connection | None = None
        self._process = 0

    @contextmanager
    def read(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """A connection for reading: one snapshot on SQLite; READ COMMITTED on PostgreSQL, or a `snapshot` there too."""
        with self.engine.connect() as connection, connection.begin():
            if self.is_sqlite:
                _begin(connection, "BEGIN")
            elif snapshot:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """A transaction: committed when the block ends, rolled back when it raises.

        Keep it short and do no I/O inside: on SQLite nobody else writes meanwhile. What is not `durable` survives
        the death of the process, not of the machine, and costs no wait for the disk.

        Raises:
            RuntimeError: this thread is in a write already, and would wait for itself.
        """
        self._refuse_inside_a_write()
        self._thread.writes = True
        calls: dict[Callable[..., object], list[Any]] = {}
        facts: list[Fact] = []
        try:
            with self._writer if self.is_sqlite else nullcontext(), self._writing.connect() as connection:
                connection.info[_AFTER_COMMIT] = calls
                facts = self._collect(connection)
                try:
                    with connection.begin():
                        self._begin_write(connection, durable)
                        yield connection
                finally:
                    connection.info.pop(_AFTER_COMMIT, None)
        finally:
            self._thread.writes = False
            self._commit_waiting()
        self._tell(facts)
        for call, given in calls.items():
            call(*given)

    def write_together(self, change: Callable[[Connection], T], *, durable: bool = True) -> T:
        """What `change` returns, once a transaction with it has committed.

        On SQLite, changes that wait at the same moment share one transaction, and so one wait for the disk. A change
        that raises takes back itself alone.

        Raises:
            RuntimeError: this thread is in a write already, and would wait for itself.
        """
        self._refuse_inside_a_write()
        if not self.is_sqlite:
            with self.write(durable=durable) as connection:
                return change(connection)
        mine = _Change(change, durable)
        self._waiting.append(mine)
        self._commit_waiting()
        mine.ended.acquire()
        if mine.error is not None:
            raise mine.error
        result: T = mine.result
        return result

    def after_commit(self, connection: Connection, call: Callable[..., object], *given: Any) -> None:
        """Have `call` called once the transaction of `write` that `connection` is in has committed.

        It is called once, with all that was given for it in this transaction. On a connection that is not of `write`,
        nothing is called: sweeps do later what it would have done.
        """
        calls: dict[Callable[..., object], list[Any]] | None = connection.info.get(_AFTER_COMMIT)
        if calls is not None:
            calls.setdefault(call, []).extend(given)

    def close(self) -> None:
        """Close the pool's connections."""
        with self._writer if self.is_sqlite else nullcontext():
            self._close_together()
            self._writing.dispose()
        self.engine.dispose()
        self._writer.close()

    def _refuse_inside_a_write(self) -> None:
        if getattr(self._thread, "writes", False):
            raise RuntimeError("A transaction inside a transaction would wait for itself: use the one that is open.")

    def _commit_waiting(self) -> None:
        """Commit all changes that wait, unless a writer is at work: it calls this again when it has finished."""
        while self._waiting and self._writer.acquire(blocking=False):
            try:
                self._commit_together([self._waiting.popleft() for _ in range(len(self._waiting))])
            finally:
                self._writer.release()

    def _commit_together(self, changes: list["_Change"]) -> None:
        """Commit changes in one transaction; where that cannot be, each in its own, with the error that is its own."""
        facts: list[Fact] = []
        try:
            facts = self._commit(changes)
        except Exception:  # noqa: BLE001 - made again one by one
            for change in changes:
                try:
                    facts += self._commit([change])
                except Exception as error:  # noqa: BLE001 - raised again where the change came from
                    change.error = error
        self._tell(facts)
        for change in changes:
            change.ended.release()

    def _commit(self, changes: list["_Change"]) -> list[Fact]:
        connection = self._open_together()
        try:
            with connection.begin():
                self._begin_write(connection, durable=any(change.durable for change in changes))
                facts = self._collect(connection)
                results = [change.make(connection) for change in changes]
        except BaseException:
            # What went wrong may be the connection's own.
            self._close_together()
            raise
        for change, result in zip(changes, results, strict=True):
            change.result = result
        return facts

    def _open_together(self) -> Connection:
        """The connection of the changes that share transactions: to open one for each would cost as much as they do."""
        if self._together is None or self._process != os.getpid():
            self._together, self._process = self._writing.connect(), os.getpid()
        return self._together

    def _close_together(self) -> None:
        if self._together is not None:
            self._together.close()
            self._together = None

    def _collect(self, connection: Connection) -> list[Fact]:
        return [] if self.observer is None else collect(connection)

    def _tell(self, facts: list[Fact]) -> None:
        if facts and self.observer is not None:
            self.observer(facts)

    def _begin_write(self, connection: Connection, durable: bool) -> None:
        if self.is_sqlite:
            # A write that begins as a reader may fail in the middle with SQLITE_BUSY, which no time-out mends.
            _begin(connection, f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}", "BEGIN IMMEDIATE")
        elif not durable:
            connection.exec_driver_sql("SET LOCAL synchronous_commit = off")


def _lock_file(engine: Engine) -> Path | None:
    database = engine.url.database
    on_disk = engine.dialect.name == "sqlite" and database and database != ":memory:"
    return Path(f"{database}-writers") if on_disk else None


def _begin(connection: Connection, *statements: str) -> None:
    # BEGIN goes past SQLAlchemy: an event of its engine would cost more than the statements do.
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    try:
        for statement in statements:
            driver.execute(statement)
    except sqlite3.OperationalError as error:
        raise OperationalError(statements[-1], None, error) from error


def _create_engine(url: str, connections: int, poolclass: type[Pool] | None = None) -> Engine:
    try:
        parsed = make_url(url)
        options: dict[str, Any] = {"poolclass": poolclass}
        if poolclass is None:
            options |= {"pool_size": connections, "max_overflow": connections}
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
