"""App Engine targets through the official client: what is stored, where pushes go, and what they carry."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument
from google.cloud.tasks_v2 import CloudTasksClient, Queue, Task
from google.protobuf import duration_pb2

from tests.cloud.conftest import LOCATION, Push, Target, serving_target, start_server, stop_server

VECTORS = Path(__file__).parent.parent / "vectors"
RECORDED = json.loads((VECTORS / "cloudtasks_dispatch.json").read_text())
HAPPY = json.loads((VECTORS / "cloudtasks_happypath.json").read_text())
USER_AGENT = "AppEngine-Google; (+http://code.google.com/appengine)"
BODY = b'{"users": [1, 2]}'


@pytest.fixture(scope="module")
def application() -> Iterator[dict[str, Target]]:
    """The parts of an application: all of it, its service `worker`, and version 2 of that."""
    with serving_target() as default, serving_target() as worker, serving_target() as second:
        yield {"default": default, "worker": worker, "2.worker": second}


@pytest.fixture(scope="module")
def client(application: dict[str, Target]) -> Iterator[CloudTasksClient]:
    server = start_server(
        "--memory",
        f"--app-engine-url={application['default'].url}/base/",
        f"--app-engine-url=worker={application['worker'].url}",
        f"--app-engine-url=2.worker={application['2.worker'].url}",
    )
    with server.client() as client:
        yield client
    assert stop_server(server) == 0


@pytest.fixture
def queue(client: CloudTasksClient) -> str:
    name = f"{LOCATION}/queues/{uuid4()}"
    backoff = duration_pb2.Duration(nanos=20_000_000)
    made = client.create_queue(
        parent=LOCATION, queue={"name": name, "retry_config": {"min_backoff": backoff, "max_backoff": backoff}}
    )
    return str(made.name)


@pytest.fixture
def paused_queue(client: CloudTasksClient, queue: str) -> str:
    return str(client.pause_queue(name=queue).name)


def push(client: CloudTasksClient, queue: str, **request: Any) -> Task:
    return client.create_task(parent=queue, task={"app_engine_http_request": request})


@pytest.mark.parametrize("view", ["BASIC", "FULL"])
@pytest.mark.parametrize(
    ("row", "headers"),
    [
        (
            "appengine with content-type",
            {"content-type": "application/json", "X-Mixed-Case": "preserve-me"},
        ),
        ("appengine no content-type", {"X-Mixed-Case": "preserve-me"}),
    ],
)
def test_headers_are_stored_as_the_real_service_stores_them(
    row: str, headers: dict[str, str], view: str, client: CloudTasksClient, paused_queue: str
) -> None:
    task = push(client, paused_queue, headers=headers, body=BODY)
    shown = client.get_task(request={"name": task.name, "response_view": view}).app_engine_http_request
    assert dict(shown.headers) == HAPPY[row]["stored headers"]
    assert shown.body == (BODY if view == "FULL" else b"")


def test_a_request_without_a_body_gets_no_headers_about_one(client: CloudTasksClient, paused_queue: str) -> None:
    shown = push(client, paused_queue).app_engine_http_request
    assert dict(shown.headers) == {"User-Agent": USER_AGENT}
    assert (shown.relative_uri, shown.http_method.name) == ("/", "POST")


def test_the_services_user_agent_follows_the_users_own(client: CloudTasksClient, paused_queue: str) -> None:
    shown = push(client, paused_queue, headers={"user-agent": "mine/1"}).app_engine_http_request
    assert dict(shown.headers) == {"User-Agent": f"mine/1 {USER_AGENT}"}


@pytest.mark.parametrize(
    ("routing", "host"),
    [
        ({}, "demo.appspot.com"),
        ({"service": "worker"}, "worker.demo.appspot.com"),
        ({"service": "worker", "version": "2", "host": "forged"}, "2.worker.demo.appspot.com"),
    ],
)
def test_the_host_of_a_routing_is_shown(
    routing: dict[str, str], host: str, client: CloudTasksClient, paused_queue: str
) -> None:
    shown = push(client, paused_queue, app_engine_routing=routing).app_engine_http_request
    assert shown.app_engine_routing.host == host


def test_only_a_deadline_that_was_given_is_shown(client: CloudTasksClient, paused_queue: str) -> None:
    def shown(**fields: Any) -> Task:
        return client.create_task(parent=paused_queue, task={"app_engine_http_request": {}, **fields})

    assert not Task.pb(shown()).HasField("dispatch_deadline")
    assert not Task.pb(shown(dispatch_deadline=duration_pb2.Duration())).HasField("dispatch_deadline")
    assert shown(dispatch_deadline=duration_pb2.Duration(seconds=86415)).dispatch_deadline.total_seconds() == 86415


@pytest.mark.parametrize(
    "request_fields",
    [
        {"relative_uri": "work"},
        {"relative_uri": "http://example.com/"},
        {"relative_uri": "/a b"},
        {"relative_uri": "/" + "a" * 2083},
        {"http_method": "PATCH", "body": b"x"},
        {"http_method": "GET", "body": b"x"},
        {"headers": {"Bad Name": "x"}},
        {"app_engine_routing": {"service": "not a service"}},
    ],
)
def test_a_request_that_can_never_be_sent_is_refused(
    request_fields: dict[str, Any], client: CloudTasksClient, paused_queue: str
) -> None:
    with pytest.raises(InvalidArgument):
        push(client, paused_queue, **request_fields)


@pytest.mark.parametrize("seconds", [14, 86416])
def test_a_deadline_outside_its_bounds_is_refused(seconds: int, client: CloudTasksClient, paused_queue: str) -> None:
    task = {"app_engine_http_request": {}, "dispatch_deadline": duration_pb2.Duration(seconds=seconds)}
    with pytest.raises(GoogleAPICallError, match=r"Task.dispatchDeadline must be between \[15s, 24h15s\]."):
        client.create_task(parent=paused_queue, task=task)


def test_the_sequence_of_pushes_has_the_recorded_headers(
    client: CloudTasksClient, queue: str, application: dict[str, Target]
) -> None:
    rows = RECORDED["appengine_sequence"]
    statuses = [status for _number, status, _seen in rows]
    target = application["default"]
    target.answer = lambda push: statuses[int(push.headers["x-appengine-taskretrycount"])]
    uri = f"/sequence-{uuid4()}"
    headers = {"X-AppEngine-QueueName": "forged", "X-Mine": "kept"}
    task = push(client, queue, relative_uri=f"{uri}?x=1", body=BODY, headers=headers)
    pushes = _of(target, f"/base{uri}?x=1", len(rows))
    target.answer = lambda _push: 204
    assert [_seen(push) for push in pushes] == [
        {word: str(value) for word, value in seen.items()} for _number, _status, seen in rows
    ]
    first = pushes[0].headers
    assert first["x-appengine-queuename"] == queue.rpartition("/")[2]
    assert first["x-appengine-taskname"] == task.name.rpartition("/")[2]
    assert float(first["x-appengine-tasketa"]) == pytest.approx(task.schedule_time.timestamp(), abs=1e-3)
    assert (first["user-agent"], first["x-mine"], first["content-length"]) == (USER_AGENT, "kept", "17")
    assert pushes[0].body == BODY
    assert not any(name.startswith("x-cloudtasks-") for name in first)


def _seen(push: Push) -> dict[str, str]:
    """The headers that tell of earlier pushes, in the words of the recording."""
    words = {"retry": "retrycount", "exec": "executioncount", "prev": "previousresponse", "reason": "retryreason"}
    found = {word: push.headers.get(f"x-appengine-task{name}") for word, name in words.items()}
    return {word: value for word, value in found.items() if value is not None}


def _of(target: Target, path: str, count: int) -> list[Push]:
    """The pushes to a path, once there are `count`."""
    pushes = target.wait_for(count)
    while len(found := [push for push in pushes if push.path == path]) < count:
        pushes = target.wait_for(len(pushes) + 1)
    return found


@pytest.mark.parametrize(
    ("routing", "part"),
    [
        ({}, "default"),
        ({"service": "other"}, "default"),
        ({"service": "worker"}, "worker"),
        ({"service": "worker", "version": "1"}, "worker"),
        ({"service": "worker", "version": "2", "instance": "0"}, "2.worker"),
    ],
)
def test_a_push_goes_to_the_part_that_it_is_routed_to(
    routing: dict[str, str], part: str, client: CloudTasksClient, queue: str, application: dict[str, Target]
) -> None:
    uri = f"/routed-{uuid4()}"
    push(client, queue, relative_uri=uri, app_engine_routing=routing)
    _of(application[part], f"/base{uri}" if part == "default" else uri, 1)


def test_a_queues_routing_wins_over_its_tasks(
    client: CloudTasksClient, queue: str, application: dict[str, Target]
) -> None:
    client.update_queue(queue=Queue(name=queue, app_engine_routing_override={"service": "worker"}))
    uri = f"/overridden-{uuid4()}"
    push(client, queue, relative_uri=uri, app_engine_routing={"service": "worker", "version": "2"})
    _of(application["worker"], uri, 1)
