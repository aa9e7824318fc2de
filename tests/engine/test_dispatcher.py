"""When tasks are pushed: schedule time, rate, burst, concurrency, pause, purge, delete, and by hand."""

import asyncio
from asyncio import Future
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.errors import StoreUnavailable
from headrace.engine.model import (
    AppEngineUrls,
    CreateRefused,
    EngineSettings,
    Missing,
    QueueState,
    RateLimits,
    RefusedReason,
)
from headrace.engine.reach import TargetRules, parse_rule
from headrace.engine.store.sqlite import SqliteStore
from tests.engine.harness import NOW, app_engine_task, new_task, running
from tests.engine.sink import OK, Request, Sink, status


class Gate:
    """Holds all answers back until it is opened; then answers `code`."""

    def __init__(self, code: int = 200) -> None:
        self.open = asyncio.Event()
        self._answer = status(code)

    async def __call__(self, _: Request) -> bytes:
        await self.open.wait()
        return self._answer


def task_names(sink: Sink) -> list[str]:
    return [request.headers["X-CloudTasks-TaskName"] for request in sink.requests]


async def test_a_task_is_not_pushed_before_its_time() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, schedule_at=NOW + 100)
        world.advance(99.999)
        await world.quiet()
        assert sink.requests == []
        world.advance(0.001)
        await sink.received(1)


async def test_a_rate_of_one_and_a_burst_of_five_lets_five_go_and_then_one_a_second() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(rate=RateLimits(1.0, 5, 1000))
        await world.push(queue, sink.url, 8)
        for expected in (5, 6, 7, 8):
            await sink.received(expected)
            await world.quiet()
            assert len(sink.requests) == expected
            world.advance(1.0)


async def test_a_rate_below_one_and_a_rate_of_zero() -> None:
    async with Sink() as sink, running() as world:
        slow = await world.queue("slow", rate=RateLimits(0.2, 1, 1000))
        stuck = await world.queue("stuck", rate=RateLimits(0.0, 5, 1000))
        await world.push(slow, sink.url, 3)
        await world.push(stuck, sink.url, 3)
        for expected in (1, 2, 3):
            await sink.received(expected)
            world.advance(4.9)
            await world.quiet()
            assert len(sink.requests) == expected
            world.advance(0.1)
        world.advance(1e6)
        await world.quiet()
        assert len(sink.requests) == 3


async def test_a_new_rate_takes_effect_at_once() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(rate=RateLimits(0.001, 1, 1000))
        await world.push(queue, sink.url, 3)
        await sink.received(1)
        await world.queue(rate=RateLimits(500.0, 500, 1000))
        world.advance(1.0)
        await sink.received(3)


async def test_no_more_pushes_are_under_way_than_the_queue_allows() -> None:
    gate = Gate()
    async with Sink(gate) as sink, running() as world:
        queue = await world.queue(rate=RateLimits(500.0, 500, 2))
        await world.push(queue, sink.url, 10)
        await sink.received(2)
        await world.quiet()
        assert len(sink.requests) == 2
        gate.open.set()
        await world.finished(queue)
        assert len(sink.requests) == 10
        assert sink.most_under_way == 2


async def test_a_paused_queue_takes_tasks_and_pushes_them_when_it_is_resumed() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        for state in (QueueState.PAUSED, QueueState.DISABLED):
            await world.engine.set_queue_state(queue.name, state)
            await world.push(queue, sink.url)
        await world.quiet()
        assert sink.requests == []
        await world.engine.set_queue_state(queue.name, QueueState.RUNNING)
        await sink.received(2)


async def test_a_purge_kills_what_waits_and_what_is_under_way_is_not_tried_again() -> None:
    gate = Gate(500)
    async with Sink(gate) as sink, running() as world:
        queue = await world.queue(rate=RateLimits(500.0, 500, 1))
        await world.push(queue, sink.url, 5)
        await sink.received(1)
        purged = await world.engine.purge_queue(queue.name)
        assert purged is not None
        assert purged.purged_at == NOW
        (survivor,) = await world.push(queue, sink.url)
        gate.open.set()
        await sink.received(2)
        await world.waiting(queue, survivor, 1)
        world.advance(1000)
        await sink.received(3)
        assert task_names(sink)[1:] == [survivor.name] * 2


async def test_a_purge_of_many_does_not_hold_up_other_queues() -> None:
    async with Sink() as sink, running() as world:
        many = await world.queue("many", state=QueueState.PAUSED)
        for _ in range(20):
            await world.push(many, sink.url, 1000)
        await world.engine.purge_queue(many.name)
        other = await world.queue("other")
        await world.push(other, sink.url)
        await sink.received(1)
        await world.push(many, sink.url)
        await world.engine.set_queue_state(many.name, QueueState.RUNNING)
        await world.finished(many)
        assert len(sink.requests) == 2


async def test_a_deleted_task_is_not_pushed_and_one_under_way_is_not_tried_again() -> None:
    gate = Gate(500)
    async with Sink(gate) as sink, running() as world:
        queue = await world.queue(rate=RateLimits(500.0, 500, 1))
        first, second, third = await world.push(queue, sink.url, 3)
        await sink.received(1)
        assert await world.engine.delete_tasks(queue.name, [first.name]) == [None]
        assert await world.engine.delete_tasks(queue.name, [second.name]) == [None]
        assert await world.engine.delete_tasks(queue.name, [second.name]) == [Missing(True)]
        gate.open.set()
        await sink.received(2)
        await world.waiting(queue, third, 1)
        world.advance(1000)
        await sink.received(3)
        assert task_names(sink) == [first.name, third.name, third.name]


async def test_a_deleted_queue_is_gone_and_can_be_made_again() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(state=QueueState.PAUSED)
        await world.push(queue, sink.url, 3, name=None)
        assert await world.engine.delete_queue(queue.name)
        assert not await world.engine.delete_queue(queue.name)
        assert world.engine.get_queue(queue.name) is None
        (refused,) = await world.engine.create_tasks(queue.name, [new_task(sink.url)])
        assert refused == CreateRefused(RefusedReason.QUEUE_MISSING)
        again = await world.queue()
        (task,) = await world.push(again, sink.url)
        await world.finished(again)
        assert task_names(sink) == [task.name]


async def test_run_pushes_a_task_of_a_paused_queue_before_its_time_and_over_its_rate() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(state=QueueState.PAUSED, rate=RateLimits(0.0, 0, 0))
        task, _ = await world.push(queue, sink.url, 2, schedule_at=NOW + 1000)
        started = await world.engine.run_task(queue.name, task.name)
        assert not isinstance(started, Missing)
        assert started.dispatch_count == 1
        await sink.received(1)
        while not isinstance(await world.engine.run_task(queue.name, task.name), Missing):
            pass
        assert task_names(sink) == [task.name]


async def test_a_run_task_that_fails_waits_from_the_call() -> None:
    gate = Gate(500)
    async with Sink(gate) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url, schedule_at=NOW + 1000)
        await world.engine.run_task(queue.name, task.name)
        await sink.received(1)
        world.advance(4)
        gate.open.set()
        waiting = await world.waiting(queue, task, 1)
        assert waiting.schedule_at == NOW + 10
        world.advance(6)
        await world.waiting(queue, task, 2)
        world.advance(19)
        await world.quiet()
        assert len(sink.requests) == 2


async def test_a_dead_queue_holds_up_no_other_on_the_same_target() -> None:
    async def reply(request: Request) -> bytes:
        if request.headers["X-CloudTasks-QueueName"] == "dead":
            await asyncio.Event().wait()
        return OK

    async with Sink(reply) as sink, running() as world:
        dead, alive = await world.queue("dead"), await world.queue("alive")
        await world.push(dead, sink.url, 300)
        await world.push(alive, sink.url, 300)
        await world.finished(alive)


async def test_tasks_beyond_the_window_are_pushed_once_each_and_in_order() -> None:
    settings = EngineSettings(window=8)
    async with Sink() as sink, running(settings=settings) as world:
        queue = await world.queue(rate=RateLimits(500.0, 500, 1), state=QueueState.PAUSED)
        tasks = []
        for offset in (50, 10, 40, 20, 30):
            for number in range(20):
                tasks += await world.push(queue, sink.url, schedule_at=NOW + offset + number / 100)
        await world.engine.set_queue_state(queue.name, QueueState.RUNNING)
        world.advance(100)
        await world.finished(queue)
        assert task_names(sink) == [task.name for task in sorted(tasks, key=lambda task: task.schedule_at)]


async def test_large_payloads_make_the_window_short_but_lose_nothing() -> None:
    settings = EngineSettings(window_bytes=1000)
    async with Sink() as sink, running(settings=settings) as world:
        queue = await world.queue(state=QueueState.PAUSED)
        await world.push(queue, sink.url, 50, body=b"x" * 900)
        await world.engine.set_queue_state(queue.name, QueueState.RUNNING)
        await world.finished(queue)
        assert len(set(task_names(sink))) == len(sink.requests) == 50


async def test_a_create_whose_caller_went_away_is_pushed_all_the_same() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        create = asyncio.ensure_future(world.engine.create_tasks(queue.name, [new_task(sink.url)]))
        asyncio.get_running_loop().call_soon(create.cancel)
        await asyncio.gather(create, return_exceptions=True)
        assert create.cancelled()
        await sink.received(1)


async def test_what_was_under_way_when_the_engine_stopped_is_pushed_again(tmp_path: Path) -> None:
    gate = Gate()
    async with Sink(gate) as sink:
        async with running(SqliteStore(tmp_path)) as world:
            queue = await world.queue()
            await world.push(queue, sink.url, 3)
            await sink.received(3)
        gate.open.set()
        async with running(SqliteStore(tmp_path), now=NOW + 60) as world:
            await world.finished(queue)
        assert len(sink.requests) == 6


async def test_stopping_waits_for_pushes_under_way_and_writes_their_outcome(tmp_path: Path) -> None:
    gate = Gate()
    async with Sink(gate) as sink:
        async with running(SqliteStore(tmp_path), grace=30.0) as world:
            queue = await world.queue()
            await world.push(queue, sink.url, 3)
            await sink.received(3)
            asyncio.get_running_loop().call_soon(gate.open.set)
        async with running(SqliteStore(tmp_path)) as world:
            stats = world.engine.queue_stats(queue.name)
            assert stats is not None
            assert stats.pending == 0
        assert len(sink.requests) == 3


async def test_a_task_past_its_time_to_live_is_not_pushed() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(state=QueueState.PAUSED, task_ttl=100.0)
        await world.push(queue, sink.url)
        world.advance(100)
        await world.engine.set_queue_state(queue.name, QueueState.RUNNING)
        await world.finished(queue)
        await world.quiet()
        assert sink.requests == []


async def test_names_are_free_again_when_they_are_forgotten() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue(name_memory=60.0)
        await world.push(queue, sink.url, name="a")
        await world.finished(queue)
        refused = await world.engine.create_tasks(queue.name, [new_task(sink.url, name="a")])
        assert refused == [CreateRefused(RefusedReason.EXISTED_RECENTLY)]
        world.advance(60)
        assert await world.push(queue, sink.url, name="a")


class FailingStore(SqliteStore):
    """Its disk fails the first time that a claim is asked for; completions it keeps by itself until they succeed."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.has_failed = False

    def claim(self, *arguments: Any) -> Future[Any]:
        if self.has_failed:
            return super().claim(*arguments)
        self.has_failed = True
        return failed()


def failed() -> Future[Any]:
    future: Future[Any] = asyncio.get_running_loop().create_future()
    future.set_exception(StoreUnavailable("The disk has failed."))
    return future


async def test_tasks_that_could_not_be_read_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.engine.dispatcher._STORE_RETRY", 0.0)
    async with Sink() as sink:
        async with running(SqliteStore(tmp_path)) as world:
            queue = await world.queue(state=QueueState.PAUSED)
            await world.push(queue, sink.url, 3)
        store = FailingStore(tmp_path)
        async with running(store) as world:
            await world.engine.set_queue_state(queue.name, QueueState.RUNNING)
            await world.finished(queue)
        assert store.has_failed
        assert len(sink.requests) == 3


async def test_stats_tell_what_waits() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, 2, schedule_at=NOW + 30)
        stats = world.engine.queue_stats(queue.name)
        assert stats is not None
        assert (stats.pending, stats.in_flight, stats.oldest_due) == (2, 0, NOW + 30)
        assert world.engine.queue_stats("none") is None


async def test_an_answer_with_a_senseless_retry_after_lets_the_task_be_tried_again() -> None:
    async def reply(_: Request) -> bytes:
        return status(503, "Retry-After: Fri, 15 Jan 99999999999999999999 08:00:30 GMT\r\n")

    async with Sink(reply) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url)
        assert (await world.waiting(queue, task, pushes=1)).schedule_at == NOW + 10


async def test_where_nothing_can_be_reached_nothing_is_refused() -> None:
    rules = TargetRules((parse_rule("allowed.example"),))
    async with running(settings=EngineSettings(app_engine=AppEngineUrls("no url"), reach=rules)) as world:
        queue = await world.queue()
        assert world.engine.may_reach(queue.name, app_engine_task().target)
        assert not world.engine.may_reach(queue.name, new_task("http://other.example").target)
