"""Every recorded refusal of real Cloud Tasks, asked of this server through the official client."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.api_core.exceptions import GoogleAPICallError
from google.cloud.scheduler_v1 import CloudSchedulerClient
from google.cloud.scheduler_v1.services.cloud_scheduler.transports import CloudSchedulerGrpcTransport
from google.cloud.tasks_v2 import CloudTasksClient, Task
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2

from tests.cloud.conftest import LOCATION, http_task

ROWS = json.loads((Path(__file__).parent.parent / "vectors/cloudtasks_errors.json").read_text())["rows"]
MISSING = f"{LOCATION}/queues/no-such-queue"
URL = "https://example.com/work"

Call = Callable[[CloudTasksClient, str], object]


def create(**fields: Any) -> Call:
    return lambda client, queue: client.create_task(parent=queue, task=fields)


def create_http(**request: Any) -> Call:
    return create(http_request=request)


def create_with_deadline(seconds: int, payload: str = "http_request") -> Call:
    body = {"url": URL} if payload == "http_request" else {"relative_uri": "/work"}
    return create(**{payload: body, "dispatch_deadline": duration_pb2.Duration(seconds=seconds)})


def create_named(task_id: str, url: str = URL) -> Call:
    return lambda client, queue: client.create_task(parent=queue, task=http_task(url, name=f"{queue}/tasks/{task_id}"))


def create_twice(client: CloudTasksClient, queue: str) -> None:
    create_named("twice")(client, queue)
    create_named("twice")(client, queue)


def create_after_delete(client: CloudTasksClient, queue: str) -> None:
    create_named("gone")(client, queue)
    client.delete_task(name=f"{queue}/tasks/gone")
    create_named("gone")(client, queue)


def get_after_delete(client: CloudTasksClient, queue: str) -> None:
    create_named("gone")(client, queue)
    client.delete_task(name=f"{queue}/tasks/gone")
    client.get_task(name=f"{queue}/tasks/gone")


def create_too_large(client: CloudTasksClient, queue: str) -> None:
    """A body one byte larger than the largest that fits, by the measured law."""
    size = _stored_size(client, queue)
    body = b"x" * (1_048_569 - size + 1)
    client.create_task(parent=queue, task=_large_task(queue, "large", body))


def create_queue(**fields: Any) -> Call:
    """A queue that is not there yet, with these fields."""
    return lambda client, queue: client.create_queue(parent=LOCATION, queue={"name": f"{queue}-new", **fields})


def create_queue_with_rate(**limits: float) -> Call:
    return create_queue(rate_limits=limits)


def create_queue_with_retry(**limits: Any) -> Call:
    return create_queue(retry_config=limits)


def after_queue_delete(call: Call) -> Call:
    """`call` on a queue that was deleted just now."""

    def delete_and_call(client: CloudTasksClient, queue: str) -> object:
        client.delete_queue(name=queue)
        return call(client, queue)

    return delete_and_call


def job_call(call: Callable[[CloudSchedulerClient, str], object]) -> Call:
    """`call` on Cloud Scheduler, with the name of a job that is not there yet."""

    def call_scheduler(client: CloudTasksClient, queue: str) -> object:
        transport = CloudSchedulerGrpcTransport(channel=client.transport.grpc_channel)
        return call(CloudSchedulerClient(transport=transport), f"{LOCATION}/jobs/{queue.rpartition('/')[2]}")

    return call_scheduler


def update_job_with_a_bad_mask(client: CloudSchedulerClient, name: str) -> None:
    client.create_job(parent=LOCATION, job={"name": name, "schedule": "0 9 * * *", "http_target": {"uri": URL}})
    client.update_job(job={"name": name, "time_zone": "Etc/UTC"}, update_mask={"paths": ["timeZone"]})


CALLS: dict[str, Call] = {
    "queue/create/already-exists": lambda client, queue: client.create_queue(parent=LOCATION, queue={"name": queue}),
    "queue/create/backoff-order": create_queue_with_retry(
        min_backoff=duration_pb2.Duration(seconds=20), max_backoff=duration_pb2.Duration(seconds=10)
    ),
    "queue/create/burst-negative": create_queue_with_rate(max_burst_size=-1),
    "queue/create/concurrent-negative": create_queue_with_rate(max_concurrent_dispatches=-1),
    "queue/create/concurrent-too-high": create_queue_with_rate(max_concurrent_dispatches=5001),
    "queue/create/invalid-name": lambda client, queue: client.create_queue(
        parent=LOCATION, queue={"name": f"{LOCATION}/queues/not_a_valid_id"}
    ),
    "queue/create/invalid-parent": lambda client, queue: client.create_queue(
        parent="not-a-valid-parent", queue={"name": f"{queue}-new"}
    ),
    "queue/create/max-attempts-below-minus-one": create_queue_with_retry(max_attempts=-2),
    "queue/create/max-doublings-negative": create_queue_with_retry(max_doublings=-1),
    "queue/create/min-backoff-negative": create_queue_with_retry(min_backoff=duration_pb2.Duration(seconds=-1)),
    "queue/create/rate-negative": create_queue_with_rate(max_dispatches_per_second=-1),
    "queue/create/rate-too-high": create_queue_with_rate(max_dispatches_per_second=500.5),
    "queue/create/recently-deleted": after_queue_delete(
        lambda client, queue: client.create_queue(parent=LOCATION, queue={"name": queue})
    ),
    "queue/delete/not-found": lambda client, queue: client.delete_queue(name=MISSING),
    "queue/get/recently-deleted": after_queue_delete(lambda client, queue: client.get_queue(name=queue)),
    "queue/get/not-found": lambda client, queue: client.get_queue(name=MISSING),
    "queue/pause/not-found": lambda client, queue: client.pause_queue(name=MISSING),
    "queue/purge/not-found": lambda client, queue: client.purge_queue(name=MISSING),
    "queue/resume/not-found": lambda client, queue: client.resume_queue(name=MISSING),
    "task/create/already-exists": create_twice,
    "task/create/appengine-deadline-too-long": create_with_deadline(86416, "app_engine_http_request"),
    "task/create/appengine-deadline-one-hour": create_with_deadline(3600, "app_engine_http_request"),
    "task/create/deadline-too-long": create_with_deadline(1801),
    "task/create/deadline-too-short": create_with_deadline(14),
    "task/create/invalid-name": create_named("not a valid id"),
    "task/create/invalid-url-bad-escape": create_http(url="https://example.com/%zz"),
    "task/create/invalid-url-empty": create_http(url=""),
    "task/create/invalid-url-no-scheme": create_http(url="example.com/work"),
    "task/create/invalid-url-non-http-scheme": create_http(url="ftp://example.com/work"),
    "task/create/queue-mismatch": lambda client, queue: client.create_task(
        parent=queue, task=http_task(URL, name=f"{queue}-other/tasks/a")
    ),
    "task/create/queue-recently-deleted": after_queue_delete(create_http(url=URL)),
    "task/create/queue-not-found": lambda client, queue: client.create_task(parent=MISSING, task=http_task(URL)),
    "task/create/schedule-too-far": create(
        http_request={"url": URL}, schedule_time=timestamp_pb2.Timestamp(seconds=4102444800)
    ),
    "task/create/too-large": create_too_large,
    "task/delete/not-found": lambda client, queue: client.delete_task(name=f"{queue}/tasks/never"),
    "task/get/not-found": lambda client, queue: client.get_task(name=f"{queue}/tasks/never"),
    "task/get/recently-deleted": get_after_delete,
    "task/run/not-found": lambda client, queue: client.run_task(name=f"{queue}/tasks/never"),
    "issue/tombstoned-name": create_after_delete,
    "issue/request-deadline": lambda client, queue: client.create_task(parent=queue, task=http_task(URL), timeout=60),
    "issue/auth-needs-https": create_http(
        url="http://example.com/work", oidc_token={"service_account_email": "a@example.com"}
    ),
    "issue/no-payload": create(),
    "issue/scheduler-bad-schedule": job_call(
        lambda client, name: client.create_job(
            parent=LOCATION, job={"name": name, "schedule": "now and then", "http_target": {"uri": URL}}
        )
    ),
    "issue/scheduler-bad-mask": job_call(update_job_with_a_bad_mask),
    "issue/bad-resource": lambda client, queue: client.create_task(parent="queues/q", task=http_task(URL)),
}


def test_every_recorded_row_is_asked() -> None:
    assert CALLS.keys() == {row["case"] for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["case"])
def test_a_refusal_is_worded_as_the_real_service_words_it(
    row: dict[str, Any], client: CloudTasksClient, paused_queue: str
) -> None:
    call = CALLS[row["case"]]
    if row["code"] == "OK":
        call(client, paused_queue)
        return
    with pytest.raises(GoogleAPICallError) as caught:
        call(client, paused_queue)
    error = caught.value
    assert error.grpc_status_code is not None
    assert error.grpc_status_code.name == row["code"]
    assert _without_time(error.message) == _without_time(row["message"].format(queue_path=paused_queue))
    helps = [detail for detail in error.details if isinstance(detail, error_details_pb2.Help)]
    links = [{"description": link.description, "url": link.url} for help in helps for link in help.links]
    assert links == ([row["help"]] if "help" in row else [])
    infos = [detail.reason for detail in error.details if isinstance(detail, error_details_pb2.ErrorInfo)]
    assert infos == ([row["error_info"]] if "error_info" in row else [])


def _without_time(message: str) -> str:
    """The request's deadline differs from call to call; its form must not."""
    pattern = r"(?<=^The request deadline is )\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+-0[78]:00(?=\. )"
    return re.sub(pattern, "TIME", message)


def test_the_largest_task_that_fits_is_taken(client: CloudTasksClient, paused_queue: str) -> None:
    body = b"x" * (1_048_569 - _stored_size(client, paused_queue))
    client.create_task(parent=paused_queue, task=_large_task(paused_queue, "large", body))


def _large_task(queue: str, task_id: str, body: bytes) -> dict[str, object]:
    # A set time makes the stored form the same size in each call.
    return {
        "name": f"{queue}/tasks/{task_id}",
        "http_request": {"url": URL, "body": body},
        "schedule_time": timestamp_pb2.Timestamp(seconds=_soon(), nanos=500_000_000),
    }


def _stored_size(client: CloudTasksClient, queue: str) -> int:
    """Bytes of the stored form beside the body, taken from what the server shows of a like task."""
    body = b"x" * 1_000_000
    shown = client.create_task(
        request={"parent": queue, "task": _large_task(queue, "other", body), "response_view": "FULL"}
    )
    stored = Task.pb(shown)
    stored.ClearField("view")
    size: int = stored.ByteSize()
    return size - len(body)


def _soon() -> int:
    now = timestamp_pb2.Timestamp()
    now.GetCurrentTime()
    return now.seconds // 3600 * 3600 + 7200


@pytest.mark.parametrize(
    "request_fields",
    [
        {"url": "http://"},
        {"url": "http://example.com:port/"},
        {"url": "http://example.com/" + "a" * 2083},
        {"url": URL, "headers": {"Bad Name": "x"}},
        {"url": URL, "headers": {"X-Split": "a\r\nX-Other: b"}},
        {"url": URL, "headers": {"X-Large": "a" * 82_000}},
        {"url": URL, "http_method": "GET", "body": b"x"},
        {"url": URL, "oidc_token": {}},
    ],
)
def test_a_request_that_can_never_be_sent_is_refused(
    request_fields: dict[str, Any], client: CloudTasksClient, queue: str
) -> None:
    with pytest.raises(GoogleAPICallError) as caught:
        create_http(**request_fields)(client, queue)
    assert caught.value.grpc_status_code is not None
    assert caught.value.grpc_status_code.name == "INVALID_ARGUMENT"
