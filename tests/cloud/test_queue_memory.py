"""What Cloud Tasks remembers of queues and pages, and for how long."""

import asyncio
from pathlib import Path

import click
import pytest

from headrace.cli.emulator import read_duration
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.files import make_queues
from headrace.config import load_queue_file
from headrace.engine.model import QueueState
from tests.cloud.inside import LOCATION, QUEUE, Inside, running

DAY = 86400.0
TASK = {"name": f"{QUEUE}/tasks/once", "http_request": {"url": "http://127.0.0.1:9/"}}


async def create_queue(api: Inside) -> None:
    await api.call("CreateQueue", parent=LOCATION, queue={"name": QUEUE})


async def refusal(api: Inside, method: str, **fields: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await api.call(method, **fields)
    return caught.value


def test_the_name_of_a_deleted_queue_is_free_again_after_three_days(tmp_path: Path) -> None:
    async def before_a_restart() -> float:
        async with running(tmp_path) as api:
            await create_queue(api)
            await api.call("DeleteQueue", name=QUEUE)
            return api.clock.now()

    async def after_it(deleted_at: float) -> None:
        async with running(tmp_path, deleted_at + 3 * DAY - 1) as api:
            taken = await refusal(api, "CreateQueue", parent=LOCATION, queue={"name": QUEUE})
            assert taken.rpc_code == Code.FAILED_PRECONDITION
            api.clock.advance(1)
            await create_queue(api)

    asyncio.run(after_it(asyncio.run(before_a_restart())))


def test_a_queue_file_brings_a_deleted_queue_back(tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text("queue: [{name: work, rate: 5/s, target: v2.worker}]")
    (declared,) = make_queues(load_queue_file(file), "demo", "here", 9 * DAY)

    async def scenario() -> None:
        async with running() as api:
            await create_queue(api)
            await api.call("DeleteQueue", name=QUEUE)
            await api.engine.put_queue(declared)
            shown = await api.call("GetQueue", name=QUEUE)
            assert shown.rate_limits.max_burst_size == 5
            assert shown.app_engine_routing_override.host == "v2.worker.demo.appspot.com"
            exists = await refusal(api, "CreateQueue", parent=LOCATION, queue={"name": QUEUE})
            assert exists.rpc_code == Code.ALREADY_EXISTS
            await api.call("UpdateQueue", queue={"name": QUEUE})

    asyncio.run(scenario())


def test_two_creations_at_once_make_one_queue() -> None:
    async def scenario() -> None:
        async with running() as api:
            outcomes = await asyncio.gather(create_queue(api), create_queue(api), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [type(None), ApiError]

    asyncio.run(scenario())


@pytest.mark.parametrize(("from_file", "memory"), [(False, 3600.0), (True, 9 * DAY)])
def test_the_name_of_a_finished_task_is_taken_for_the_time_of_its_queue(
    from_file: bool, memory: float, tmp_path: Path
) -> None:
    (tmp_path / "queue.yaml").write_text("queue: [{name: work, rate: 0/s}]")

    async def scenario() -> None:
        async with running() as api:
            if from_file:
                (declared,) = make_queues(load_queue_file(tmp_path / "queue.yaml"), "demo", "here", 9 * DAY)
                await api.engine.put_queue(declared)
            else:
                await create_queue(api)
            await api.call("PauseQueue", name=QUEUE)
            await api.call("CreateTask", parent=QUEUE, task=TASK)
            await api.call("DeleteTask", name=TASK["name"])
            api.clock.advance(memory - 1)
            taken = await refusal(api, "CreateTask", parent=QUEUE, task=TASK)
            assert "existed too recently" in taken.message
            api.clock.advance(1)
            await api.call("CreateTask", parent=QUEUE, task=TASK)

    asyncio.run(scenario())


def test_an_update_keeps_the_memory_of_a_queue_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("queue: [{name: work, rate: 0/s, retry_parameters: {max_doublings: 3}}]")

    async def scenario() -> None:
        async with running() as api:
            (declared,) = make_queues(load_queue_file(tmp_path / "queue.yaml"), "demo", "here", 9 * DAY)
            before = await api.engine.put_queue(declared)
            await api.call("UpdateQueue", queue={"name": QUEUE}, update_mask={"paths": ["retry_config.max_attempts"]})
            after = api.engine.get_queue(QUEUE)
            assert after is not None
            assert (after.name_memory, after.task_ttl) == (before.name_memory, before.task_ttl)
            assert (after.rate.per_second, after.retry.max_doublings) == (0, 3)
            assert after.retry.max_attempts == 100
            assert after.state is QueueState.RUNNING

    asyncio.run(scenario())


@pytest.mark.parametrize("method", ["ListQueues", "ListTasks"])
def test_a_page_token_lives_two_hours(method: str) -> None:
    async def scenario() -> None:
        async with running() as api:
            await create_queue(api)
            await api.call("CreateQueue", parent=LOCATION, queue={"name": f"{QUEUE}-2"})
            await api.call("PauseQueue", name=QUEUE)
            parent = LOCATION if method == "ListQueues" else QUEUE
            for _ in range(2):
                await api.call("CreateTask", parent=QUEUE, task={"http_request": TASK["http_request"]})
            first = await api.call(method, parent=parent, page_size=1)
            token = first.next_page_token
            assert token
            api.clock.advance(7200)
            second = await api.call(method, parent=parent, page_size=1, page_token=token)
            assert not second.next_page_token
            assert second != first
            api.clock.advance(1)
            assert "older than two hours" in (await refusal(api, method, parent=parent, page_token=token)).message

    asyncio.run(scenario())


def test_the_times_are_given_as_durations() -> None:
    assert [read_duration(text) for text in ("90s", "5m", "1h", "9d")] == [90, 300, 3600, 9 * DAY]
    with pytest.raises(click.BadParameter, match="soon must be a number followed by"):
        read_duration("soon")
