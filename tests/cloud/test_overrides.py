"""What a queue puts in place of its tasks' own, at each push and not before."""

from typing import Any
from urllib.parse import urlsplit

import jwt
from google.cloud.tasks_v2 import CloudTasksClient, HttpMethod, HttpTarget, Queue, UriOverride

from tests.cloud.conftest import Target, http_task

URL = "https://example.com/own?x=1"
ACCOUNT = "tasks@demo.iam.gserviceaccount.com"


def put_over(client: CloudTasksClient, queue: str, target: Target, uri: dict[str, Any], **fields: Any) -> None:
    """Send the queue's tasks to the target, with more of `uri` and `fields` put over them."""
    address = urlsplit(target.url)
    uri = {"scheme": UriOverride.Scheme.HTTP, "host": address.hostname, "port": address.port, **uri}
    client.update_queue(queue=Queue(name=queue, http_target=HttpTarget(uri_override=uri, **fields)))


def test_pushes_go_where_the_queue_says(client: CloudTasksClient, queue: str, target: Target) -> None:
    put_over(client, queue, target, {"path_override": {"path": "/queues"}, "query_override": {"query_params": "y=2"}})
    task = client.create_task(parent=queue, task=http_task(URL))
    assert task.http_request.url == URL
    (push,) = target.wait_for(1)
    assert push.path == "/queues?y=2"
    assert push.headers["host"] == urlsplit(target.url).netloc


def test_only_missing_parts_are_put_in_where_the_queue_says_so(
    client: CloudTasksClient, queue: str, target: Target
) -> None:
    missing = UriOverride.UriOverrideEnforceMode.IF_NOT_EXISTS
    parts = {"path_override": {"path": "/queues"}, "query_override": {"query_params": "y=2"}}
    put_over(client, queue, target, {**parts, "uri_override_enforce_mode": missing})
    client.create_task(parent=queue, task=http_task(f"{target.url}/own"))
    client.create_task(parent=queue, task=http_task(target.url))
    assert sorted(push.path for push in target.wait_for(2)) == ["/own?y=2", "/queues?y=2"]


def test_headers_and_method_of_the_queue_win(client: CloudTasksClient, queue: str, target: Target) -> None:
    headers = [{"header": {"key": "x-mine", "value": "queue's"}}, {"header": {"key": "X-New", "value": "new"}}]
    put_over(client, queue, target, {}, header_overrides=headers, http_method=HttpMethod.PUT)
    request = {"url": URL, "headers": {"X-Mine": "own", "X-Other": "own"}, "body": b"kept"}
    client.create_task(parent=queue, task={"http_request": request})
    (push,) = target.wait_for(1)
    assert (push.method, push.body) == ("PUT", b"kept")
    seen = {name: push.headers[name] for name in ("x-mine", "x-new", "x-other")}
    assert seen == {"x-mine": "queue's", "x-new": "new", "x-other": "own"}


def test_a_method_that_takes_no_body_leaves_the_tasks_out(client: CloudTasksClient, queue: str, target: Target) -> None:
    put_over(client, queue, target, {}, http_method=HttpMethod.GET)
    client.create_task(parent=queue, task={"http_request": {"url": URL, "body": b"not sent"}})
    (push,) = target.wait_for(1)
    assert (push.method, push.body) == ("GET", b"")
    assert "content-length" not in push.headers


def test_the_queues_token_takes_the_place_of_the_tasks_own(
    client: CloudTasksClient, queue: str, target: Target
) -> None:
    token = {"service_account_email": ACCOUNT, "audience": "the-queue"}
    put_over(client, queue, target, {}, oidc_token=token)
    request = {"url": URL, "oidc_token": {"service_account_email": "own@example.com"}}
    client.create_task(parent=queue, task={"http_request": request})
    (push,) = target.wait_for(1)
    claims = _claims(push.headers["authorization"])
    assert (claims["email"], claims["aud"]) == (ACCOUNT, "the-queue")


def test_a_token_without_an_audience_is_for_the_url_that_is_pushed_to(
    client: CloudTasksClient, queue: str, target: Target
) -> None:
    put_over(client, queue, target, {})
    request = {"url": URL, "oidc_token": {"service_account_email": ACCOUNT}}
    client.create_task(parent=queue, task={"http_request": request})
    (push,) = target.wait_for(1)
    assert _claims(push.headers["authorization"])["aud"] == f"{target.url}/own?x=1"


def test_what_changes_on_the_queue_changes_for_tasks_that_wait(
    client: CloudTasksClient, paused_queue: str, target: Target
) -> None:
    client.create_task(parent=paused_queue, task=http_task(URL))
    put_over(client, paused_queue, target, {})
    client.resume_queue(name=paused_queue)
    (push,) = target.wait_for(1)
    assert push.path == "/own?x=1"


def _claims(authorization: str) -> dict[str, Any]:
    token = authorization.removeprefix("Bearer ")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims
