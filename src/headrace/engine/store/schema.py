"""The tables of the SQLite store, and how its file is opened."""

import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from headrace.errors import StartError

_APPLICATION_ID = 0x48445243  # "HDRC", so that the file is told from other programs' files
_VERSION = 1
_SHORTEST = 512  # bytes of the smallest page, and so of the smallest database
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('remembered', 0);
CREATE TABLE queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT UNIQUE,
    per_second REAL NOT NULL, burst INTEGER NOT NULL, concurrency INTEGER NOT NULL,
    max_attempts INTEGER NOT NULL, max_duration REAL NOT NULL,
    min_backoff REAL NOT NULL, max_backoff REAL NOT NULL, max_doublings INTEGER NOT NULL,
    state TEXT NOT NULL, purged_at REAL, name_memory REAL NOT NULL, task_ttl REAL NOT NULL,
    overrides BLOB,
    purged_id INTEGER NOT NULL DEFAULT 0,
    purging INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    queue INTEGER NOT NULL,
    due REAL NOT NULL,
    name TEXT,
    created_at REAL NOT NULL,
    dispatch_deadline REAL NOT NULL,
    target BLOB NOT NULL,
    body BLOB NOT NULL,
    dispatch_count INTEGER NOT NULL, response_count INTEGER NOT NULL, execution_count INTEGER NOT NULL,
    first_at REAL,
    last_dispatched_at REAL, last_scheduled_at REAL, last_responded_at REAL,
    last_status INTEGER, last_error TEXT NOT NULL,
    previous INTEGER,
    retry BLOB
);
CREATE INDEX task_due ON task (queue, due);
CREATE INDEX task_queue ON task (queue);
CREATE TABLE name (
    queue INTEGER NOT NULL, name TEXT NOT NULL, task INTEGER NOT NULL, forget_at REAL,
    PRIMARY KEY (queue, name)
) WITHOUT ROWID;
CREATE INDEX name_forget ON name (forget_at) WHERE forget_at IS NOT NULL;
CREATE TABLE document (
    kind TEXT NOT NULL, key TEXT NOT NULL, document BLOB NOT NULL, PRIMARY KEY (kind, key)
) WITHOUT ROWID;
"""


def connect(path: Path | None, max_bytes: int | None, read: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open the file (None: a store in memory) with its tables, made when it is new, and let `read` look at it.

    `max_bytes` bounds the file's size. Raises StartError for a file that is corrupt, foreign, not writable or
    of a later version.
    """
    place = ":memory:" if path is None else str(path)
    if path is not None and path.exists() and 0 < path.stat().st_size < _SHORTEST:
        # SQLite would take it for a new file.
        raise StartError(f"The store {place} is damaged.", hint=_hint("SQLITE_CORRUPT"))
    try:
        with ExitStack() as stack:
            connection = stack.enter_context(closing(sqlite3.connect(place, isolation_level=None)))
            _prepare(connection, place)
            if max_bytes is not None:
                (page_size,) = connection.execute("PRAGMA page_size").fetchone()
                connection.execute(f"PRAGMA max_page_count = {max_bytes // page_size}")
            read(connection)
            stack.pop_all()
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        raise StartError(f"The store {place} cannot be opened: {error}.", hint=_hint(name)) from error
    except (TypeError, ValueError) as error:
        # Pages that are whole for SQLite, with values in them that nobody wrote.
        raise StartError(f"The store {place} is damaged.", hint=_hint("SQLITE_CORRUPT")) from error
    return connection


def _hint(name: str) -> str:
    """What to do about an error of SQLite, by the name of its code."""
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return "Put a backup in its place, or choose another data folder."
    if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
        return "Look at its disk, and make room there."
    if name.startswith("SQLITE_BUSY"):
        return "Stop the program that writes to it."
    return "Give this user the right to write there, or choose another data folder."


def _prepare(connection: sqlite3.Connection, place: str) -> None:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if tables and application != _APPLICATION_ID:
        raise StartError(f"{place} is not a store of Headrace.", hint="Choose another data folder.")
    if version > _VERSION:
        raise StartError(
            f"The store {place} has version {version}; this Headrace knows up to {_VERSION}.",
            hint="Start the newer Headrace that wrote it.",
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    if not tables:
        connection.executescript(
            f"BEGIN; {_TABLES} PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {_VERSION}; COMMIT;"
        )
