"""What a server may push to: targets that are allowed, and certificates that are not looked at."""

import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from google.api_core.exceptions import PermissionDenied
from google.cloud.tasks_v2 import CloudTasksClient, HttpTarget, Queue, UriOverride

from headrace.cloud.server import make_engine_settings
from headrace.engine.reach import PUBLIC_ONLY, TargetRules, parse_rule
from tests.cloud.conftest import LOCATION, Target, http_task, serving_target, start_server, stop_server
from tests.cloud.scheduling import SETTINGS
from tests.engine.test_http import self_signed


@pytest.fixture(scope="module")
def allowed() -> Iterator[Target]:
    with serving_target() as target:
        yield target


@pytest.fixture(scope="module")
def client(allowed: Target) -> Iterator[CloudTasksClient]:
    server = start_server(
        "--memory",
        f"--allow-target={urlsplit(allowed.url).netloc}",
        "--allow-target=*.example.com",
        "--app-engine-url=http://127.0.0.1:1",
    )
    with server.client() as client:
        yield client
    assert stop_server(server) == 0


@pytest.fixture
def queue(client: CloudTasksClient) -> str:
    return str(client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/{uuid4()}"}).name)


def test_an_allowed_target_is_pushed_to(client: CloudTasksClient, queue: str, allowed: Target) -> None:
    client.create_task(parent=queue, task=http_task(allowed.url))
    allowed.wait_for(1)


@pytest.mark.parametrize(
    "task",
    [
        http_task("http://127.0.0.1:1/"),
        http_task("http://169.254.169.254/computeMetadata/v1/"),
        http_task("https://example.org/"),
        {"app_engine_http_request": {"relative_uri": "/work"}},
    ],
)
def test_any_other_target_is_refused(task: dict[str, object], client: CloudTasksClient, queue: str) -> None:
    with pytest.raises(PermissionDenied, match="--allow-target"):
        client.create_task(parent=queue, task=task)


def test_a_batch_leaves_out_what_is_refused(client: CloudTasksClient, queue: str, allowed: Target) -> None:
    client.pause_queue(name=queue)
    requests = [{"task": http_task(url)} for url in ("http://127.0.0.1:1/", allowed.url)]
    operation = client.batch_create_tasks(request={"parent": queue, "requests": requests})
    assert [task.http_request.url for task in operation.result().tasks] == [allowed.url]


def test_an_override_does_not_lead_out(client: CloudTasksClient, queue: str) -> None:
    uri = {"scheme": UriOverride.Scheme.HTTP, "host": "127.0.0.1", "port": 1}
    client.update_queue(queue=Queue(name=queue, http_target=HttpTarget(uri_override=uri)))
    with pytest.raises(PermissionDenied, match="--allow-target"):
        client.create_task(parent=queue, task=http_task("https://a.example.com/"))


def test_a_certificate_that_nobody_vouches_for_is_taken_when_told_so(tmp_path: Path) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*self_signed(tmp_path))
    server = start_server("--memory", "--tls-insecure-targets")
    with serving_target(context) as target, server.client() as client:
        name = client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/tls"}).name
        client.create_task(parent=name, task=http_task(target.url))
        target.wait_for(1)
    assert stop_server(server) == 0


def test_off_loopback_only_public_addresses_are_reached_unless_targets_are_allowed() -> None:
    rules = (parse_rule("worker"),)
    assert make_engine_settings(SETTINGS).reach is None
    assert make_engine_settings(replace(SETTINGS, host="0.0.0.0")).reach == PUBLIC_ONLY
    assert make_engine_settings(replace(SETTINGS, host="0.0.0.0", allowed_targets=rules)).reach == TargetRules(rules)
    assert make_engine_settings(replace(SETTINGS, allowed_targets=rules)).reach == TargetRules(rules)
