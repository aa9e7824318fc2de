"""What every store keeps to. A store's own test file subclasses `StoreConformance` and says how to open one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from math import inf

import pytest

from headrace.engine.errors import StaleEpoch
from headrace.engine.model import (
    AppEngineRouting,
    HttpOverrides,
    Missing,
    OidcToken,
    Queue,
    QueueState,
    RateLimits,
    RefusedReason,
    RetryLimits,
    UriOverride,
)
from headrace.engine.store.interface import Document, Done, Place, Record, Store, StoredQueue

NOW = 1_800_000_000.0
FIRST = Place(-inf, 0)
EXISTS, EXISTED_RECENTLY = RefusedReason.EXISTS, RefusedReason.EXISTED_RECENTLY


def queue(name: str = "q", **changes: object) -> Queue:
    values: dict[str, object] = {
        "name": name,
        "rate": RateLimits(1.5, 5, 10),
        "retry": RetryLimits(3, 60.0, 0.1, 300.0, 4),
        "state": QueueState.RUNNING,
        "purged_at": None,
        "name_memory": 3600.0,
        "task_ttl": 86_400.0,
    }
    return Queue(**(values | changes))  # type: ignore[arg-type]


OVERRIDDEN = queue(
    http_overrides=HttpOverrides(
        UriOverride("https", "example.com", 8443, "/path", "a=b", only_if_missing=True),
        "PUT",
        (("X-One", "1"), ("X-One", "2")),
        OidcToken("someone@example.com", "audience"),
    ),
    routing=AppEngineRouting("service", "version", "instance"),
)


def record(store: Store, at: StoredQueue, name: str | None = None, due: float = NOW, now: float = NOW) -> Record:
    return Record(store.new_id(now), at.id, due, name, now, 600.0, b"target", b"body")


def done(made: Record) -> Done:
    return Done(made.queue_id, made.id, made.name, NOW + 3600)


async def create(store: Store, *records: Record, now: float = NOW) -> list[RefusedReason | None]:
    return await store.create(records, now)


async def claim_all(store: Store, queue_id: int, after: Place = FIRST, limit: int = 1000) -> list[Record]:
    return await store.claim(queue_id, store.epoch, after, limit, 1 << 30)


def _note(order: list[int], number: int, _: object) -> None:
    order.append(number)


class StoreConformance:
    """`opened` gives an open store; within one test, always the same data."""

    def opened(self) -> AbstractAsyncContextManager[Store]:
        raise NotImplementedError

    @asynccontextmanager
    async def with_queue(self) -> AsyncIterator[tuple[Store, StoredQueue]]:
        async with self.opened() as store:
            yield store, await store.put_queue(queue())

    async def test_a_queue_put_again_keeps_its_state_and_purge_time(self) -> None:
        async with self.with_queue() as (store, first):
            await store.set_state(first.id, QueueState.PAUSED)
            purged = await store.purge(first.id, NOW)
            again = await store.put_queue(queue(rate=RateLimits(9.0, 9, 9)))
            assert again.id == first.id
            assert again.queue == queue(rate=RateLimits(9.0, 9, 9), state=QueueState.PAUSED, purged_at=NOW)
            assert purged is not None
            assert again.purged_id == purged.purged_id

    async def test_tasks_are_claimed_by_schedule_time_then_by_id_from_any_place(self) -> None:
        async with self.with_queue() as (store, at):
            made = [record(store, at, due=NOW + due) for due in (2, 1, 1, 3, 1)]
            assert await create(store, *made) == [None] * 5
            claimed = await claim_all(store, at.id)
            assert [made.index(task) for task in claimed] == [1, 2, 4, 0, 3]
            for count, task in enumerate(claimed, 1):
                assert await claim_all(store, at.id, Place(task.due, task.id)) == claimed[count:]
            assert await claim_all(store, at.id, limit=2) == claimed[:2]

    async def test_a_claim_stops_near_its_bound_of_bytes_but_gives_one_task(self) -> None:
        async with self.with_queue() as (store, at):
            await create(store, *(record(store, at) for _ in range(9)))
            assert len(await store.claim(at.id, store.epoch, FIRST, 9, 1)) == 1
            assert len(await store.claim(at.id, store.epoch, FIRST, 9, 8)) == 2

    async def test_queues_do_not_see_each_others_tasks(self) -> None:
        async with self.with_queue() as (store, at):
            other = await store.put_queue(queue("other"))
            mine, theirs = record(store, at, "same"), record(store, other, "same")
            assert await create(store, mine, theirs) == [None, None]
            assert await claim_all(store, other.id) == [theirs]
            assert await store.find(at.id, "same", NOW) == mine
            assert await store.page(at.id, 0, 9) == [mine]
            assert (store.pending(at.id), store.pending(other.id)) == (1, 1)

    async def test_a_task_without_a_name_goes_by_its_id(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at)
            await create(store, made)
            assert await store.find(at.id, str(made.id), NOW) == made
            assert await store.find(at.id, f"0{made.id}", NOW) == Missing(False)
            assert await create(store, record(store, at, str(made.id))) == [EXISTS]

    async def test_a_taken_name_is_refused_and_the_rest_is_created(self) -> None:
        async with self.with_queue() as (store, at):
            answers = await create(store, *(record(store, at, name) for name in ("a", "b", "a")))
            assert answers == [None, None, EXISTS]
            assert store.pending(at.id) == 2

    async def test_a_finished_tasks_name_is_taken_until_it_is_forgotten(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at, "a")
            await create(store, made)
            await store.complete(store.epoch, [done(made)], [])
            assert await store.find(at.id, "a", NOW) == Missing(True)
            assert await create(store, record(store, at, "a")) == [EXISTED_RECENTLY]
            assert await store.find(at.id, "a", NOW + 3600) == Missing(False)
            assert await create(store, record(store, at, "a"), now=NOW + 3600) == [None]

    async def test_a_deleted_tasks_name_is_taken_too(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at, "a")
            await create(store, made)
            assert await store.delete(at.id, ["a"], NOW + 60, NOW) == [made.id]
            assert await store.delete(at.id, ["a"], NOW + 60, NOW) == [Missing(True)]
            assert await create(store, record(store, at, "a")) == [EXISTED_RECENTLY]
            assert store.pending(at.id) == 0

    async def test_a_task_for_a_queue_that_is_gone_is_refused(self) -> None:
        async with self.with_queue() as (store, at):
            await store.drop_queue(at.id, NOW)
            assert await create(store, record(store, at)) == [RefusedReason.QUEUE_MISSING]
            assert await store.set_state(at.id, QueueState.PAUSED) is None
            assert await store.purge(at.id, NOW) is None

    async def test_a_queue_that_is_dropped_twice_is_gone_and_the_store_goes_on(self) -> None:
        async with self.with_queue() as (store, at):
            await store.drop_queue(at.id, NOW)
            await store.drop_queue(at.id, NOW)
            again = await store.put_queue(queue())
            assert await create(store, record(store, again, "a")) == [None]

    async def test_a_queue_made_again_starts_without_tasks_and_names(self) -> None:
        async with self.with_queue() as (store, at):
            await create(store, record(store, at, "a"))
            await store.drop_queue(at.id, NOW)
            again = await store.put_queue(queue())
            assert await claim_all(store, again.id) == []
            assert await create(store, record(store, again, "a")) == [None]

    async def test_a_task_to_be_pushed_again_is_rewritten(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at, "a")
            await create(store, made)
            again = made._replace(
                due=NOW + 10, dispatch_count=1, response_count=1, first_at=NOW, last_dispatched_at=NOW,
                last_scheduled_at=NOW, last_responded_at=NOW + 1, last_status=503, last_error="", previous=503,
            )  # fmt: skip
            await store.complete(store.epoch, [], [again])
            assert await claim_all(store, at.id) == [again]

    async def test_completing_what_is_gone_changes_nothing(self) -> None:
        async with self.with_queue() as (store, at):
            gone, kept = record(store, at, "gone"), record(store, at)
            await create(store, gone, kept)
            await store.delete(at.id, ["gone"], NOW + 60, NOW)
            await store.complete(store.epoch, [done(gone)], [gone._replace(due=NOW + 1)])
            assert await claim_all(store, at.id) == [kept]
            assert store.pending(at.id) == 1

    async def test_an_owner_whose_epoch_has_ended_can_neither_claim_nor_complete(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at)
            await create(store, made)
            with pytest.raises(StaleEpoch):
                await store.complete(store.epoch - 1, [done(made)], [])
            with pytest.raises(StaleEpoch):
                await store.claim(at.id, store.epoch - 1, FIRST, 1, 1)
            assert await claim_all(store, at.id) == [made]

    async def test_a_stale_completion_is_refused_whole_beside_a_create_that_is_not(self) -> None:
        async with self.with_queue() as (store, at):
            finished, failed = record(store, at, "finished"), record(store, at, "failed")
            await create(store, finished, failed)
            stale = store.complete(store.epoch - 1, [done(finished)], [failed._replace(due=NOW + 1)])
            created = store.create([record(store, at, "new")], NOW)
            with pytest.raises(StaleEpoch):
                await stale
            assert await created == [None]
            assert [task.name for task in await claim_all(store, at.id)] == ["finished", "failed", "new"]
            assert store.pending(at.id) == 3

    async def test_a_purge_kills_what_was_created_before_and_nothing_after(self) -> None:
        async with self.with_queue() as (store, at):
            before = record(store, at, "before")
            before_too = [record(store, at) for _ in range(2500)]
            await create(store, before, *before_too)
            await store.purge(at.id, NOW)
            after = record(store, at, "after")
            await create(store, after)
            assert await store.find(at.id, "before", NOW) == Missing(True)
            assert await create(store, record(store, at, "before")) == [EXISTED_RECENTLY]
            assert await store.page(at.id, 0, 9) == [after]
            await store.complete(store.epoch, [done(before)], [])
            assert store.pending(at.id) == 1
            assert await claim_all(store, at.id) == [after]
            assert await create(store, record(store, at, "before")) == [EXISTED_RECENTLY]

    async def test_writes_are_settled_in_the_order_in_which_they_were_handed_in(self) -> None:
        async with self.with_queue() as (store, at):
            order: list[int] = []
            futures = [store.create([record(store, at)], NOW) for _ in range(20)]
            for number, future in enumerate(futures):
                future.add_done_callback(partial(_note, order, number))
            await asyncio.gather(*futures)
            assert order == list(range(20))

    async def test_pages_go_by_id(self) -> None:
        async with self.with_queue() as (store, at):
            made = [record(store, at, due=NOW - number) for number in range(5)]
            await create(store, *made)
            assert await store.page(at.id, 0, 3) == made[:3]
            assert await store.page(at.id, made[2].id, 3) == made[3:]

    async def test_tasks_past_their_time_to_live_are_removed(self) -> None:
        async with self.with_queue() as (store, at):
            old, young = record(store, at, "old"), record(store, at, now=NOW + 10)
            await create(store, old, young)
            await store.expire(NOW + 86_401)
            await self.settled(store)
            assert await store.page(at.id, 0, 9) == [young]
            assert store.pending(at.id) == 1
            assert await create(store, record(store, at, "old"), now=NOW + 86_401) == [EXISTED_RECENTLY]

    async def test_documents_are_kept_by_kind_and_key(self) -> None:
        async with self.opened() as store:
            await store.save_document("job", "a", b"first")
            await store.save_document("job", "a", b"second")
            await store.save_document("job", "b", b"\x00\xff")
            await store.save_document("policy", "a", b"theirs")
            await store.delete_document("job", "never saved")
            assert await store.load_documents("job") == {"a": b"second", "b": b"\x00\xff"}
            await store.delete_document("job", "a")
            assert await store.load_documents("job") == {"b": b"\x00\xff"}
            assert await store.load_documents("policy") == {"a": b"theirs"}
            assert await store.load_documents("none") == {}

    async def test_a_receipt_is_kept_with_what_it_is_a_receipt_of(self) -> None:
        async with self.with_queue() as (store, at):
            made, again = record(store, at, "a"), record(store, at, "a")
            answers = await store.create(
                [made, again], NOW, lambda told: Document("receipt", "create", repr(told).encode())
            )
            assert answers == [None, EXISTS]
            deleted = await store.delete(
                at.id, ["a", "b"], NOW, NOW, lambda told: Document("receipt", "delete", repr(told).encode())
            )
            assert deleted == [made.id, Missing(False)]
            kept = {"create": repr(answers).encode(), "delete": repr(deleted).encode()}
            assert await store.load_documents("receipt") == kept

    async def test_what_a_queue_puts_over_its_tasks_is_kept_and_taken_off_again(self) -> None:
        async with self.opened() as store:
            stored = await store.put_queue(OVERRIDDEN)
            assert stored.queue == OVERRIDDEN
            assert (await store.put_queue(queue())).queue == queue()

    async def test_a_tasks_own_retry_limits_stay_with_it(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at)._replace(retry=b"limits")
            await create(store, made)
            await store.complete(store.epoch, [], [made._replace(due=NOW + 1, dispatch_count=1)])
            assert await claim_all(store, at.id) == [made._replace(due=NOW + 1, dispatch_count=1)]
            assert await store.find(at.id, str(made.id), NOW) == made._replace(due=NOW + 1, dispatch_count=1)

    async def test_ids_grow_though_the_clock_goes_back(self) -> None:
        async with self.opened() as store:
            ids = [store.new_id(now) for now in (NOW, NOW, NOW - 100, NOW + 1)]
            assert ids == sorted(set(ids))

    async def settled(self, store: Store) -> None:
        """Wait until background work has been done; a queue's claim waits for its own purge."""
        other = await store.put_queue(queue("settled"))
        await store.purge(other.id, NOW)
        for _ in range(4):
            await claim_all(store, other.id)
            await store.load_documents("settled")


class DurableStoreConformance(StoreConformance):
    """For stores that outlive their process."""

    async def test_what_was_answered_is_there_when_the_store_is_opened_again(self) -> None:
        async with self.with_queue() as (store, at):
            kept, finished = record(store, at, "kept"), record(store, at, "finished")
            await create(store, kept, finished)
            await store.complete(store.epoch, [done(finished)], [])
            epoch, last = store.epoch, store.new_id(NOW)
        async with self.opened() as store:
            assert store.epoch > epoch
            assert store.pending(at.id) == 1
            assert await claim_all(store, at.id) == [kept]
            assert await store.find(at.id, "finished", NOW) == Missing(True)
            assert store.new_id(NOW) >= last - 1

    async def test_queues_documents_and_own_retry_limits_are_there_when_the_store_is_opened_again(self) -> None:
        async with self.opened() as store:
            stored = await store.put_queue(OVERRIDDEN)
            await store.save_document("job", "a", b"document")
            made = record(store, stored)._replace(retry=b"limits")
            await create(store, made)
        async with self.opened() as store:
            assert await store.load_documents("job") == {"a": b"document"}
            assert (await store.put_queue(OVERRIDDEN)) == stored
            assert await claim_all(store, stored.id) == [made]

    async def test_an_earlier_owner_can_neither_claim_nor_complete_after_a_later_one_has_opened(self) -> None:
        async with self.with_queue() as (store, at):
            made = record(store, at)
            await create(store, made)
            earlier = store.epoch
        async with self.opened() as store:
            assert store.epoch > earlier
            for outcome in ([done(made)], []), ([], [made._replace(due=NOW + 1)]):
                with pytest.raises(StaleEpoch):
                    await store.complete(earlier, *outcome)
            with pytest.raises(StaleEpoch):
                await store.claim(at.id, earlier, FIRST, 1, 1)
            assert await claim_all(store, at.id) == [made]

    async def test_a_queue_that_was_dropped_stays_gone_and_its_rows_go(self) -> None:
        async with self.with_queue() as (store, at):
            await create(store, *(record(store, at, f"n{number}") for number in range(3000)))
            await store.drop_queue(at.id, NOW)
        async with self.opened() as store:
            again = await store.put_queue(queue())
            assert again.id != at.id
            assert store.pending(again.id) == 0
            assert await claim_all(store, again.id) == []
            assert await create(store, record(store, again, "n0")) == [None]

    async def test_a_purge_that_was_cut_off_goes_on(self) -> None:
        async with self.with_queue() as (store, at):
            await create(store, *(record(store, at) for _ in range(5000)))
            await store.purge(at.id, NOW)
        async with self.opened() as store:
            assert store.pending(at.id) == 0
            assert await claim_all(store, at.id) == []
