"""What a push looks like, and what its answer does to the task."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.model import (
    AppEngineUrls,
    CreateRefused,
    EngineSettings,
    Missing,
    OAuthToken,
    OidcToken,
    RetryLimits,
    Task,
)
from headrace.engine.reach import TargetRules, parse_rule
from tests.engine.harness import NOW, World, app_engine_task, running
from tests.engine.sink import OK, Request, Sink, status

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cloudtasks_dispatch.json").read_text())
MISSING = Missing(True)


def answering(*codes: int, headers: str = "") -> Sink:
    """Answers one code after the other, the last one for ever."""

    async def reply(request: Request) -> bytes:
        return status(codes[min(request.number, len(codes) - 1)], headers)

    return Sink(reply)


def seen(request: Request, prefix: str = "X-CloudTasks-") -> dict[str, Any]:
    """The headers that tell of earlier pushes, in the words of the recordings."""
    words = {"RetryCount": "retry", "ExecutionCount": "exec", "PreviousResponse": "prev", "RetryReason": "reason"}
    found = {word: request.headers.get(f"{prefix}Task{name}") for name, word in words.items()}
    numbers = {"retry", "exec"}
    return {word: int(value) if word in numbers else value for word, value in found.items() if value is not None}


async def test_the_first_push_carries_the_recorded_headers_and_no_others() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        headers = (
            ("X-Custom", "Kept"),
            ("User-Agent", "theirs"),
            ("X-CloudTasks-QueueName", "forged"),
            ("X-AppEngine-Cron", "true"),
            ("X-Google-Thing", "1"),
        )
        await world.push(queue, f"{sink.url}/a?b=c", name="t", headers=headers, body=b"hello", schedule_at=NOW - 5)
        (request,) = await sink.received(1)
    places = {"{queue}": "q", "{task}": "t", "{eta}": f"{NOW:.6f}"}
    recorded = {name: places.get(value, value) for name, value in VECTORS["first_attempt_http"].items()}
    ours = {"Host": sink.url.removeprefix("http://"), "Content-Length": "5", "X-Custom": "Kept"}
    assert request.headers == recorded | ours
    assert (request.method, request.path, request.body) == ("POST", "/a?b=c", b"hello")


async def test_retries_carry_the_recorded_headers() -> None:
    sequence = VECTORS["http_sequence"]
    async with answering(*(code for _, code, _ in sequence)) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url)
        for pushes in range(1, len(sequence)):
            await world.waiting(queue, task, pushes)
            world.advance(300)
        await world.finished(queue)
    assert [seen(request) for request in sink.requests] == [headers for _, _, headers in sequence]


async def test_a_push_without_an_answer_is_a_504_to_the_next_one() -> None:
    async def reply(request: Request) -> bytes:
        if request.number == 0:
            await asyncio.Event().wait()
        return OK

    async with Sink(reply) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url, dispatch_deadline=0.02)
        waiting = await world.waiting(queue, task, 1)
        assert (waiting.response_count, waiting.previous_response) == (0, 504)
        assert waiting.last_attempt is not None
        assert waiting.last_attempt.status is None
        assert "deadline" in waiting.last_attempt.error
        world.advance(300)
        await world.finished(queue)
    assert [seen(request) for request in sink.requests] == [headers for _, _, headers in VECTORS["http_timeout"]]


def at(sink: Sink) -> EngineSettings:
    """An engine whose App Engine application is the sink."""
    return EngineSettings(app_engine=AppEngineUrls(sink.url))


async def push_to_app_engine(world: World, **changes: Any) -> Task:
    queue = await world.queue()
    (task,) = await world.engine.create_tasks(queue.name, [app_engine_task(**changes)])
    assert not isinstance(task, CreateRefused)
    return task


async def test_retries_to_app_engine_carry_the_recorded_headers() -> None:
    sequence = VECTORS["appengine_sequence"]
    async with answering(*(code for _, code, _ in sequence)) as sink, running(settings=at(sink)) as world:
        task = await push_to_app_engine(world)
        queue = await world.queue()
        for pushes in range(1, len(sequence)):
            await world.waiting(queue, task, pushes)
            world.advance(300)
        await world.finished(queue)
    assert [seen(request, "X-AppEngine-") for request in sink.requests] == [headers for _, _, headers in sequence]
    assert {request.path for request in sink.requests} == {"/work"}


async def test_a_push_to_app_engine_without_an_answer_finds_the_instance_unavailable() -> None:
    async def reply(request: Request) -> bytes:
        if request.number == 0:
            await asyncio.Event().wait()
        return OK

    async with Sink(reply) as sink, running(settings=at(sink)) as world:
        task = await push_to_app_engine(world, dispatch_deadline=0.02)
        queue = await world.queue()
        await world.waiting(queue, task, 1)
        world.advance(300)
        await world.finished(queue)
    recorded = [headers for _, _, headers in VECTORS["appengine_timeout"]]
    assert [seen(request, "X-AppEngine-") for request in sink.requests] == recorded


@pytest.mark.parametrize(("code", "wait"), [(503, 60), (429, 10)])
async def test_only_a_503_slows_app_engine_down(code: int, wait: int) -> None:
    async with answering(code, headers="Retry-After: 60\r\n") as sink, running(settings=at(sink)) as world:
        task = await push_to_app_engine(world)
        assert (await world.waiting(await world.queue(), task, 1)).schedule_at == NOW + wait


async def test_an_access_token_goes_with_the_push() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, authorization=OAuthToken("me@x", "scope"))
        (request,) = await sink.received(1)
        assert request.headers["Authorization"] == "Bearer me@x|scope"


async def test_an_identity_token_goes_with_the_push_in_place_of_the_users_own() -> None:
    async with Sink() as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, headers=(("authorization", "mine"),), authorization=OidcToken("me@x", "you"))
        await world.push(queue, sink.url, headers=(("Authorization", "mine"),))
        requests = await sink.received(2)
        headers = [value for request in requests for name, value in request.headers.items() if name == "Authorization"]
        assert sorted(headers) == ["Bearer me@x|you", "mine"]


@pytest.mark.parametrize("code", [200, 201, 204, 299])
async def test_any_2xx_ends_the_task(code: int) -> None:
    async with answering(code) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url, name="t")
        await world.finished(queue)
        assert await world.engine.get_task(queue.name, task.name) == MISSING
        assert len(sink.requests) == 1


async def test_a_failed_task_waits_by_the_backoff_from_its_answer() -> None:
    async with answering(500) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url)
        dues = []
        for pushes in range(1, 9):
            waiting = await world.waiting(queue, task, pushes)
            dues.append(waiting.schedule_at - world.clock.now())
            world.advance(dues[-1])
    assert dues == pytest.approx([10, 20, 40, 80, 160, 240, 300, 300])


async def test_retry_after_makes_the_wait_longer() -> None:
    async with answering(503, headers="Retry-After: 60\r\n") as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url)
        assert (await world.waiting(queue, task, 1)).schedule_at == NOW + 60


async def test_a_task_whose_attempts_are_used_up_is_deleted() -> None:
    async with answering(500) as sink, running() as world:
        queue = await world.queue(retry=RetryLimits(2, 0.0, 1.0, 1.0, 0))
        (task,) = await world.push(queue, sink.url, name="t")
        await world.waiting(queue, task, 1)
        world.advance(1)
        await world.finished(queue)
        assert await world.engine.get_task(queue.name, "t") == MISSING
    assert len(sink.requests) == 2


async def test_with_both_limits_set_attempts_go_on_until_the_time_is_over_too() -> None:
    async with answering(500) as sink, running() as world:
        queue = await world.queue(retry=RetryLimits(2, 300.0, 60.0, 60.0, 0))
        (task,) = await world.push(queue, sink.url)
        for pushes in range(1, 7):
            await world.waiting(queue, task, pushes)
            world.advance(60)
        await world.finished(queue)
    assert len(sink.requests) == 7


async def test_a_tasks_own_retry_limits_stand_in_for_its_queues() -> None:
    async with answering(500) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url, name="t", retry=RetryLimits(2, 0.0, 1.0, 1.0, 0))
        assert (await world.waiting(queue, task, 1)).schedule_at == NOW + 1
        world.advance(1)
        await world.finished(queue)
        assert await world.engine.get_task(queue.name, "t") == MISSING
    assert len(sink.requests) == 2


async def test_a_target_that_cannot_be_reached_is_tried_again() -> None:
    async with running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, "http://127.0.0.1:1/")
        waiting = await world.waiting(queue, task, 1)
        assert waiting.last_attempt is not None
        assert "127.0.0.1:1" in waiting.last_attempt.error
        assert (waiting.last_attempt.status, waiting.last_attempt.responded_at) == (None, NOW)


async def test_a_task_under_way_shows_its_push() -> None:
    async def never(_: Request) -> bytes:
        await asyncio.Event().wait()
        return OK

    async with Sink(never) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url)
        await sink.received(1)
        found = await world.engine.get_task(queue.name, task.name)
        assert not isinstance(found, Missing)
        assert (found.dispatch_count, found.response_count) == (1, 0)
        assert found.first_attempt is not None
        assert found.last_attempt is not None
        assert (found.last_attempt.dispatched_at, found.last_attempt.responded_at) == (NOW, None)
        stats = world.engine.queue_stats(queue.name)
        assert stats is not None
        assert (stats.pending, stats.in_flight, stats.oldest_due) == (1, 1, None)


class Turns:
    """Holds each request until its number is let go, with the status that it is to be answered."""

    def __init__(self) -> None:
        self.codes: dict[int, asyncio.Future[int]] = {}

    async def __call__(self, request: Request) -> bytes:
        return status(await self._of(request.number))

    def answer(self, number: int, code: int) -> None:
        self._of(number).set_result(code)

    def _of(self, number: int) -> asyncio.Future[int]:
        return self.codes.setdefault(number, asyncio.get_running_loop().create_future())


async def test_run_pushes_a_task_that_is_being_pushed_once_more_and_one_success_ends_it() -> None:
    turns = Turns()
    async with Sink(turns) as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, name="t")
        await sink.received(1)
        shown = await world.engine.run_task(queue.name, "t")
        assert not isinstance(shown, Missing)
        assert shown.dispatch_count == 2
        await sink.received(2)
        assert [seen(request) for request in sink.requests] == [{"retry": 0, "exec": 0}, {"retry": 1, "exec": 0}]
        turns.answer(1, 200)
        await world.finished(queue)
        assert await world.engine.run_task(queue.name, "t") == MISSING
        assert await world.push(queue, sink.url, name="t") == []
        turns.answer(0, 500)
        world.advance(1000)
        await world.quiet()
        assert len(sink.requests) == 2
        stats = world.engine.queue_stats(queue.name)
        assert stats is not None
        assert (stats.pending, stats.in_flight) == (0, 0)


async def test_when_one_of_two_pushes_fails_the_other_decides() -> None:
    turns = Turns()
    async with Sink(turns) as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, name="t")
        await sink.received(1)
        await world.engine.run_task(queue.name, "t")
        await sink.received(2)
        turns.answer(0, 500)
        world.advance(1000)
        await world.quiet()
        assert len(sink.requests) == 2
        turns.answer(1, 200)
        await world.finished(queue)
        assert await world.engine.get_task(queue.name, "t") == MISSING


async def test_when_both_pushes_fail_both_count_and_the_task_is_pushed_once_again() -> None:
    turns = Turns()
    async with Sink(turns) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url, name="t")
        await sink.received(1)
        await world.engine.run_task(queue.name, "t")
        await sink.received(2)
        turns.answer(1, 500)
        turns.answer(0, 404)
        waiting = await world.waiting(queue, task, 2)
        assert (waiting.dispatch_count, waiting.response_count, waiting.execution_count) == (2, 2, 1)
        assert waiting.schedule_at == NOW + 20
        world.advance(20)
        turns.answer(2, 200)
        await world.finished(queue)
        assert len(sink.requests) == 3
        assert seen(sink.requests[2])["retry"] == 2


async def test_a_task_that_is_deleted_while_it_is_pushed_twice_is_not_pushed_again() -> None:
    turns = Turns()
    async with Sink(turns) as sink, running() as world:
        queue = await world.queue()
        await world.push(queue, sink.url, name="t")
        await sink.received(1)
        await world.engine.run_task(queue.name, "t")
        await sink.received(2)
        assert await world.engine.delete_tasks(queue.name, ["t"]) == [None]
        assert isinstance(await world.engine.run_task(queue.name, "t"), Missing)
        turns.answer(0, 500)
        turns.answer(1, 500)
        world.advance(1000)
        await world.quiet()
        assert len(sink.requests) == 2


async def test_the_last_deliveries_tell_what_was_sent_and_what_came_back() -> None:
    async def reply(request: Request) -> bytes:
        body = b"x" * 300
        code = 503 if request.number == 0 else 200
        return b"HTTP/1.1 %d Word\r\nContent-Length: %d\r\n\r\n%b" % (code, len(body), body)

    async with Sink(reply) as sink, running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, f"{sink.url}/a", name="t", body=b"sent", headers=(("X-Mine", "1"),))
        await world.waiting(queue, task, 1)
        world.advance(10)
        await world.finished(queue)
        await world.push(queue, "http://127.0.0.1:1/", name="other", schedule_at=NOW + 20)
        world.advance(10)
        while len(deliveries := world.engine.deliveries(queue.name)) < 3:
            await world.engine.list_tasks(queue.name, 0, 1)
        other, second, first = deliveries
        assert (first.task, first.number, first.started_at, first.status, first.error) == ("t", 1, NOW, 503, "")
        assert (second.number, second.started_at, second.status, second.head) == (2, NOW + 10, 200, b"x" * 256)
        assert (first.method, first.url, first.body) == ("POST", f"{sink.url}/a", b"sent")
        assert dict(first.headers)["X-Mine"] == "1"
        assert 0 <= first.seconds < 5
        assert (other.status, other.head) == (None, b"")
        assert "127.0.0.1:1" in other.error
        assert world.engine.deliveries(queue.name, "t") == [second, first]
        assert world.engine.deliveries(queue.name, limit=1) == [other]
        assert world.engine.deliveries("none") == []
        world.engine.forget_deliveries(queue.name)
        assert world.engine.deliveries(queue.name) == []


@pytest.mark.parametrize("settings", [EngineSettings(history=3), EngineSettings(history_bytes=3 * 1300)])
async def test_of_many_deliveries_the_last_are_kept(settings: EngineSettings) -> None:
    async with Sink() as sink, running(settings=settings) as world:
        queue = await world.queue()
        for number in range(5):
            await world.push(queue, sink.url, name=f"t{number}", body=b"x" * 100)
            await world.finished(queue)
        assert [delivery.task for delivery in world.engine.deliveries(queue.name)] == ["t4", "t3", "t2"]


async def test_deliveries_with_large_headers_are_as_few_as_their_bytes_allow() -> None:
    async with Sink() as sink, running(settings=EngineSettings(history_bytes=130_000)) as world:
        queue = await world.queue()
        for _ in range(5):
            await world.push(queue, sink.url, headers=(("X-Large", "x" * 50_000),))
            await world.finished(queue)
        assert len(world.engine.deliveries(queue.name)) == 2


async def test_a_push_stops_at_an_address_that_is_not_allowed() -> None:
    settings = EngineSettings(reach=TargetRules((parse_rule("10.0.0.0/8"), parse_rule("*.example.com"))))
    async with Sink() as sink, running(settings=settings) as world:
        queue = await world.queue()
        (task,) = await world.push(queue, sink.url.replace("127.0.0.1", "localhost"))
        waiting = await world.waiting(queue, task, 1)
        assert waiting.last_attempt is not None
        assert "pushes may not reach" in waiting.last_attempt.error
        (delivery,) = world.engine.deliveries(queue.name)
        assert delivery.error == waiting.last_attempt.error
        assert sink.requests == []


async def test_a_push_goes_to_an_address_that_is_allowed() -> None:
    async with Sink() as sink:
        port = sink.url.rpartition(":")[2]
        settings = EngineSettings(reach=TargetRules((parse_rule(f"localhost:{port}"),)))
        async with running(settings=settings) as world:
            queue = await world.queue()
            await world.push(queue, sink.url.replace("127.0.0.1", "localhost"))
            await sink.received(1)
