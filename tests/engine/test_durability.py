"""What the SQLite store keeps when its disk is full, its file is damaged, or its process is killed."""

import asyncio
import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from headrace.engine.errors import StoreUnavailable
from headrace.engine.model import Missing, QueueState
from headrace.engine.store.interface import Record
from headrace.engine.store.sqlite import SqliteStore
from headrace.errors import StartError
from tests.engine.harness import running
from tests.engine.store_conformance import FIRST, NOW, claim_all, create, done, queue, record
from tests.engine.test_sqlite_store import opened

MIB = 1 << 20


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process may grow past 64 KiB; the store's log of writes is past that already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / "tasks.db")) as connection:
        number: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        return number


async def fill(store: SqliteStore, queue_id: int, number: int) -> list[Record]:
    """Named tasks of 2 KB."""
    made = [
        Record(store.new_id(NOW), queue_id, NOW, f"n{i}", NOW, 600.0, b"target", b"x" * 2048) for i in range(number)
    ]
    assert await create(store, *made) == [None] * number
    return made


# A full disk.


async def test_completions_that_a_full_disk_refuses_are_written_when_there_is_room(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        made = await fill(store, at.id, 100)
        with full_disk():
            completions = [store.complete(store.epoch, [done(task)], []) for task in made[:50]]
            with pytest.raises(StoreUnavailable):
                await create(store, record(store, at, "refused"))
            assert await claim_all(store, at.id) == made
            assert not any(completion.done() for completion in completions)
        await asyncio.gather(*completions)
        assert await claim_all(store, at.id) == made[50:]
        assert store.pending(at.id) == 50
        assert await store.find(at.id, "n0", NOW) == Missing(True)
        assert await create(store, record(store, at, "refused")) == [None]


async def test_a_store_that_is_closed_on_a_full_disk_keeps_what_was_not_completed(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        made = await fill(store, at.id, 100)
        with full_disk():
            completion = store.complete(store.epoch, [done(made[0])], [])
            await store.close()
        with pytest.raises(StoreUnavailable):
            await completion
    async with opened(SqliteStore(tmp_path)) as store:
        assert await claim_all(store, at.id) == made


async def test_a_purge_that_a_full_disk_stops_goes_on_by_itself(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        for _ in range(10):
            await create(store, *(record(store, at) for _ in range(1000)))
        await store.purge(at.id, NOW)
        with full_disk():
            claim = store.claim(at.id, store.epoch, FIRST, 9, MIB)
            with pytest.raises(StoreUnavailable):
                await create(store, record(store, at))
            assert not claim.done()
        assert await claim == []


async def test_a_task_too_large_for_the_room_left_holds_up_nothing_beside_it(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path, max_bytes=400_000)) as store:
        at = await store.put_queue(queue())
        await fill(store, at.id, 20)
        large = record(store, at, "large")._replace(body=b"x" * 400_000)
        answers = await asyncio.gather(
            create(store, record(store, at, "before")),
            create(store, large),
            store.delete(at.id, ["n0"], NOW + 60, NOW),
            create(store, record(store, at, "after")),
            return_exceptions=True,
        )
        assert isinstance(answers[1], StoreUnavailable)
        assert [answers[0], answers[3]] == [[None], [None]]
        assert store.pending(at.id) == 21
        assert {"before", "after"} <= {task.name for task in await store.page(at.id, 0, 99)}


async def test_a_purge_that_was_refused_leaves_the_queue_as_it_was(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        made = await fill(store, at.id, 100)
        with full_disk():
            for refused in (store.purge(at.id, NOW), store.drop_queue(at.id, NOW), store.put_queue(queue("other"))):
                with pytest.raises(StoreUnavailable):
                    await refused
        assert store.pending(at.id) == 100
        assert await claim_all(store, at.id) == made
        assert await create(store, record(store, at)) == [None]


async def test_a_completion_without_company_is_not_kept_waiting(tmp_path: Path) -> None:
    """5 ms and one durable write; a tenth of a second leaves room for a busy machine."""
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        (made,) = await fill(store, at.id, 1)
        async with asyncio.timeout(0.1):
            await store.complete(store.epoch, [done(made)], [])


async def test_a_value_that_sqlite_cannot_hold_is_refused_alone(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path)) as store:
        at = await store.put_queue(queue())
        answers = await asyncio.gather(
            create(store, record(store, at, "before")),
            create(store, record(store, at)._replace(dispatch_count=1 << 64)),
            store.page(at.id, 1 << 64, 9),
            create(store, record(store, at, "after")),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers] == [list, StoreUnavailable, StoreUnavailable, list]
        assert [task.name for task in await claim_all(store, at.id)] == ["before", "after"]


# A damaged file.


async def filled_file(folder: Path) -> tuple[int, list[Record]]:
    """A closed store with 200 tasks: its queue and its tasks."""
    async with opened(SqliteStore(folder)) as store:
        at = await store.put_queue(queue())
        return at.id, await fill(store, at.id, 200)


@pytest.mark.parametrize("size", [1, 99, 4096, 100_000])
async def test_a_file_that_was_cut_short_stops_the_start(tmp_path: Path, size: int) -> None:
    await filled_file(tmp_path)
    os.truncate(tmp_path / "tasks.db", size)
    with pytest.raises(StartError, match="Put a backup in its place"):
        await SqliteStore(tmp_path).open()


async def test_a_file_whose_header_was_overwritten_stops_the_start(tmp_path: Path) -> None:
    await filled_file(tmp_path)
    with (tmp_path / "tasks.db").open("r+b") as file:
        file.write(b"\xa5" * 100)
    with pytest.raises(StartError, match="Put a backup in its place"):
        await SqliteStore(tmp_path).open()


async def test_no_overwritten_page_loses_a_task_in_silence(tmp_path: Path) -> None:
    """Of each page in turn: the start stops, or reads and writes that need it are refused, or nothing is missing."""
    queue_id, made = await filled_file(tmp_path / "whole")
    whole = (tmp_path / "whole" / "tasks.db").read_bytes()
    noise = random.Random(0)
    noticed = 0
    for page in range(len(whole) // 4096):
        folder = tmp_path / str(page)
        folder.mkdir()
        damaged = bytearray(whole)
        damaged[page * 4096 : (page + 1) * 4096] = noise.randbytes(4096)
        (folder / "tasks.db").write_bytes(damaged)
        try:
            async with opened(SqliteStore(folder)) as store:
                assert await claim_all(store, queue_id) == made
                assert await store.page(queue_id, 0, 1000) == made
                for task in made:
                    assert await store.find(queue_id, task.name or "", NOW) == task
        except (StartError, StoreUnavailable):
            noticed += 1
    assert noticed > 100


# A killed process.

_KILLED_AT_ONCE = """
import asyncio, os, signal, sys
from pathlib import Path
from headrace.engine.store.ledger import Ledger
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.harness import running
from tests.engine.store_conformance import queue, record, create

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    at = await store.put_queue(queue())
    await create(store, record(store, at, "answered"))
    setattr(Ledger, sys.argv[2], lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    await create(store, record(store, at, "not answered"))

asyncio.run(main())
"""
_PURGES_AND_DROPS = """
import asyncio, sys
from pathlib import Path
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.harness import running
from tests.engine.store_conformance import NOW, queue, record, create

async def main():
    store = SqliteStore(Path(sys.argv[1]))
    await store.open()
    purged, dropped = await store.put_queue(queue("purged")), await store.put_queue(queue("dropped"))
    for at in (purged, dropped):
        for _ in range(20):
            await create(store, *(record(store, at, f"n{store.new_id(NOW)}") for _ in range(1000)))
    await asyncio.gather(store.purge(purged.id, NOW), store.drop_queue(dropped.id, NOW))
    await create(store, record(store, purged, "after"))
    print("answered", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def child(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize(("moment", "kept"), [("seal", ["answered"]), ("sealed", ["answered", "not answered"])])
async def test_a_kill_just_before_the_commit_keeps_nothing_and_one_just_after_it_keeps_all(
    tmp_path: Path, moment: str, kept: list[str]
) -> None:
    with child(_KILLED_AT_ONCE, str(tmp_path), moment) as process:
        assert process.wait() == -signal.SIGKILL
    store = SqliteStore(tmp_path)
    (stored,) = await store.open()
    assert [task.name for task in await claim_all(store, stored.id)] == kept
    assert store.pending(stored.id) == len(kept)
    assert (await store.find(stored.id, "not answered", NOW) == Missing(False)) is (len(kept) == 1)
    await store.close()


async def test_a_purge_and_a_drop_that_a_kill_cut_off_go_on(tmp_path: Path) -> None:
    with child(_PURGES_AND_DROPS, str(tmp_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "answered\n"
        process.kill()
    store = SqliteStore(tmp_path)
    (purged,) = await store.open()
    assert store.pending(purged.id) == 1
    assert [task.name for task in await store.page(purged.id, 0, 9)] == ["after"]
    assert [task.name for task in await claim_all(store, purged.id)] == ["after"]
    again = await store.put_queue(queue("dropped"))
    assert await claim_all(store, again.id) == []
    await store.close()


# Bounds.


async def test_a_flood_of_names_is_cut_to_its_bound_in_slices(tmp_path: Path) -> None:
    async with opened(SqliteStore(tmp_path, remembered_limit=500)) as store:
        at = await store.put_queue(queue())
        for _ in range(4):
            made = [record(store, at, f"n{store.new_id(NOW)}") for _ in range(1000)]
            await create(store, *made)
            await store.complete(store.epoch, [done(task) for task in made], [])
        assert count(tmp_path, "name") == 4000
        await store.expire(NOW)
        while count(tmp_path, "name") > 500:
            await create(store, record(store, at))
        assert count(tmp_path, "name") == 500
        while count(tmp_path, "name"):
            await store.expire(NOW + 7200)
            await create(store, record(store, at))


async def test_large_bodies_that_wait_are_not_kept_in_memory(tmp_path: Path) -> None:
    """64 tasks of 1 MiB, due and paused: what is held is bounded by `window_bytes`, also after a new start."""
    for count_made in (64, 0):
        tracemalloc.start()
        try:
            async with running(SqliteStore(tmp_path)) as world:
                paused = await world.queue(state=QueueState.PAUSED)
                for _ in range(count_made):
                    await world.push(paused, "http://127.0.0.1:9/", body=b"x" * MIB)
                await world.engine.list_tasks(paused.name, 0, 1)
                stats = world.engine.queue_stats(paused.name)
                assert stats is not None
                assert stats.pending == 64
                assert tracemalloc.get_traced_memory()[0] < 8 * MIB
        finally:
            tracemalloc.stop()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_store_that_fails_for_good_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours in the store's thread, such as no disk makes."""

    def fail(*_arguments: object) -> None:
        raise RuntimeError("a fault in the store's thread")

    async with opened(SqliteStore(tmp_path)) as store:
        ended = asyncio.ensure_future(store.ended())
        await asyncio.sleep(0)
        assert not ended.done()
        monkeypatch.setattr(store._ledger, "expire", fail)
        with pytest.raises(StoreUnavailable):
            await store.expire(NOW)
        async with asyncio.timeout(10):
            await ended
