"""Google's own Python clients over REST and over asynchronous gRPC."""

import asyncio
from collections.abc import Iterator

import grpc
import pytest
from google.api_core.exceptions import BadRequest, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import scheduler_v1, tasks_v2
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcAsyncIOTransport
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.protobuf import field_mask_pb2

from tests.cloud.conftest import LOCATION, Server, Target, http_task

URL = "https://example.com/work"


@pytest.fixture(scope="module")
def rest_client(server: Server) -> Iterator[tasks_v2.CloudTasksClient]:
    options = {"api_endpoint": server.rest}
    with tasks_v2.CloudTasksClient(
        transport="rest", credentials=AnonymousCredentials(), client_options=options
    ) as client:
        yield client


@pytest.fixture(scope="module")
def rest_scheduler(server: Server) -> Iterator[scheduler_v1.CloudSchedulerClient]:
    options = {"api_endpoint": server.rest}
    with scheduler_v1.CloudSchedulerClient(
        transport="rest", credentials=AnonymousCredentials(), client_options=options
    ) as client:
        yield client


def test_a_task_made_over_rest_is_the_one_that_grpc_shows(
    rest_client: tasks_v2.CloudTasksClient, client: tasks_v2.CloudTasksClient, paused_queue: str
) -> None:
    sent = {"url": URL, "body": bytes(range(256)), "headers": {"X-A": "b"}, "http_method": tasks_v2.HttpMethod.PUT}
    name = f"{paused_queue}/tasks/by-rest"
    made = rest_client.create_task(
        parent=paused_queue, task={"name": name, "http_request": sent, "dispatch_deadline": {"seconds": 20}}
    )
    full = tasks_v2.Task.View.FULL
    over_grpc = client.get_task(request={"name": name, "response_view": full})
    assert rest_client.get_task(request={"name": name, "response_view": full}) == over_grpc
    assert made.name == over_grpc.name == name
    assert over_grpc.http_request.body == bytes(range(256))
    assert over_grpc.http_request.http_method is tasks_v2.HttpMethod.PUT
    assert over_grpc.dispatch_deadline.total_seconds() == 20
    with pytest.raises(Conflict, match="Requested entity already exists"):
        rest_client.create_task(parent=paused_queue, task={"name": name, "http_request": sent})
    rest_client.delete_task(name=name)
    with pytest.raises(NotFound, match="existed recently"):
        rest_client.get_task(name=name)


def test_lists_are_paged_over_rest(rest_client: tasks_v2.CloudTasksClient, paused_queue: str) -> None:
    names = [
        rest_client.create_task(parent=paused_queue, task=http_task(URL, name=f"{paused_queue}/tasks/{number}")).name
        for number in range(5)
    ]
    pages = list(rest_client.list_tasks(request={"parent": paused_queue, "page_size": 2}).pages)
    assert [len(page.tasks) for page in pages] == [2, 2, 1]
    assert sorted(task.name for page in pages for task in page.tasks) == sorted(names)


def test_a_batch_over_rest_is_an_operation_that_is_done(
    rest_client: tasks_v2.CloudTasksClient, paused_queue: str
) -> None:
    requests = [{"task": http_task(URL, name=f"{paused_queue}/tasks/b{number}")} for number in range(3)]
    requests.append({"task": {"name": f"{paused_queue}/tasks/without-target"}})
    operation = rest_client.batch_create_tasks(request={"parent": paused_queue, "requests": requests})
    assert [task.name.rpartition("/")[2] for task in operation.result(timeout=15).tasks] == ["b0", "b1", "b2"]
    assert {index: status.message for index, status in operation.metadata.failed_requests.items()} == {
        3: "Task.payload_type is not set."
    }


def test_a_refusal_over_rest_carries_its_help(rest_client: tasks_v2.CloudTasksClient, paused_queue: str) -> None:
    with pytest.raises(BadRequest, match="can contain only letters") as refused:
        rest_client.create_task(parent=paused_queue, task=http_task(URL, name=f"{paused_queue}/tasks/a.b"))
    (detail,) = refused.value.details
    assert detail["links"][0]["description"] == "Definition of task ID"


def test_queues_are_made_changed_and_deleted_over_rest(rest_client: tasks_v2.CloudTasksClient) -> None:
    name = f"{LOCATION}/queues/by-rest"
    made = rest_client.create_queue(
        parent=LOCATION, queue={"name": name, "rate_limits": {"max_dispatches_per_second": 5}}
    )
    assert made.state is tasks_v2.Queue.State.RUNNING
    mask = field_mask_pb2.FieldMask(paths=["rate_limits.max_dispatches_per_second"])
    changed = rest_client.update_queue(
        queue={"name": name, "rate_limits": {"max_dispatches_per_second": 7}}, update_mask=mask
    )
    assert changed.rate_limits.max_dispatches_per_second == 7
    assert rest_client.pause_queue(name=name).state is tasks_v2.Queue.State.PAUSED
    assert rest_client.resume_queue(name=name).state is tasks_v2.Queue.State.RUNNING
    assert name in {queue.name for queue in rest_client.list_queues(parent=LOCATION)}
    policy = rest_client.set_iam_policy(
        request={
            "resource": name,
            "policy": {"bindings": [{"role": "roles/cloudtasks.viewer", "members": ["user:a@b.c"]}]},
        }
    )
    assert rest_client.get_iam_policy(request={"resource": name}).etag == policy.etag
    rest_client.delete_queue(name=name)
    with pytest.raises(NotFound, match="Queue does not exist"):
        rest_client.get_queue(name=name)


def test_a_task_made_over_rest_is_pushed(rest_client: tasks_v2.CloudTasksClient, queue: str, target: Target) -> None:
    rest_client.create_task(parent=queue, task={"http_request": {"url": target.url + "/x", "body": b"hello"}})
    (push,) = target.wait_for(1)
    assert (push.method, push.path, push.body) == ("POST", "/x", b"hello")


def test_jobs_are_kept_over_rest(rest_scheduler: scheduler_v1.CloudSchedulerClient) -> None:
    name = f"{LOCATION}/jobs/by-rest"
    made = rest_scheduler.create_job(
        parent=LOCATION, job={"name": name, "schedule": "0 9 * * 1", "http_target": {"uri": URL, "body": b"hello"}}
    )
    assert made.state is scheduler_v1.Job.State.ENABLED
    assert rest_scheduler.pause_job(name=name).state is scheduler_v1.Job.State.PAUSED
    assert rest_scheduler.get_job(name=name).http_target.body == b"hello"
    assert name in {job.name for job in rest_scheduler.list_jobs(parent=LOCATION)}
    rest_scheduler.delete_job(name=name)
    with pytest.raises(NotFound):
        rest_scheduler.get_job(name=name)


def test_the_asynchronous_client_of_tasks_works(server: Server, paused_queue: str) -> None:
    async def use() -> list[str]:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            client = tasks_v2.CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=channel))
            made = [client.create_task(parent=paused_queue, task=http_task(URL)) for _ in range(10)]
            names = [task.name for task in await asyncio.gather(*made)]
            listed = [task.name async for task in await client.list_tasks(parent=paused_queue)]
            assert sorted(listed) == sorted(names)
            await client.delete_task(name=names[0])
            return [task.name async for task in await client.list_tasks(parent=paused_queue)]

    assert len(asyncio.run(use())) == 9


def test_the_asynchronous_client_of_the_scheduler_works(server: Server) -> None:
    async def use() -> None:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            client = scheduler_v1.CloudSchedulerAsyncClient(
                transport=CloudSchedulerGrpcAsyncIOTransport(channel=channel)
            )
            name = f"{LOCATION}/jobs/by-asyncio"
            await client.create_job(
                parent=LOCATION, job={"name": name, "schedule": "every 5 minutes", "http_target": {"uri": URL}}
            )
            await client.pause_job(name=name)
            assert (await client.get_job(name=name)).state is scheduler_v1.Job.State.PAUSED
            await client.delete_job(name=name)

    asyncio.run(use())
