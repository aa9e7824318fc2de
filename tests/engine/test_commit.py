"""Group commit: what shares a write, and that nothing that was handed in is left behind."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from headrace.engine.store.commit import Committer

WAIT = 10.0


class Book:
    """Counts the transactions."""

    has_chores = False

    def __init__(self) -> None:
        self.transactions = 0

    def seal(self, connection: sqlite3.Connection) -> None: ...

    def sealed(self) -> None:
        self.transactions += 1

    def undone(self) -> None: ...

    def do_chore(self, connection: sqlite3.Connection) -> None: ...


class Gate:
    """Work that holds the store's thread until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, _connection: sqlite3.Connection) -> None:
        self.entered.set()
        assert self.opened.wait(WAIT)


def run(scenario: Callable[[Committer, Book], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        book = Book()
        committer = Committer(book, patience=0.0)
        await committer.start(lambda: sqlite3.connect(":memory:", isolation_level=None))
        async with asyncio.timeout(WAIT):
            await scenario(committer, book)
        await committer.stop()

    asyncio.run(main())


async def turns_of_the_loop(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def answer(_connection: sqlite3.Connection) -> str:
    return "done"


def test_what_comes_while_the_thread_works_shares_one_write() -> None:
    async def scenario(committer: Committer, book: Book) -> None:
        gate = Gate()
        first = committer.submit(gate, writes=True)
        await asyncio.to_thread(gate.entered.wait, WAIT)
        others = []
        for _ in range(4):
            others.append(committer.submit(answer, writes=True))
            await turns_of_the_loop()
        gate.opened.set()
        await first
        assert await asyncio.gather(*others) == ["done"] * 4
        assert book.transactions == 2

    run(scenario)


def test_patient_work_whose_time_is_over_while_the_thread_works_is_done_after_it() -> None:
    async def scenario(committer: Committer, _book: Book) -> None:
        gate = Gate()
        first = committer.submit(gate, writes=True)
        await asyncio.to_thread(gate.entered.wait, WAIT)
        patient = committer.submit(answer, writes=True, patient=True)
        await turns_of_the_loop()
        gate.opened.set()
        await first
        assert await patient == "done"

    run(scenario)


def test_what_waits_at_the_stop_is_done() -> None:
    async def scenario(committer: Committer, _book: Book) -> None:
        gate = Gate()
        first = committer.submit(gate, writes=True)
        await asyncio.to_thread(gate.entered.wait, WAIT)
        waits = [committer.submit(answer, writes=True, patient=patient) for patient in (False, True)]
        await turns_of_the_loop()
        stopping = asyncio.create_task(committer.stop())
        await turns_of_the_loop()
        gate.opened.set()
        await stopping
        assert first.done()
        assert [await work for work in waits] == ["done", "done"]

    run(scenario)
