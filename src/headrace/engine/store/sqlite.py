"""The store on SQLite: one file in a data folder that one process holds, or a store in memory.

Claims are not written: this process owns all queues while it holds the folder, and what it had in flight when
it died is claimed again by the next one.
"""

import sqlite3
from asyncio import Future
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from headrace.engine.encoding import decode_overrides, encode_overrides
from headrace.engine.errors import StaleEpoch
from headrace.engine.model import Missing, Queue, QueueState, RateLimits, RefusedReason
from headrace.engine.store import statements as sql
from headrace.engine.store.commit import DEFERRED, Committer, Deferred
from headrace.engine.store.folder import FolderLock
from headrace.engine.store.interface import Document, Done, Place, Record, StoredQueue
from headrace.engine.store.ledger import Ledger
from headrace.engine.store.schema import connect
from headrace.errors import StartError
from headrace.retries import RetryLimits


class SqliteStore:
    """The store in the file `tasks.db` of a data folder; no folder: in memory, gone with the process.

    `patience` is how long, in seconds, finished tasks may wait to share a durable write. `max_bytes` bounds the
    file; a create beyond it is refused. At most `remembered_limit` names of finished tasks are kept: the ones
    that would be forgotten first go first.
    """

    def __init__(
        self,
        folder: Path | None,
        *,
        patience: float = 0.005,
        max_bytes: int | None = None,
        remembered_limit: int = 10_000_000,
    ) -> None:
        self._folder = folder
        self._lock = None if folder is None else FolderLock(folder)
        self._max_bytes = max_bytes
        self._ledger = Ledger(remembered_limit=remembered_limit)
        self._committer = Committer(self._ledger, patience=patience)
        self._queues: list[StoredQueue] = []
        self._last_id = 0
        self._epoch = 0

    async def open(self) -> list[StoredQueue]:
        if self._lock is not None:
            self._lock.hold()
        try:
            await self._committer.start(self._connect)
        except StartError:
            self._release()
            raise
        return self._queues

    async def close(self) -> None:
        await self._committer.stop()
        self._release()

    async def ended(self) -> None:
        await self._committer.ended()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _connect(self) -> sqlite3.Connection:
        path = None if self._folder is None else self._folder / "tasks.db"
        return connect(path, self._max_bytes, self._read)

    def _read(self, connection: sqlite3.Connection) -> None:
        (self._epoch,) = connection.execute(sql.NEXT_EPOCH).fetchone()
        (self._last_id,) = connection.execute(sql.LAST_ID).fetchone()
        self._ledger.load(connection)
        self._queues = _read_queues(connection)

    @property
    def epoch(self) -> int:
        return self._epoch

    def new_id(self, now: float) -> int:
        self._last_id = max(self._last_id + 1, int(now * 1e6))
        return self._last_id

    def pending(self, queue_id: int) -> int:
        return self._ledger.pending(queue_id)

    def put_queue(self, queue: Queue) -> Future[StoredQueue]:
        rate, retry = queue.rate, queue.retry
        row = (
            *(queue.name, rate.per_second, rate.burst, rate.concurrency, retry.max_attempts, retry.max_duration),
            *(retry.min_backoff, retry.max_backoff, retry.max_doublings, queue.state.value, queue.purged_at),
            *(queue.name_memory, queue.task_ttl, encode_overrides(queue)),
        )

        def put(connection: sqlite3.Connection) -> StoredQueue:
            stored = _stored_queue(connection.execute(sql.PUT_QUEUE, row).fetchone())
            self._ledger.admit(stored.id, stored.purged_id)
            return stored

        return self._committer.submit(put, writes=True)

    def set_state(self, queue_id: int, state: QueueState) -> Future[StoredQueue | None]:
        def set_state(connection: sqlite3.Connection) -> StoredQueue | None:
            row = connection.execute(sql.SET_STATE, (state.value, queue_id)).fetchone()
            return None if row is None else _stored_queue(row)

        return self._committer.submit(set_state, writes=True)

    def purge(self, queue_id: int, now: float) -> Future[StoredQueue | None]:
        up_to = self.new_id(now)

        def purge(connection: sqlite3.Connection) -> StoredQueue | None:
            row = connection.execute(sql.PURGE_QUEUE, (now, up_to, queue_id)).fetchone()
            if row is None:
                return None
            self._ledger.bury(queue_id, up_to)
            return _stored_queue(row)

        return self._committer.submit(purge, writes=True)

    def drop_queue(self, queue_id: int, now: float) -> Future[None]:
        up_to = self.new_id(now)

        def drop(connection: sqlite3.Connection) -> None:
            if connection.execute(sql.DROP_QUEUE, (now, up_to, queue_id)).rowcount:
                self._ledger.bury(queue_id, None)

        return self._committer.submit(drop, writes=True)

    def create(
        self,
        records: Sequence[Record],
        now: float,
        receipt: Callable[[list[RefusedReason | None]], Document] | None = None,
    ) -> Future[list[RefusedReason | None]]:
        def create(connection: sqlite3.Connection) -> list[RefusedReason | None]:
            answers = [self._take_name(connection, record, now) for record in records]
            created = [record for record, refused in zip(records, answers, strict=True) if refused is None]
            connection.executemany(sql.INSERT, created)
            for record in created:
                self._ledger.add(record.queue_id, 1)
            if receipt is not None:
                connection.execute(sql.SAVE_DOCUMENT, receipt(answers))
            return answers

        return self._committer.submit(create, writes=True)

    def _take_name(self, connection: sqlite3.Connection, record: Record, now: float) -> RefusedReason | None:
        queue, name = record.queue_id, record.name
        if not self._ledger.knows(queue):
            return RefusedReason.QUEUE_MISSING
        if name is None:
            return None
        if self._by_id(connection, queue, name) is not None:
            return RefusedReason.EXISTS
        before = connection.execute(sql.READ_NAME, (queue, name)).fetchone()
        if connection.execute(sql.TAKE_NAME, (queue, name, record.id, now)).rowcount:
            if before is not None:
                self._ledger.remember(-1)
            return None
        task, forget_at = before
        alive = forget_at is None and self._ledger.is_live(queue, task)
        return RefusedReason.EXISTS if alive else RefusedReason.EXISTED_RECENTLY

    def claim(self, queue_id: int, epoch: int, after: Place, limit: int, max_bytes: int) -> Future[list[Record]]:
        def claim(connection: sqlite3.Connection) -> list[Record] | Deferred:
            self._check(epoch)
            if self._ledger.is_purging(queue_id):
                return DEFERRED
            records: list[Record] = []
            room = max_bytes
            same_time = connection.execute(sql.CLAIM_SAME_TIME, (queue_id, after.due, after.id, limit))
            for row in same_time:
                records.append(Record._make(row))
                room -= len(row[7])
                if room <= 0:
                    return records
            for row in connection.execute(sql.CLAIM_LATER, (queue_id, after.due, limit - len(records))):
                records.append(Record._make(row))
                room -= len(row[7])
                if room <= 0:
                    break
            return records

        return self._committer.submit(claim, writes=False)

    def complete(self, epoch: int, done: Sequence[Done], retried: Sequence[Record]) -> Future[None]:
        def complete(connection: sqlite3.Connection) -> None:
            self._check(epoch)
            ended: dict[int, list[tuple[int, int]]] = {}
            kept = [(task.forget_at, task.queue_id, task.name, task.task_id) for task in done if task.name is not None]
            for task in done:
                if self._ledger.is_live(task.queue_id, task.task_id):
                    ended.setdefault(task.queue_id, []).append((task.task_id, task.queue_id))
            for queue, keys in ended.items():
                removed = connection.executemany(sql.REMOVE, keys).rowcount
                self._ledger.add(queue, -removed)
            if kept:
                self._ledger.remember(connection.executemany(sql.KEEP_NAME, kept).rowcount)
            connection.executemany(
                sql.RETRY, [(record.due, *record[8:18], record.id, record.queue_id) for record in retried]
            )

        return self._committer.submit(complete, writes=True, patient=True)

    def find(self, queue_id: int, name: str, now: float) -> Future[Record | Missing]:
        return self._committer.submit(lambda connection: self._find(connection, queue_id, name, now), writes=False)

    def page(self, queue_id: int, after: int, limit: int) -> Future[list[Record]]:
        def page(connection: sqlite3.Connection) -> list[Record]:
            start = max(after, self._ledger.purged_up_to(queue_id))
            return [Record._make(row) for row in connection.execute(sql.PAGE, (queue_id, start, limit))]

        return self._committer.submit(page, writes=False)

    def delete(
        self,
        queue_id: int,
        names: Sequence[str],
        forget_at: float,
        now: float,
        receipt: Callable[[list[int | Missing]], Document] | None = None,
    ) -> Future[list[int | Missing]]:
        def delete(connection: sqlite3.Connection) -> list[int | Missing]:
            answers = [self._delete(connection, queue_id, name, forget_at, now) for name in names]
            if receipt is not None:
                connection.execute(sql.SAVE_DOCUMENT, receipt(answers))
            return answers

        return self._committer.submit(delete, writes=True)

    def _delete(
        self, connection: sqlite3.Connection, queue: int, name: str, forget_at: float, now: float
    ) -> int | Missing:
        record = self._find(connection, queue, name, now)
        if isinstance(record, Missing):
            return record
        connection.execute(sql.REMOVE, (record.id, queue))
        self._ledger.add(queue, -1)
        if record.name is not None:
            row = (forget_at, queue, name, record.id)
            self._ledger.remember(connection.execute(sql.KEEP_NAME, row).rowcount)
        return record.id

    def expire(self, now: float) -> Future[None]:
        return self._committer.submit(lambda _: self._ledger.expire(now), writes=False)

    def load_documents(self, kind: str) -> Future[dict[str, bytes]]:
        def load(connection: sqlite3.Connection) -> dict[str, bytes]:
            return dict(connection.execute(sql.READ_DOCUMENTS, (kind,)))

        return self._committer.submit(load, writes=False)

    def save_document(self, kind: str, key: str, document: bytes) -> Future[None]:
        return self._write(sql.SAVE_DOCUMENT, (kind, key, document))

    def delete_document(self, kind: str, key: str) -> Future[None]:
        return self._write(sql.DELETE_DOCUMENT, (kind, key))

    def _write(self, statement: str, row: tuple[Any, ...]) -> Future[None]:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute(statement, row)

        return self._committer.submit(write, writes=True)

    def _check(self, epoch: int) -> None:
        if epoch != self._epoch:
            raise StaleEpoch(f"Epoch {epoch} has ended; epoch {self._epoch} owns the queues.")

    def _find(self, connection: sqlite3.Connection, queue: int, name: str, now: float) -> Record | Missing:
        row = connection.execute(sql.READ_NAME, (queue, name))
        named = row.fetchone()
        if named is None:
            return self._by_id(connection, queue, name) or Missing(False)
        task, forget_at = named
        if forget_at is not None:
            return Missing(forget_at > now)
        return self._row(connection, queue, task) or Missing(True)

    def _row(self, connection: sqlite3.Connection, queue: int, task: int) -> Record | None:
        if not self._ledger.is_live(queue, task):
            return None
        row = connection.execute(sql.FIND, (task, queue)).fetchone()
        return None if row is None else Record._make(row)

    def _by_id(self, connection: sqlite3.Connection, queue: int, name: str) -> Record | None:
        """The task without a name of its own that goes by this one."""
        if not (name.isascii() and name.isdecimal() and len(name) < 19):
            return None
        record = self._row(connection, queue, int(name))
        return record if record is not None and record.name is None and str(record.id) == name else None


def _read_queues(connection: sqlite3.Connection) -> list[StoredQueue]:
    rows = connection.execute(sql.READ_QUEUES)
    return [_stored_queue(row) for row in rows]


def _stored_queue(row: tuple[Any, ...]) -> StoredQueue:
    number, name, *rate = row[:5]
    state, purged_at, name_memory, task_ttl, overrides, purged_id = row[10:]
    queue = Queue(
        name,
        RateLimits(*rate),
        RetryLimits(*row[5:10]),
        QueueState(state),
        purged_at,
        name_memory,
        task_ttl,
        *decode_overrides(overrides),
    )
    return StoredQueue(number, queue, purged_id)
