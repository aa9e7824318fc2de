"""The SQLite store: the suite, on a file and in memory, and what is its own."""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from headrace.engine.errors import StoreUnavailable
from headrace.engine.model import Missing
from headrace.engine.store.interface import Record, Store
from headrace.engine.store.sqlite import SqliteStore
from headrace.errors import StartError
from tests.engine.store_conformance import (
    NOW,
    DurableStoreConformance,
    StoreConformance,
    claim_all,
    create,
    done,
    queue,
    record,
)


@asynccontextmanager
async def opened(store: SqliteStore) -> AsyncIterator[SqliteStore]:
    await store.open()
    try:
        yield store
    finally:
        await store.close()


class TestSqliteStoreInMemory(StoreConformance):
    def opened(self) -> AbstractAsyncContextManager[Store]:
        return opened(SqliteStore(None))


class TestSqliteStoreOnDisk(DurableStoreConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path / "data"

    def opened(self) -> AbstractAsyncContextManager[Store]:
        return opened(SqliteStore(self.folder))


async def test_a_second_store_on_a_folder_names_the_holder(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)):
        with pytest.raises(StartError, match=f"held by the process with id {os.getpid()}"):
            await SqliteStore(tmp_path).open()
    async with opened(SqliteStore(tmp_path)):
        pass


async def test_a_folder_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be written"):
        await SqliteStore(tmp_path / "file").open()


@pytest.mark.parametrize(
    "content", [b"not a database, but long enough to be taken for one" * 100, b"SQLite format 3\0" * 99]
)
async def test_a_corrupt_file_stops_the_start_and_lets_the_folder_go(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tasks.db").write_bytes(content)
    with pytest.raises(StartError, match=r"tasks\.db cannot be opened"):
        await SqliteStore(tmp_path).open()
    (tmp_path / "tasks.db").unlink()
    async with opened(SqliteStore(tmp_path)):
        pass


async def test_a_file_of_a_later_version_stops_the_start(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)):
        pass
    connection = sqlite3.connect(tmp_path / "tasks.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StartError, match="has version 99"):
        await SqliteStore(tmp_path).open()


async def test_another_programs_database_stops_the_start(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "tasks.db")
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(StartError, match="not a store of Headrace"):
        await SqliteStore(tmp_path).open()


async def test_a_full_disk_refuses_creates_loses_nothing_and_lets_tasks_finish(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path, max_bytes=400_000)) as store:
        at = await store.put_queue(queue())
        accepted: list[Record] = []

        async def fill() -> None:
            while True:
                made = record(store, at)._replace(body=b"x" * 1000)
                await create(store, made)
                accepted.append(made)

        with pytest.raises(StoreUnavailable, match="full"):
            await fill()
        assert len(accepted) > 50
        assert await claim_all(store, at.id) == accepted
        assert store.pending(at.id) == len(accepted)
        await store.complete(store.epoch, [done(made) for made in accepted], [])
        assert await create(store, record(store, at)) == [None]


async def test_a_create_refused_by_a_full_disk_does_not_take_its_name(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path, max_bytes=400_000)) as store:
        at = await store.put_queue(queue())
        with pytest.raises(StoreUnavailable):
            await create(store, record(store, at, "a")._replace(body=b"x" * 400_000))
        assert await store.find(at.id, "a", NOW) == Missing(False)
        assert await create(store, record(store, at, "a")) == [None]


async def test_no_more_names_of_finished_tasks_are_kept_than_allowed() -> None:
    async with opened(SqliteStore(None, remembered_limit=3)) as store:
        at = await store.put_queue(queue())
        made = [record(store, at, f"n{number}") for number in range(5)]
        await create(store, *made)
        for number, task in enumerate(made):
            await store.complete(store.epoch, [done(task)._replace(forget_at=NOW + 100 + number)], [])
        await store.expire(NOW)
        await TestSqliteStoreInMemory().settled(store)
        found = [await store.find(at.id, task.name or "", NOW) for task in made]
        assert found == [Missing(False)] * 2 + [Missing(True)] * 3


async def test_a_name_is_counted_once_though_its_task_was_purged_and_finished() -> None:
    async with opened(SqliteStore(None, remembered_limit=2)) as store:
        at = await store.put_queue(queue())
        purged = record(store, at, "purged")
        await create(store, purged)
        await asyncio.gather(store.purge(at.id, NOW), store.complete(store.epoch, [done(purged)], []))
        other = record(store, at, "other")
        await create(store, other)
        await store.complete(store.epoch, [done(other)], [])
        await store.expire(NOW)
        await TestSqliteStoreInMemory().settled(store)
        assert [await store.find(at.id, name, NOW) for name in ("purged", "other")] == [Missing(True)] * 2


_CREATES_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.store_conformance import queue, record, create

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    at = await store.put_queue(queue())
    async def creates(writer):
        for number in range(10**9):
            name = f"{writer}-{number}"
            await create(store, record(store, at, name))
            sys.stdout.write(name + chr(10))
            sys.stdout.flush()
    await asyncio.gather(*(creates(writer) for writer in range(8)))

asyncio.run(main())
"""


async def test_creates_that_were_answered_survive_a_killed_process(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _CREATES_UNTIL_KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        assert process.stdout is not None
        answered = [process.stdout.readline() for _ in range(200)]
        process.kill()
        answered += process.stdout.readlines()
    names = {line.strip() for line in answered if line.endswith("\n")}
    store = SqliteStore(tmp_path)
    (stored,) = await store.open()
    kept = {task.name for task in await claim_all(store, stored.id, limit=1_000_000)}
    await store.close()
    assert names <= kept
    assert store.pending(stored.id) == len(kept)
