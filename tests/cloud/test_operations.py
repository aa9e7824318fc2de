"""Batch calls and the operations that they answer with."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import InvalidArgument, NotFound
from google.cloud.tasks_v2 import BatchDeleteTasksMetadata, CloudTasksClient
from google.longrunning import operations_pb2

from headrace.cloud.errors import ApiError, Code
from headrace.cloud.tasks.operations import MAX_AGE
from tests.cloud.conftest import LOCATION, http_task
from tests.cloud.inside import LOCATION as INSIDE
from tests.cloud.inside import QUEUE, Inside, running

URL = "http://127.0.0.1:9/work"
CREATES = {"parent": QUEUE, "requests": [{"task": {"http_request": {"url": URL}}}] * 3, "request_id": "again"}


def create_tasks(client: CloudTasksClient, queue: str, *task_ids: str) -> list[str]:
    names = [f"{queue}/tasks/{task_id}" for task_id in task_ids]
    for name in names:
        client.create_task(parent=queue, task=http_task(URL, name=name))
    return names


def listed(client: CloudTasksClient, queue: str) -> list[str]:
    return sorted(task.name for task in client.list_tasks(parent=queue))


def test_a_batch_of_tasks_is_deleted(client: CloudTasksClient, paused_queue: str) -> None:
    first, second, third = create_tasks(client, paused_queue, "a", "b", "c")
    operation = client.batch_delete_tasks(parent=paused_queue, names=[first, third])
    operation.result()
    assert operation.metadata.state == BatchDeleteTasksMetadata.State.SUCCEEDED
    assert operation.metadata.start_time <= operation.metadata.end_time
    assert listed(client, paused_queue) == [second]


def test_a_batch_deletes_what_is_there_and_tells_what_is_not(client: CloudTasksClient, paused_queue: str) -> None:
    (there,) = create_tasks(client, paused_queue, "there")
    names = [f"{paused_queue}/tasks/never", there, f"{paused_queue}/tasks/not an id", there]
    metadata = client.batch_delete_tasks(parent=paused_queue, names=names).metadata
    assert metadata.state == BatchDeleteTasksMetadata.State.PARTIALLY_SUCCEEDED
    failed = {
        index: (status.code, status.message.partition(" ")[0]) for index, status in metadata.failed_requests.items()
    }
    assert failed == {0: (5, "Requested"), 2: (3, "Task"), 3: (5, "Requested")}
    assert not listed(client, paused_queue)
    metadata = client.batch_delete_tasks(parent=paused_queue, names=[there]).metadata
    assert metadata.state == BatchDeleteTasksMetadata.State.FAILED


@pytest.mark.parametrize("count", [0, 1001])
def test_a_batch_deletes_one_to_a_thousand_tasks(count: int, client: CloudTasksClient, queue: str) -> None:
    with pytest.raises(InvalidArgument, match="1 to 1000"):
        client.batch_delete_tasks(parent=queue, names=[f"{queue}/tasks/a"] * count)


def test_a_batch_deletes_in_one_queue_that_is_there(client: CloudTasksClient, paused_queue: str) -> None:
    (name,) = create_tasks(client, paused_queue, "a")
    with pytest.raises(InvalidArgument, match="must be the same"):
        client.batch_delete_tasks(parent=paused_queue, names=[name, f"{paused_queue}-other/tasks/a"])
    assert listed(client, paused_queue) == [name]
    with pytest.raises(NotFound, match="Queue does not exist"):
        client.batch_delete_tasks(parent=f"{LOCATION}/queues/no-such-queue", names=[name])


def test_an_operation_is_found_by_its_name(client: CloudTasksClient, paused_queue: str) -> None:
    answered = client.batch_create_tasks(
        request={"parent": paused_queue, "requests": [{"parent": paused_queue, "task": http_task(URL)}]}
    ).operation
    assert answered.done
    assert answered.name.startswith(f"{LOCATION}/operations/")
    found: operations_pb2.Operation = client.get_operation({"name": answered.name})
    assert found == answered
    with pytest.raises(NotFound, match="Requested entity was not found"):
        client.get_operation({"name": f"{LOCATION}/operations/none"})


def test_a_request_id_does_its_batch_once(client: CloudTasksClient, paused_queue: str) -> None:
    request: dict[str, Any] = {"parent": paused_queue, "request_id": "one"}
    request["requests"] = [{"parent": paused_queue, "task": http_task(URL)}] * 3
    first = client.batch_create_tasks(request=request)
    second = client.batch_create_tasks(request=request)
    assert second.operation == first.operation
    assert listed(client, paused_queue) == sorted(task.name for task in first.result().tasks)
    client.batch_create_tasks(request=request | {"request_id": "two"})
    assert len(listed(client, paused_queue)) == 6
    names = listed(client, paused_queue)
    deleted = client.batch_delete_tasks(request={"parent": paused_queue, "names": names, "request_id": "one"})
    again = client.batch_delete_tasks(request={"parent": paused_queue, "names": names, "request_id": "one"})
    assert again.operation == deleted.operation
    assert again.metadata.state == BatchDeleteTasksMetadata.State.SUCCEEDED


async def paused(api: Inside) -> None:
    await api.call("CreateQueue", parent=INSIDE, queue={"name": QUEUE})
    await api.call("PauseQueue", name=QUEUE)


async def count_tasks(api: Inside) -> int:
    return len((await api.call("ListTasks", parent=QUEUE)).tasks)


def test_a_request_id_outlives_the_server_for_a_day(tmp_path: Path) -> None:
    async def before_a_restart() -> tuple[Any, float]:
        async with running(tmp_path) as api:
            await paused(api)
            return await api.call("BatchCreateTasks", **CREATES), api.clock.now()

    async def after_it(answered: Any, now: float) -> None:
        async with running(tmp_path, now) as api:
            api.clock.advance(MAX_AGE)
            assert await api.call("BatchCreateTasks", **CREATES) == answered
            assert await api.call("GetOperation", name=answered.name) == answered
            assert await count_tasks(api) == 3
            api.clock.advance(1)
            with pytest.raises(ApiError):
                await api.call("GetOperation", name=answered.name)
            await api.call("BatchCreateTasks", **CREATES)
            assert await count_tasks(api) == 6

    asyncio.run(after_it(*asyncio.run(before_a_restart())))


def test_calls_with_one_request_id_at_the_same_time_share_their_batch() -> None:
    async def scenario() -> None:
        async with running() as api:
            await paused(api)
            calls = [asyncio.create_task(api.call("BatchCreateTasks", **CREATES)) for _ in range(3)]
            await asyncio.sleep(0)
            calls[0].cancel()
            gone, second, third = await asyncio.gather(*calls, return_exceptions=True)
            assert isinstance(gone, asyncio.CancelledError)
            assert second == third
            assert await count_tasks(api) == 3

    asyncio.run(scenario())


def test_a_batch_that_could_not_be_done_leaves_its_request_id_free() -> None:
    async def scenario() -> None:
        async with running() as api:
            with pytest.raises(ApiError) as caught:
                await api.call("BatchCreateTasks", **CREATES)
            assert caught.value.rpc_code == Code.NOT_FOUND
            await paused(api)
            await api.call("BatchCreateTasks", **CREATES)
            assert await count_tasks(api) == 3

    asyncio.run(scenario())
