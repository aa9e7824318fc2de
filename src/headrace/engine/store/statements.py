"""The SQL of the SQLite store. Statements are put together from column lists, never from values."""
# ruff: noqa: S608

from headrace.engine.store.interface import Record

QUEUE = (
    "id, name, per_second, burst, concurrency, max_attempts, max_duration, min_backoff, max_backoff, max_doublings,"
    " state, purged_at, name_memory, task_ttl, overrides, purged_id"
)
PUT_QUEUE = (
    "INSERT INTO queue (name, per_second, burst, concurrency, max_attempts, max_duration, min_backoff, max_backoff,"
    " max_doublings, state, purged_at, name_memory, task_ttl, overrides)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET per_second = excluded.per_second, burst = excluded.burst,"
    " concurrency = excluded.concurrency, max_attempts = excluded.max_attempts,"
    " max_duration = excluded.max_duration, min_backoff = excluded.min_backoff, max_backoff = excluded.max_backoff,"
    " max_doublings = excluded.max_doublings, name_memory = excluded.name_memory, task_ttl = excluded.task_ttl,"
    " overrides = excluded.overrides"
    f" RETURNING {QUEUE}"
)
TASK = (
    "id, queue, due, name, created_at, dispatch_deadline, target, body, dispatch_count, response_count,"
    " execution_count, first_at, last_dispatched_at, last_scheduled_at, last_responded_at, last_status, last_error,"
    " previous, retry"
)
INSERT = f"INSERT INTO task ({TASK}) VALUES ({', '.join('?' * len(Record._fields))})"
# Two statements, because SQLite cannot seek to a place (due, id) in one.
CLAIM_SAME_TIME = (
    f"SELECT {TASK} FROM task INDEXED BY task_due WHERE queue = ? AND due = ? AND id > ? ORDER BY id LIMIT ?"
)
CLAIM_LATER = f"SELECT {TASK} FROM task INDEXED BY task_due WHERE queue = ? AND due > ? ORDER BY due, id LIMIT ?"
PAGE = f"SELECT {TASK} FROM task INDEXED BY task_queue WHERE queue = ? AND id > ? ORDER BY id LIMIT ?"
FIND = f"SELECT {TASK} FROM task WHERE id = ? AND queue = ?"
RETRY = (
    "UPDATE task SET due = ?, dispatch_count = ?, response_count = ?, execution_count = ?, first_at = ?,"
    " last_dispatched_at = ?, last_scheduled_at = ?, last_responded_at = ?, last_status = ?, last_error = ?,"
    " previous = ? WHERE id = ? AND queue = ?"
)
TAKE_NAME = (
    "INSERT INTO name (queue, name, task) VALUES (?, ?, ?) ON CONFLICT (queue, name) DO UPDATE"
    " SET task = excluded.task, forget_at = NULL WHERE forget_at <= ?"
)
KEEP_NAME = "UPDATE name SET forget_at = ? WHERE queue = ? AND name = ? AND task = ? AND forget_at IS NULL"
_CHANGED_QUEUE = f"WHERE id = ? AND name IS NOT NULL RETURNING {QUEUE}"
SET_STATE = f"UPDATE queue SET state = ? {_CHANGED_QUEUE}"
PURGE_QUEUE = f"UPDATE queue SET pending = 0, purging = 1, purged_at = ?, purged_id = ? {_CHANGED_QUEUE}"
DROP_QUEUE = (
    "UPDATE queue SET name = NULL, pending = 0, purging = 1, purged_at = ?, purged_id = ?"
    " WHERE id = ? AND name IS NOT NULL"
)
READ_QUEUES = f"SELECT {QUEUE} FROM queue WHERE name IS NOT NULL ORDER BY name"
NEXT_EPOCH = "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value"
LAST_ID = "SELECT max(coalesce((SELECT max(id) FROM task), 0), coalesce((SELECT max(purged_id) FROM queue), 0))"
REMOVE = "DELETE FROM task WHERE id = ? AND queue = ?"
READ_NAME = "SELECT task, forget_at FROM name WHERE queue = ? AND name = ?"
READ_DOCUMENTS = "SELECT key, document FROM document WHERE kind = ?"
SAVE_DOCUMENT = "INSERT OR REPLACE INTO document (kind, key, document) VALUES (?, ?, ?)"
DELETE_DOCUMENT = "DELETE FROM document WHERE kind = ? AND key = ?"
