"""The methods on queues, through the official client."""

import asyncio
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import grpc.aio
import pytest
from google.api_core.exceptions import FailedPrecondition, InvalidArgument, NotFound
from google.cloud.tasks_v2 import CloudTasksAsyncClient, CloudTasksClient, HttpMethod, OAuthToken, Queue, UriOverride
from google.cloud.tasks_v2.services.cloud_tasks.transports import CloudTasksGrpcAsyncIOTransport
from google.protobuf.duration_pb2 import Duration

from tests.cloud.conftest import LOCATION, Server, http_task

URL = "http://127.0.0.1:9/work"


@pytest.fixture
def new_queue() -> str:
    """The full name of a queue that is not there yet."""
    return f"{LOCATION}/queues/{uuid4()}"


def create(client: CloudTasksClient, name: str, **fields: Any) -> Queue:
    return client.create_queue(parent=LOCATION, queue={"name": name, **fields})


def update(client: CloudTasksClient, name: str, *paths: str, **fields: Any) -> Queue:
    return client.update_queue(queue={"name": name, **fields}, update_mask={"paths": list(paths)})


def test_a_queue_that_says_nothing_gets_the_defaults(client: CloudTasksClient, new_queue: str) -> None:
    created = create(client, new_queue)
    assert created == client.get_queue(name=new_queue)
    assert created.state == Queue.State.RUNNING
    assert created.rate_limits.max_dispatches_per_second == 500
    assert created.rate_limits.max_burst_size == 100
    assert created.rate_limits.max_concurrent_dispatches == 1000
    assert created.retry_config.max_attempts == 100
    assert created.retry_config.min_backoff == timedelta(seconds=0.1)
    assert created.retry_config.max_backoff == timedelta(hours=1)
    assert created.retry_config.max_doublings == 16
    assert "max_retry_duration" not in created.retry_config
    assert "purge_time" not in created
    assert "http_target" not in created


def test_what_a_queue_says_is_kept_and_shown(client: CloudTasksClient, new_queue: str) -> None:
    fields = {
        "rate_limits": {"max_dispatches_per_second": 2.5, "max_concurrent_dispatches": 3},
        "retry_config": {
            "max_attempts": -1,
            "max_retry_duration": timedelta(hours=2),
            "min_backoff": timedelta(seconds=1.5),
            "max_backoff": timedelta(seconds=20),
            "max_doublings": 2,
        },
        "stackdriver_logging_config": {"sampling_ratio": 0.25},
        "app_engine_routing_override": {"service": "worker", "version": "v2", "host": "ignored"},
        "http_target": {
            "uri_override": {
                "scheme": "HTTPS",
                "host": "example.com",
                "port": 8443,
                "path_override": {"path": "/tasks"},
                "query_override": {"query_params": ""},
                "uri_override_enforce_mode": "IF_NOT_EXISTS",
            },
            "http_method": "PUT",
            "header_overrides": [{"header": {"key": "X-A", "value": "1"}}, {"header": {"key": "X-A", "value": "2"}}],
            "oidc_token": {"service_account_email": "a@example.com", "audience": "aud"},
        },
    }
    create(client, new_queue, **fields)
    shown = client.get_queue(name=new_queue)
    assert shown.rate_limits.max_burst_size == 10
    assert shown.app_engine_routing_override.host == "v2.worker.demo.appspot.com"
    shown.app_engine_routing_override.host = "ignored"
    shown.rate_limits.max_burst_size = 0
    assert shown == Queue({"name": new_queue, "state": "RUNNING", **fields})


def test_an_oauth_override_is_kept_and_shown(client: CloudTasksClient, new_queue: str) -> None:
    token = OAuthToken(service_account_email="a@example.com", scope="s")
    create(client, new_queue, http_target={"oauth_token": token})
    assert client.get_queue(name=new_queue).http_target.oauth_token == token


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"rate_limits": {"max_dispatches_per_second": float("nan")}}, "less than or equal to 500"),
        ({"stackdriver_logging_config": {"sampling_ratio": 1.1}}, "between 0.0 and 1.0"),
        (
            {"retry_config": {"max_backoff": Duration(seconds=315_576_000_001)}},
            "RetryConfig.maxBackoff must be at most",
        ),
        ({"retry_config": {"max_retry_duration": Duration(seconds=2**63 - 1)}}, "RetryConfig.maxRetryDuration"),
        ({"app_engine_routing_override": {"service": "a/b"}}, "AppEngineRouting.service"),
        ({"http_target": {"http_method": 99}}, "httpMethod 99"),
        ({"http_target": {"uri_override": {"host": ""}}}, "UriOverride.host"),
        ({"http_target": {"uri_override": {"host": "a/b"}}}, "UriOverride.host"),
        ({"http_target": {"uri_override": {"host": "a..b"}}}, "UriOverride.host"),
        ({"http_target": {"uri_override": {"host": "[1.2:]"}}}, "UriOverride.host"),
        ({"http_target": {"uri_override": {"port": 65536}}}, "UriOverride.port"),
        ({"http_target": {"uri_override": {"port": -1}}}, "UriOverride.port"),
        ({"http_target": {"uri_override": {"scheme": 7}}}, "UriOverride.scheme"),
        ({"http_target": {"uri_override": {"path_override": {"path": "/a b"}}}}, "pathOverride"),
        ({"http_target": {"header_overrides": [{"header": {"key": "Bad Name"}}]}}, "Bad Name"),
        ({"http_target": {"header_overrides": [{"header": {"key": "X", "value": "x" * 82_000}}]}}, "80KB"),
        ({"http_target": {"oidc_token": {"service_account_email": "a@example.com"}}}, "audience"),
        ({"http_target": {"oauth_token": {"scope": "s"}}}, "service account email"),
    ],
)
def test_a_queue_that_could_not_work_is_refused(
    fields: dict[str, Any], text: str, client: CloudTasksClient, new_queue: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        create(client, new_queue, **fields)


def test_a_queue_is_made_in_the_parent_that_the_request_names(client: CloudTasksClient, new_queue: str) -> None:
    with pytest.raises(InvalidArgument, match="must begin with the parent"):
        client.create_queue(parent="projects/demo/locations/there", queue={"name": new_queue})


def test_an_update_changes_what_its_mask_names_alone(client: CloudTasksClient, new_queue: str) -> None:
    create(client, new_queue, rate_limits={"max_dispatches_per_second": 5}, retry_config={"max_attempts": 3})
    changed = update(
        client,
        new_queue,
        "rate_limits.max_dispatches_per_second",
        rate_limits={"max_dispatches_per_second": 100, "max_concurrent_dispatches": 7},
        retry_config={"max_attempts": 9},
    )
    assert changed.rate_limits.max_dispatches_per_second == 100
    assert changed.rate_limits.max_burst_size == 20
    assert changed.rate_limits.max_concurrent_dispatches == 1000
    assert changed.retry_config.max_attempts == 3
    assert changed == client.get_queue(name=new_queue)


def test_an_update_without_a_mask_sets_every_field(client: CloudTasksClient, new_queue: str) -> None:
    create(
        client,
        new_queue,
        rate_limits={"max_dispatches_per_second": 5},
        http_target={"http_method": "PUT"},
        stackdriver_logging_config={"sampling_ratio": 1},
    )
    changed = update(client, new_queue, retry_config={"max_attempts": 9})
    assert changed.retry_config.max_attempts == 9
    assert changed.rate_limits.max_dispatches_per_second == 500
    assert "http_target" not in changed
    assert "stackdriver_logging_config" not in changed


def test_a_masked_field_that_is_not_given_goes_back_to_its_default(client: CloudTasksClient, new_queue: str) -> None:
    retry = {"max_attempts": 3, "min_backoff": timedelta(seconds=7), "max_doublings": 5}
    create(client, new_queue, retry_config=retry, http_target={"http_method": "PUT", "uri_override": {"host": "a"}})
    changed = update(
        client, new_queue, "retry_config.max_attempts", "retry_config.min_backoff", "http_target.http_method"
    )
    assert changed.retry_config.max_attempts == 100
    assert changed.retry_config.min_backoff == timedelta(seconds=0.1)
    assert changed.retry_config.max_doublings == 5
    assert changed.http_target.http_method == HttpMethod.HTTP_METHOD_UNSPECIFIED
    assert changed.http_target.uri_override.host == "a"


def test_one_part_of_an_override_can_be_changed(client: CloudTasksClient, new_queue: str) -> None:
    create(client, new_queue, http_target={"uri_override": {"host": "a", "port": 1}})
    changed = update(client, new_queue, "http_target.uri_override.port", http_target={"uri_override": {"port": 0}})
    assert changed.http_target.uri_override.host == "a"
    assert "port" in changed.http_target.uri_override
    assert changed.http_target.uri_override.port == 0
    assert changed.http_target.uri_override.uri_override_enforce_mode == UriOverride.UriOverrideEnforceMode.ALWAYS


@pytest.mark.parametrize(
    "path", ["nothing", "rate_limits.nothing", "name.more", "http_target.header_overrides.header", "", "rate_limits."]
)
def test_a_mask_that_names_no_field_is_refused(path: str, client: CloudTasksClient, queue: str) -> None:
    with pytest.raises(InvalidArgument, match=f"^400 Invalid mask for Queue: {re.escape(path)}$"):
        update(client, queue, path)


def test_what_is_output_only_cannot_be_updated(client: CloudTasksClient, paused_queue: str) -> None:
    before = client.get_queue(name=paused_queue)
    paths = ("state", "purge_time", "name")
    changed = update(client, paused_queue, *paths, state="RUNNING", purge_time="2030-01-01T00:00:00Z")
    assert changed.state == Queue.State.PAUSED
    assert "purge_time" not in changed
    assert changed.retry_config == before.retry_config


def test_an_update_makes_a_queue_that_is_missing(client: CloudTasksClient, new_queue: str) -> None:
    made = update(client, new_queue, "rate_limits", rate_limits={"max_concurrent_dispatches": 2})
    assert made == client.get_queue(name=new_queue)
    assert made.rate_limits.max_concurrent_dispatches == 2
    assert made.retry_config.max_attempts == 100


def test_an_update_gives_a_queue_of_the_file_the_burst_of_its_rate(client: CloudTasksClient, queue: str) -> None:
    before = client.get_queue(name=queue)
    assert before.rate_limits.max_burst_size == 5
    changed = update(client, queue, "retry_config.max_attempts", retry_config={"max_attempts": 4})
    assert changed.rate_limits.max_burst_size == 100
    assert changed.rate_limits.max_dispatches_per_second == 500
    assert changed.retry_config.max_attempts == 4
    assert changed.retry_config.max_doublings == before.retry_config.max_doublings


def test_a_deleted_queue_takes_its_tasks_and_its_name_with_it(client: CloudTasksClient, paused_queue: str) -> None:
    task = client.create_task(parent=paused_queue, task=http_task(URL))
    client.delete_queue(name=paused_queue)
    for call in (lambda: client.get_queue(name=paused_queue), lambda: client.list_tasks(parent=paused_queue)):
        with pytest.raises(NotFound, match="Queue does not exist"):
            call()
    with pytest.raises(NotFound):
        client.get_task(name=task.name)
    with pytest.raises(NotFound, match="Requested entity was not found"):
        client.delete_queue(name=paused_queue)
    for make in (create, update):
        with pytest.raises(FailedPrecondition, match="existed too recently"):
            make(client, paused_queue)


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("state: PAUSED", False),
        ("state=RUNNING", True),
        ("state!=RUNNING", False),
        ("rate_limits.max_dispatches_per_second>499", True),
        ("rateLimits.maxDispatchesPerSecond < 500", False),
        ("rate_limits.max_burst_size >= 100 AND rate_limits.max_concurrent_dispatches <= 7", True),
        ("rate_limits.max_concurrent_dispatches=7 retry_config.max_attempts=1", False),
        ("state=PAUSED OR retry_config.max_attempts=100", True),
        ("state=PAUSED OR state=RUNNING AND retry_config.max_attempts=1", False),
        ("NOT state=PAUSED", True),
        ("-state=RUNNING", False),
        ("NOT (state=PAUSED OR state=DISABLED)", True),
        ("retry_config.min_backoff = 0.1s", True),
        ("retry_config.max_backoff > 3600s", False),
        ("purge_time:*", False),
        ('purge_time > "2020-01-01T00:00:00Z"', False),
        ('purge_time != "2020-01-01T00:00:00Z"', True),
        ("http_target.uri_override.host:EXAMPLE", True),
        ('http_target.uri_override.host = "Filtered.example.com"', True),
        ("http_target:*", True),
        ("app_engine_routing_override.service:x", False),
    ],
)
def test_a_filter_lets_through_the_queues_it_fits(
    text: str, passes: bool, client: CloudTasksClient, new_queue: str
) -> None:
    create(
        client,
        new_queue,
        rate_limits={"max_concurrent_dispatches": 7},
        http_target={"uri_override": {"host": "filtered.example.com"}},
    )
    request = {"parent": LOCATION, "filter": f"name:{new_queue} AND ({text})"}
    assert [queue.name for queue in client.list_queues(request=request)] == ([new_queue] if passes else [])


@pytest.mark.parametrize(
    "text",
    [
        "PAUSED",
        "state",
        "state=",
        "state ~ PAUSED",
        "nothing=1",
        "rate_limits.nothing=1",
        "rate_limits.max_burst_size=many",
        "retry_config.min_backoff=1h",
        "http_target.header_overrides:*",
        "(state=PAUSED",
        "state=PAUSED)",
        'state="PAUSED',
        "state=PAUSED OR",
        "NOT",
        "(" * 30 + "state=PAUSED" + ")" * 30,
        "state=PAUSED " * 200,
    ],
)
def test_what_is_no_filter_is_refused(text: str, client: CloudTasksClient) -> None:
    with pytest.raises(InvalidArgument, match="Invalid filter"):
        client.list_queues(request={"parent": LOCATION, "filter": text})


def test_pages_of_a_filtered_list_hold_what_passes_alone(client: CloudTasksClient, new_queue: str) -> None:
    names = [f"{new_queue}-{number}" for number in range(5)]
    for name in names:
        create(client, name)
    request = {"parent": LOCATION, "filter": f"name:{new_queue}", "page_size": 2}
    pages = [[queue.name for queue in page.queues] for page in client.list_queues(request=request).pages]
    assert pages == [names[:2], names[2:4], names[4:]]


@pytest.mark.parametrize(
    "change",
    [
        lambda request: request.update(filter="state=PAUSED"),
        lambda request: request.update(parent="projects/demo/locations/there"),
        lambda request: request.update(page_token="bm90IGEgdG9rZW4="),
        lambda request: request.update(page_token="not base64"),
        lambda request: request.update(page_size=-1),
    ],
)
def test_pages_go_on_with_the_same_list_alone(
    change: Callable[[dict[str, Any]], None], client: CloudTasksClient
) -> None:
    request: dict[str, Any] = {"parent": LOCATION, "filter": "state=RUNNING", "page_size": 1}
    request["page_token"] = client.list_queues(request=request).next_page_token
    assert request["page_token"]
    change(request)
    with pytest.raises(InvalidArgument):
        client.list_queues(request=request)


def test_the_asynchronous_client_makes_changes_and_deletes_a_queue(server: Server, new_queue: str) -> None:
    async def scenario() -> None:
        async with grpc.aio.insecure_channel(server.grpc) as channel:
            client = CloudTasksAsyncClient(transport=CloudTasksGrpcAsyncIOTransport(channel=channel))
            await client.create_queue(parent=LOCATION, queue={"name": new_queue})
            assert (await client.pause_queue(name=new_queue)).state == Queue.State.PAUSED
            changed = await client.update_queue(queue={"name": new_queue, "retry_config": {"max_attempts": 2}})
            assert changed.state == Queue.State.PAUSED
            assert changed.retry_config.max_attempts == 2
            found = await client.list_queues(request={"parent": LOCATION, "filter": f"name={new_queue}"})
            assert [queue.name async for queue in found] == [new_queue]
            await client.delete_queue(name=new_queue)
            with pytest.raises(NotFound):
                await client.get_queue(name=new_queue)

    asyncio.run(scenario())
