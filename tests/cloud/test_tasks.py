"""Tasks and queues through the official client."""

import json
from pathlib import Path

import pytest
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, InvalidArgument, NotFound
from google.cloud.tasks_v2 import BatchCreateTasksMetadata, CloudTasksClient, HttpMethod, Queue, Task
from google.protobuf import duration_pb2, timestamp_pb2

from tests.cloud.conftest import LOCATION, Target, http_task

URL = "https://example.com/work"
HAPPY = json.loads((Path(__file__).parent.parent / "vectors/cloudtasks_happypath.json").read_text())


@pytest.mark.parametrize("view", ["BASIC", "FULL"])
@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (
            "http sent {content-type: application/json, X-Mixed-Case: preserve-me} + body(17B)",
            {"content-type": "application/json", "X-Mixed-Case": "preserve-me"},
        ),
        ("http no content-type", {"X-Mixed-Case": "preserve-me"}),
    ],
)
def test_headers_are_stored_as_the_real_service_stores_them(
    row: str, headers: dict[str, str], view: str, client: CloudTasksClient, paused_queue: str
) -> None:
    task = http_task(URL, name=f"{paused_queue}/tasks/a")
    task["http_request"] = {"url": URL, "headers": headers, "body": b'{"users": [1, 2]}'}
    client.create_task(parent=paused_queue, task=task)
    shown = client.get_task(request={"name": f"{paused_queue}/tasks/a", "response_view": view})
    recorded = HAPPY[row]
    stored = recorded.get("stored headers (BASIC and FULL)", recorded.get("stored headers"))
    assert dict(shown.http_request.headers) == stored
    assert shown.http_request.body == (b'{"users": [1, 2]}' if view == "FULL" else b"")
    assert shown.view == Task.View[view]


def test_defaults_are_filled_in_at_create(client: CloudTasksClient, paused_queue: str) -> None:
    task = client.create_task(parent=paused_queue, task=http_task(URL))
    assert task.name.startswith(f"{paused_queue}/tasks/")
    assert task.http_request.http_method == HttpMethod.POST
    assert task.dispatch_deadline.total_seconds() == 600
    assert task.create_time.microsecond == 0
    assert 0 <= (task.schedule_time - task.create_time).total_seconds() < 2
    assert task.view == Task.View.BASIC
    assert not task.http_request.body
    assert task == client.get_task(name=task.name)


def test_times_and_deadline_that_were_asked_for_are_kept(client: CloudTasksClient, paused_queue: str) -> None:
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    asked = timestamp_pb2.Timestamp(seconds=now.seconds + 3600, nanos=123_456_789)
    deadline = duration_pb2.Duration(seconds=20, nanos=123_456_789)
    task = client.create_task(parent=paused_queue, task=http_task(URL, schedule_time=asked, dispatch_deadline=deadline))
    assert task.schedule_time.timestamp_pb().seconds == asked.seconds
    assert task.schedule_time.timestamp_pb().nanos == 123_456_000
    assert task.dispatch_deadline.total_seconds() == 20.123


def test_a_token_without_an_audience_is_for_the_url(client: CloudTasksClient, paused_queue: str) -> None:
    request = {"url": f"{URL}?x=1", "oidc_token": {"service_account_email": "a@example.com"}}
    task = client.create_task(parent=paused_queue, task={"http_request": request})
    assert task.http_request.oidc_token.audience == f"{URL}?x=1"


def test_an_access_token_without_a_scope_is_for_the_whole_platform(client: CloudTasksClient, paused_queue: str) -> None:
    request = {"url": URL, "oauth_token": {"service_account_email": "a@example.com"}}
    task = client.create_task(parent=paused_queue, task={"http_request": request})
    assert task.http_request.oauth_token.scope == "https://www.googleapis.com/auth/cloud-platform"


def test_a_tasks_own_retry_limits_are_kept_and_what_they_leave_out_is_filled_in(
    client: CloudTasksClient, paused_queue: str
) -> None:
    limits = {"max_attempts": 3, "max_backoff": duration_pb2.Duration(seconds=10)}
    task = client.create_task(parent=paused_queue, task=http_task(URL, retry_config=limits))
    shown = client.get_task(name=task.name).retry_config
    assert shown == task.retry_config
    assert (shown.max_attempts, shown.max_doublings) == (3, 16)
    assert (shown.min_backoff.total_seconds(), shown.max_backoff.total_seconds()) == (0.1, 10)
    assert not shown.max_retry_duration
    assert not Task.pb(client.create_task(parent=paused_queue, task=http_task(URL))).HasField("retry_config")


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        ({"max_attempts": -2}, "RetryConfig.maxAttempts must be greater or equal to -1."),
        ({"max_doublings": -1}, "RetryConfig.maxDoublings cannot be negative."),
        ({"min_backoff": duration_pb2.Duration(seconds=-1)}, "RetryConfig.minBackoff cannot be negative."),
        ({"max_backoff": duration_pb2.Duration(nanos=-1000)}, "RetryConfig.maxBackoff cannot be negative."),
        ({"max_retry_duration": duration_pb2.Duration(seconds=-1)}, "RetryConfig.maxRetryDuration cannot be negative."),
        (
            {"min_backoff": duration_pb2.Duration(seconds=3601)},
            "RetryConfig.minBackoff must be less than or equal to RetryConfig.maxBackoff.",
        ),
    ],
)
def test_retry_limits_that_cannot_be_are_refused(
    limits: dict[str, object], text: str, client: CloudTasksClient, paused_queue: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        client.create_task(parent=paused_queue, task=http_task(URL, retry_config=limits))
    assert caught.value.message == text


def test_tasks_are_listed_page_by_page(client: CloudTasksClient, paused_queue: str) -> None:
    made = [client.create_task(parent=paused_queue, task=http_task(URL)).name for _ in range(7)]
    pages = client.list_tasks(request={"parent": paused_queue, "page_size": 3}).pages
    names = [[task.name for task in page.tasks] for page in pages]
    assert [len(page) for page in names][:2] == [3, 3]
    assert sorted(name for page in names for name in page) == sorted(made)


def test_a_page_of_large_tasks_ends_before_a_message_is_too_large(client: CloudTasksClient, paused_queue: str) -> None:
    body = b"x" * 900_000
    made = {
        client.create_task(parent=paused_queue, task={"http_request": {"url": URL, "body": body}}).name
        for _ in range(6)
    }
    listed = client.list_tasks(request={"parent": paused_queue, "response_view": "FULL"})
    assert {task.name: len(task.http_request.body) for task in listed} == dict.fromkeys(made, len(body))


def test_listing_a_queue_that_is_not_there_is_refused(client: CloudTasksClient) -> None:
    with pytest.raises(NotFound, match="Queue does not exist"):
        list(client.list_tasks(parent=f"{LOCATION}/queues/no-such-queue"))


def test_a_schedule_time_at_the_end_of_all_times_is_too_far_ahead(client: CloudTasksClient, queue: str) -> None:
    last = timestamp_pb2.Timestamp(seconds=253402300799, nanos=999_999_999)
    with pytest.raises(InvalidArgument, match="too far in the future"):
        client.create_task(parent=queue, task=http_task(URL, schedule_time=last))


@pytest.mark.parametrize(
    "fields", [{"page_size": -1}, {"page_token": "!"}, {"page_token": "eHl6"}, {"page_token": "/w=="}]
)
def test_a_page_that_cannot_be_is_refused(fields: dict[str, object], client: CloudTasksClient, queue: str) -> None:
    with pytest.raises(InvalidArgument):
        list(client.list_tasks(request={"parent": queue, **fields}))


def test_a_deleted_task_is_gone_and_never_pushed(client: CloudTasksClient, paused_queue: str, target: Target) -> None:
    first = client.create_task(parent=paused_queue, task=http_task(f"{target.url}/first"))
    client.create_task(parent=paused_queue, task=http_task(f"{target.url}/second"))
    client.delete_task(name=first.name)
    assert [task.name for task in client.list_tasks(parent=paused_queue)] != [first.name]
    client.resume_queue(name=paused_queue)
    assert [push.path for push in target.wait_for(1)] == ["/second"]


def test_a_batch_creates_all_and_answers_in_order(client: CloudTasksClient, paused_queue: str) -> None:
    names = [f"{paused_queue}/tasks/task-{number}" for number in range(100)]
    requests = [{"parent": paused_queue, "task": http_task(URL, name=name)} for name in names]
    operation = client.batch_create_tasks(request={"parent": paused_queue, "requests": requests})
    assert operation.done()
    assert [task.name for task in operation.result().tasks] == names
    assert operation.metadata.state == BatchCreateTasksMetadata.State.SUCCEEDED
    assert len(list(client.list_tasks(parent=paused_queue))) == 100


def test_a_batch_with_refused_tasks_creates_the_others(client: CloudTasksClient, paused_queue: str) -> None:
    client.create_task(parent=paused_queue, task=http_task(URL, name=f"{paused_queue}/tasks/taken"))
    tasks = [
        http_task(URL, name=f"{paused_queue}/tasks/first"),
        http_task("ftp://example.com"),
        http_task(URL, name=f"{paused_queue}/tasks/taken"),
        http_task(URL, name=f"{paused_queue}/tasks/last"),
        http_task(URL, name=f"{paused_queue}/tasks/last"),
    ]
    requests = [{"parent": paused_queue, "task": task} for task in tasks]
    operation = client.batch_create_tasks(request={"parent": paused_queue, "requests": requests})
    created = [task.name.rpartition("/")[2] for task in operation.result().tasks]
    assert created == ["first", "last"]
    failed = {index: (status.code, status.message) for index, status in _failures(operation.metadata).items()}
    exists = (6, "Requested entity already exists")
    url = (3, "HttpTarget.url must start with 'http://' or 'https://'.")
    assert failed == {1: url, 2: exists, 4: exists}
    assert operation.metadata.state == BatchCreateTasksMetadata.State.PARTIALLY_SUCCEEDED


def _failures(metadata: BatchCreateTasksMetadata) -> dict[int, object]:
    return dict(metadata.failed_requests)


@pytest.mark.parametrize("count", [0, 101])
def test_a_batch_holds_one_to_a_hundred_tasks(count: int, client: CloudTasksClient, queue: str) -> None:
    requests = [{"parent": queue, "task": http_task(URL)}] * count
    with pytest.raises(InvalidArgument, match="1 to 100"):
        client.batch_create_tasks(request={"parent": queue, "requests": requests})


def test_a_batch_is_for_one_queue_that_is_there(client: CloudTasksClient, queue: str) -> None:
    missing = f"{LOCATION}/queues/no-such-queue"
    with pytest.raises(NotFound, match="Queue does not exist"):
        client.batch_create_tasks(request={"parent": missing, "requests": [{"task": http_task(URL)}]})
    with pytest.raises(GoogleAPICallError, match="must be the same"):
        client.batch_create_tasks(request={"parent": queue, "requests": [{"parent": missing, "task": http_task(URL)}]})


def test_a_named_task_is_taken_once(client: CloudTasksClient, paused_queue: str) -> None:
    client.create_task(parent=paused_queue, task=http_task(URL, name=f"{paused_queue}/tasks/once"))
    with pytest.raises(AlreadyExists):
        client.create_task(parent=paused_queue, task=http_task(URL, name=f"{paused_queue}/tasks/once"))


def test_queues_have_the_limits_of_the_file(client: CloudTasksClient) -> None:
    queue = client.get_queue(name=f"{LOCATION}/queues/both-limits")
    assert queue.state == Queue.State.RUNNING
    assert queue.rate_limits.max_dispatches_per_second == 500
    assert queue.rate_limits.max_burst_size == 5
    assert queue.rate_limits.max_concurrent_dispatches == 1000
    assert queue.retry_config.max_attempts == 2
    assert queue.retry_config.max_retry_duration.total_seconds() == 1
    assert queue.retry_config.min_backoff.total_seconds() == 0.1
    assert queue.retry_config.max_backoff.total_seconds() == 0.1
    assert queue.retry_config.max_doublings == 16


def test_queues_are_listed_by_name_page_by_page(client: CloudTasksClient) -> None:
    pages = list(client.list_queues(request={"parent": LOCATION, "page_size": 50}).pages)
    names = [queue.name for page in pages for queue in page.queues]
    assert len(pages[0].queues) == 50
    assert names == sorted(set(names))
    assert f"{LOCATION}/queues/one-a-second" in names
    assert not list(client.list_queues(parent="projects/other/locations/here"))


def test_a_purged_queue_forgets_its_tasks(client: CloudTasksClient, paused_queue: str, target: Target) -> None:
    for _ in range(3):
        client.create_task(parent=paused_queue, task=http_task(f"{target.url}/old"))
    purged = client.purge_queue(name=paused_queue)
    assert purged.purge_time is not None
    assert not list(client.list_tasks(parent=paused_queue))
    client.resume_queue(name=paused_queue)
    client.create_task(parent=paused_queue, task=http_task(f"{target.url}/new"))
    assert [push.path for push in target.wait_for(1)] == ["/new"]
