"""BufferTask: a bare HTTP request becomes a task of a queue that says where its tasks go."""

import json
from http.client import HTTPConnection
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from google.cloud.tasks_v2 import CloudTasksClient, HttpMethod, HttpTarget, Queue, UriOverride

from tests.cloud.conftest import Server, Target


@pytest.fixture
def aimed_queue(client: CloudTasksClient, queue: str, target: Target) -> str:
    """A queue that sends all its tasks to the target."""
    return _aim(client, queue, target.url)


def _aim(client: CloudTasksClient, queue: str, url: str, **fields: Any) -> str:
    address = urlsplit(url)
    uri = {
        "scheme": UriOverride.Scheme.HTTP,
        "host": address.hostname,
        "port": address.port,
        "path_override": {"path": "/buffered"},
    }
    client.update_queue(queue=Queue(name=queue, http_target=HttpTarget(uri_override=uri, **fields)))
    return queue


def buffer(server: Server, queue: str, task_id: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    """POST to the queue's `tasks:buffer`, or to `tasks/ID:buffer`; the status and the document."""
    path = f"{queue}/tasks/{task_id}:buffer" if task_id else f"{queue}/tasks:buffer"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(f"{server.rest}/v2/{path}", data=body, headers=named, method="POST")
    try:
        with urlopen(request) as answer:
            return answer.status, json.load(answer)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, json.load(refusal)


def test_the_body_and_the_headers_of_the_request_are_the_tasks(
    server: Server, aimed_queue: str, target: Target
) -> None:
    headers = {"Content_Type": "text/plain", "X_Mine": "kept", "X_CloudTasks_TaskName": "forged", "Authorization": "no"}
    status, document = buffer(server, aimed_queue, "b1", b"\x00 any bytes \xff", **headers)
    assert status == 200
    assert document["task"]["name"] == f"{aimed_queue}/tasks/b1"
    assert document["task"]["httpRequest"]["url"] == f"{target.url}/buffered"
    (push,) = target.wait_for(1)
    assert (push.method, push.path, push.body) == ("POST", "/buffered", b"\x00 any bytes \xff")
    assert (push.headers["content-type"], push.headers["x-mine"]) == ("text/plain", "kept")
    assert push.headers["x-cloudtasks-taskname"] == "b1"
    assert push.headers["user-agent"] == "Google-Cloud-Tasks"
    assert push.headers["host"] == urlsplit(target.url).netloc
    assert "authorization" not in push.headers


def test_a_task_without_an_id_gets_one(server: Server, aimed_queue: str, target: Target) -> None:
    _, document = buffer(server, aimed_queue, "", b"x", Content_Type="text/plain")
    (push,) = target.wait_for(1)
    assert document["task"]["name"] == f"{aimed_queue}/tasks/{push.headers['x-cloudtasks-taskname']}"


def test_a_body_without_a_type_is_json(server: Server, aimed_queue: str, target: Target) -> None:
    connection = HTTPConnection(urlsplit(server.rest).netloc)
    connection.request("POST", f"/v2/{aimed_queue}/tasks:buffer", body=b"{}")
    assert connection.getresponse().status == 200
    connection.close()
    assert target.wait_for(1)[0].headers["content-type"] == "application/json"


def test_the_method_is_the_queues(client: CloudTasksClient, server: Server, queue: str, target: Target) -> None:
    buffer(server, _aim(client, queue, target.url, http_method=HttpMethod.PUT), "", b"x", Content_Type="text/plain")
    assert target.wait_for(1)[0].method == "PUT"


def test_an_id_is_taken_once(server: Server, aimed_queue: str, client: CloudTasksClient) -> None:
    client.pause_queue(name=aimed_queue)
    assert buffer(server, aimed_queue, "once", b"x")[0] == 200
    status, document = buffer(server, aimed_queue, "once", b"x")
    assert (status, document["error"]["status"]) == (409, "ALREADY_EXISTS")


def test_a_queue_that_does_not_say_where_cannot_buffer(server: Server, queue: str) -> None:
    status, document = buffer(server, queue, "b1", b"x")
    assert (status, document["error"]["status"]) == (400, "FAILED_PRECONDITION")
    assert "uriOverride.host" in document["error"]["message"]


def test_what_is_wrong_is_refused(server: Server, aimed_queue: str) -> None:
    def error_of(queue: str, task_id: str, body: bytes) -> str:
        word: str = buffer(server, queue, task_id, body)[1]["error"]["status"]
        return word

    assert error_of(f"{aimed_queue}-none", "b1", b"x") == "NOT_FOUND"
    assert error_of(aimed_queue, "not%20an%20id", b"x") == "INVALID_ARGUMENT"
    assert error_of(aimed_queue, "large", b"x" * 1_048_569) == "INVALID_ARGUMENT"
