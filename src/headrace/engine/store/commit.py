"""Group commit: one thread owns the connection, and all that waits at one moment shares one durable write.

`Any` stands for what a piece of work answers: the thread hands it through to the piece's own future.
"""

import asyncio
import logging
import sqlite3
import threading
from asyncio import AbstractEventLoop, Future, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Protocol, TypeVar

from headrace.engine.errors import StoreUnavailable
from headrace.errors import HeadraceError

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Work:
    run: Callable[[sqlite3.Connection], Any]
    writes: bool
    future: Future[Any]
    answer: Any = None
    error: HeadraceError | None = None


class Book(Protocol):
    """What is kept in memory beside the connection; used by the thread alone, save what it says itself."""

    def seal(self, connection: sqlite3.Connection) -> None:
        """Write what the transaction's work staged; the last step before COMMIT."""
        ...

    def sealed(self, connection: sqlite3.Connection) -> None:
        """The transaction is durable."""
        ...

    def undone(self, connection: sqlite3.Connection) -> None:
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

    Writes that wait together share a transaction; reads run after it. Chores run in transactions of their own,
    one slice between two batches, so that they hold nobody up.
    """

    def __init__(self, book: Book, *, patience: float) -> None:
        self._book = book
        self._patience = patience
        self._inbox: SimpleQueue[list[_Work] | None] = SimpleQueue()
        self._waiting: list[_Work] = []
        self._timer: TimerHandle | None = None
        self._soon = False
        self._loop: AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: Future[None] | None = None

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
        """Do what was handed in, close the connection and end the thread."""
        if self._thread is None or self._ended is None:
            return
        self._hand_over()
        self._inbox.put(None)
        await self._ended
        self._thread.join()
        self._thread = None

    def submit(
        self, run: Callable[[sqlite3.Connection], T | Deferred], *, writes: bool, patient: bool = False
    ) -> Future[T]:
        """Hand in a piece of work. Patient work waits a little for company; any other takes it along."""
        if self._loop is None or self._ended is None or self._ended.done():
            raise StoreUnavailable("The store is not open.")
        future: Future[T] = self._loop.create_future()
        self._waiting.append(_Work(run, writes, future))
        if patient:
            if self._timer is None and not self._soon:
                self._timer = self._loop.call_later(self._patience, self._hand_over)
        elif not self._soon:
            self._soon = True
            self._loop.call_soon(self._hand_over)
        return future

    def _hand_over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._soon = False
        waiting, self._waiting = self._waiting, []
        if self._ended is not None and self._ended.done():
            self._settle(_refused(waiting))
        elif waiting:
            self._inbox.put(waiting)

    def _settle(self, batch: list[_Work]) -> None:
        for work in batch:
            if work.future.done():
                continue
            if work.error is not None:
                work.future.set_exception(work.error)
            else:
                work.future.set_result(work.answer)

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
                taken, ending = self._take(wait=stalled or not (batch or self._book.has_chores))
                batch += taken
                later = self._commit(connection, batch)
                call(self._settle, [work for work in batch if work not in later] if later else batch)
                batch = later
                if self._book.has_chores and not ending:
                    # After a failure (a full disk) the next slice waits for the next batch rather than spin.
                    stalled = self._transaction(connection, lambda: self._book.do_chore(connection)) is not None
        finally:
            connection.close()
            call(self._settle, _refused(batch + self._take(wait=False)[0]))
            call(self._ended.set_result, None)

    def _take(self, *, wait: bool) -> tuple[list[_Work], bool]:
        """All that waits, and whether the end was asked for."""
        batch: list[_Work] = []
        try:
            part = self._inbox.get(block=wait)
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
            error = self._transaction(connection, partial(_run_all, writes, connection))
            if error is not None:
                refusal = f"The store could not write: {error}."
                for work in writes:
                    work.error = StoreUnavailable(refusal, hint="Look at its disk.")
        for work in batch[len(writes) :]:
            try:
                _run(work, connection)
            except sqlite3.Error as error:
                work.error = StoreUnavailable(f"The store could not read: {error}.", hint="Look at its disk.")
        return [work for work in batch if work.answer is DEFERRED]

    def _transaction(self, connection: sqlite3.Connection, body: Callable[[], object]) -> sqlite3.Error | None:
        """Run `body` in a durable transaction, or undo it and return why."""
        try:
            connection.execute("BEGIN IMMEDIATE")
            body()
            self._book.seal(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            _log.error("a write to the store failed: %s", error)
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            self._book.undone(connection)
            return error
        self._book.sealed(connection)
        return None


def _refused(batch: list[_Work]) -> list[_Work]:
    for work in batch:
        work.error = StoreUnavailable("The store has stopped.")
    return batch


def _run_all(writes: list[_Work], connection: sqlite3.Connection) -> None:
    for work in writes:
        _run(work, connection)


def _run(work: _Work, connection: sqlite3.Connection) -> None:
    """Errors of ours are raised before anything is written, so the transaction goes on without that work."""
    try:
        work.answer = work.run(connection)
    except HeadraceError as error:
        work.error = error
