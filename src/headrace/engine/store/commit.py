"""Group commit: one thread owns the connection, and all that waits at one moment shares one durable write.

`Any` stands for what a piece of work answers: the thread hands it through to the piece's own future.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from headrace.engine.errors import StoreUnavailable
from headrace.errors import HeadraceError

T = TypeVar("T")
_log = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds after which patient work and chores that the disk refused are tried again."""
_FAILURES = (sqlite3.Error, OverflowError, ValueError)
"""Of SQLite, and of values that it cannot hold: an integer above 64 bits, text that is not Unicode."""
_LOG_PERIOD = 10.0
"""Seconds between two lines of the log about a disk that refuses writes."""


@dataclass(slots=True)
class _Work:
    run: Callable[[sqlite3.Connection], Any]
    writes: bool
    patient: bool
    future: Future[Any]
    answer: Any = None
    error: HeadraceError | None = None


class Book(Protocol):
    """What is kept in memory beside the connection; used by the thread alone, save what it says itself.

    It reads nothing after the start, so that a disk that fails cannot part it from what is durable.
    """

    def seal(self, connection: sqlite3.Connection) -> None:
        """Write what the transaction's work staged; the last step before COMMIT."""
        ...

    def sealed(self) -> None:
        """The transaction is durable."""
        ...

    def undone(self) -> None:
        """The transaction was rolled back."""
        ...

    @property
    def has_chores(self) -> bool:
        """Whether background work is left."""
        ...

    def do_chore(self, connection: sqlite3.Connection) -> None:
        """Do one bounded slice of background work, inside a transaction."""
        ...


class Deferred:
    """The answer of a read that has to wait for background work; it is run again after the next slice."""


DEFERRED = Deferred()


class Committer:
    """Runs pieces of work on a connection, in a thread of its own.

    Writes that wait together share a transaction; reads run after it. What comes while the thread works is handed
    in together once it has answered: so it shares a write, and the thread is woken once for all of it. Chores run
    in transactions of their own, one slice between two batches, so that they hold nobody up. What the disk refuses
    is answered with StoreUnavailable, save patient work: that is held, and tried again every `RETRY` seconds until
    the end.
    """

    def __init__(self, book: Book, *, patience: float) -> None:
        self._book = book
        self._patience = patience
        self._inbox: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._waiting: list[_Work] = []
        self._held: list[_Work] = []
        self._timer: TimerHandle | None = None
        self._retry: TimerHandle | None = None
        self._soon = False
        self._busy = False
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] | None = None
        self._log_after = 0.0

    async def start(self, connect: Callable[[], sqlite3.Connection]) -> None:
        """Start the thread and wait for its connection. Raises what `connect` raises of HeadraceError."""
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        opened: Future[None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._main, args=(connect, opened), name="headrace-store", daemon=True)
        self._thread.start()
        try:
            await opened
        except HeadraceError:
            self._ended.set_result(None)
            raise

    async def stop(self) -> None:
        """Do what was handed in, close the connection and end the thread. What the disk still refuses is refused."""
        if self._thread is None or self._ended is None:
            return
        self._busy = False
        self._try_again()
        self._inbox.put(None)
        await self._ended
        self._thread.join()
        self._thread = None
        if self._retry is not None:
            self._retry.cancel()
        for work in self._held:
            _answer(work)

    async def ended(self) -> None:
        """Return when the thread has ended, asked to or not."""
        if self._ended is not None:
            await asyncio.shield(self._ended)

    def submit(
        self, run: Callable[[sqlite3.Connection], T | Deferred], *, writes: bool, patient: bool = False
    ) -> Future[T]:
        """Hand in a piece of work. Patient work waits a little for company; any other takes it along.

        A piece may be run more than once before its future is settled; only one run is kept.
        """
        future: Future[T] = asyncio.get_running_loop().create_future()
        work = _Work(run, writes, patient, future)
        if self._loop is None or self._ended is None or self._ended.done():
            future.set_exception(StoreUnavailable("The store is not open."))
            return future
        if patient and self._retry is not None:
            self._held.append(work)
            return future
        self._waiting.append(work)
        if patient:
            if self._timer is None and not self._soon:
                self._timer = self._loop.call_later(self._patience, self._hand_over)
        elif not self._soon:
            self._soon = True
            self._loop.call_soon(self._hand_over)
        return future

    def _hand_over(self) -> None:
        if self._busy:
            self._soon = True  # `_settle` comes back to it
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._soon = False
        waiting, self._waiting = self._waiting, []
        if self._ended is not None and self._ended.done():
            self._settle(_refused(waiting))
        elif waiting:
            self._busy = True
            self._inbox.put(waiting)

    def _settle(self, batch: list[_Work]) -> None:
        self._busy = False
        if self._soon and self._loop is not None:
            self._loop.call_soon(self._hand_over)
        for work in batch:
            if work.patient and isinstance(work.error, StoreUnavailable):
                self._held.append(work)
            else:
                _answer(work)
        if self._held and self._retry is None and self._loop is not None:
            self._retry = self._loop.call_later(RETRY, self._try_again)

    def _try_again(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._waiting = self._held + self._waiting
        self._held = []
        self._hand_over()

    # What follows runs in the thread.

    def _main(self, connect: Callable[[], sqlite3.Connection], opened: Future[None]) -> None:
        assert self._loop is not None
        assert self._ended is not None
        call = self._loop.call_soon_threadsafe
        try:
            connection = connect()
        except HeadraceError as error:
            call(opened.set_exception, error)
            return
        call(opened.set_result, None)
        batch: list[_Work] = []
        try:
            ending = stalled = False
            while not ending:
                idle = not (batch or self._book.has_chores)
                taken, ending = self._take(wait=idle or stalled, timeout=None if idle else RETRY)
                batch += taken
                later = self._commit(connection, batch)
                call(self._settle, [work for work in batch if work not in later] if later else batch)
                batch = later
                if self._book.has_chores and not ending:
                    # After a failure (a full disk) the next slice waits for the next batch, rather than spin.
                    stalled = self._transaction(connection, lambda: self._book.do_chore(connection)) is not None
        finally:
            connection.close()
            call(self._settle, _refused(batch + self._take(wait=False)[0]))
            call(self._ended.set_result, None)

    def _take(self, *, wait: bool, timeout: float | None = None) -> tuple[list[_Work], bool]:
        """All that waits, and whether the end was asked for; `timeout` bounds the wait, in seconds."""
        batch: list[_Work] = []
        try:
            part = self._inbox.get(wait, timeout)
            while part is not None:
                batch += part
                part = self._inbox.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _commit(self, connection: sqlite3.Connection, batch: list[_Work]) -> list[_Work]:
        """Run the writes in one transaction and the reads after it; returns the reads that have to wait.

        `batch` is left in the order in which its work was done.
        """
        batch.sort(key=lambda work: not work.writes)
        writes = [work for work in batch if work.writes]
        if writes:
            self._write(connection, writes)
        for work in batch[len(writes) :]:
            try:
                _run(work, connection)
            except _FAILURES as error:
                work.error = StoreUnavailable(f"The store could not read: {error}.", hint="Look at its disk.")
        return [work for work in batch if work.answer is DEFERRED]

    def _write(self, connection: sqlite3.Connection, writes: list[_Work]) -> None:
        """Make the writes durable together. What one of them may have caused is tried again in parts.

        So a task that is too large for the room that is left holds up neither a smaller one nor what gives room
        back.
        """
        error = self._transaction(connection, partial(_run_all, writes, connection))
        if error is None:
            return
        is_ones_own = not isinstance(error, sqlite3.Error) or error.sqlite_errorcode == sqlite3.SQLITE_FULL
        parts = _parts(writes) if is_ones_own else []
        if parts:
            for part in parts:
                self._write(connection, part)
            return
        refusal = f"The store could not write: {error}."
        for work in writes:
            work.error = StoreUnavailable(refusal, hint="Look at its disk.")

    def _transaction(self, connection: sqlite3.Connection, body: Callable[[], object]) -> Exception | None:
        """Run `body` in a durable transaction, or undo it and return why."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            body()
            self._book.seal(connection)
            connection.execute("COMMIT")
        except _FAILURES as error:
            self._complain(error)
            if connection.in_transaction:
                # Should it fail too, the next BEGIN fails and comes here again.
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
            self._book.undone()
            return error
        self._book.sealed()
        return None

    def _complain(self, error: Exception) -> None:
        if time.monotonic() >= self._log_after:
            self._log_after = time.monotonic() + _LOG_PERIOD
            _log.error("a write to the store failed: %s", error)


def _parts(writes: list[_Work]) -> list[list[_Work]]:
    """Smaller transactions to try, none when there are none: patient work apart and whole, any other in halves.

    Patient work is tried again and again, so it must not cost more with each piece that gathers.
    """
    patient = [work for work in writes if work.patient]
    others = [work for work in writes if not work.patient]
    if patient:
        return [patient, others] if others else []
    middle = len(others) // 2
    return [others[:middle], others[middle:]] if middle else []


def _answer(work: _Work) -> None:
    if work.future.done():
        return
    if work.error is not None:
        work.future.set_exception(work.error)
    else:
        work.future.set_result(work.answer)


def _refused(batch: list[_Work]) -> list[_Work]:
    for work in batch:
        work.error = StoreUnavailable("The store has stopped.")
    return batch


def _run_all(writes: list[_Work], connection: sqlite3.Connection) -> None:
    for work in writes:
        _run(work, connection)


def _run(work: _Work, connection: sqlite3.Connection) -> None:
    """Errors of ours are raised before anything is written, so the transaction goes on without that work."""
    work.error = None
    try:
        work.answer = work.run(connection)
    except HeadraceError as error:
        work.error = error
