"""What a push looks like, and what its answer does to the task."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.engine.model import Missing, OidcToken, RetryLimits
from tests.engine.harness import NOW, running
from tests.engine.sink import OK, Request, Sink, status

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "cloudtasks_dispatch.json").read_text())
MISSING = Missing(True)


def answering(*codes: int, headers: str = "") -> Sink:
    """Answers one code after the other, the last one for ever."""

    async def reply(request: Request) -> bytes:
        return status(codes[min(request.number, len(codes) - 1)], headers)

    return Sink(reply)


def seen(request: Request) -> dict[str, Any]:
    """The headers that tell of earlier pushes, in the words of the recordings."""
    words = {"RetryCount": "retry", "ExecutionCount": "exec", "PreviousResponse": "prev", "RetryReason": "reason"}
    found = {word: request.headers.get(f"X-CloudTasks-Task{name}") for name, word in words.items()}
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


async def test_a_target_that_cannot_be_reached_is_tried_again() -> None:
    async with running() as world:
        queue = await world.queue()
        (task,) = await world.push(queue, "http://127.0.0.1:1/")
        waiting = await world.waiting(queue, task, 1)
        assert waiting.last_attempt is not None
        assert "127.0.0.1:1" in waiting.last_attempt.error


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
