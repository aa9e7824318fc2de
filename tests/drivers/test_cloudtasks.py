"""The driver to Cloud Tasks, against a real queue server; its queues are paused, so tasks stay where they are put."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from google.cloud import tasks_v2

from headrace.drivers.base import Push, PushOutcome
from headrace.drivers.cloudtasks import CloudTasksDriver
from headrace.errors import DriverError

PARENT = "projects/p/locations/l/queues"
QUEUES = "queue:\n- {name: one, rate: 0/s}\n- {name: two, rate: 0/s}\n"
CALLS = "google.cloud.tasks.v2.CloudTasks"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def driver_for(
    host: str, clock: Clock | None = None, timeout: float = 10.0, token: str | None = None
) -> CloudTasksDriver:
    return CloudTasksDriver(
        project="p",
        location="l",
        service_account="tasks@p.iam.gserviceaccount.com",
        audience="http://127.0.0.1:1",
        emulator_host=host,
        emulator_token=token,
        monotonic=clock or Clock(),
        timeout=timeout,
    )


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("driver")
    (folder / "queue.yaml").write_text(QUEUES)
    command = [sys.executable, "-m", "headrace", "emulator", "--memory", "--grpc-port=0", "--rest-port=0", "--json"]
    command += ["--project=p", "--location=l", f"--queues={folder / 'queue.yaml'}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["grpc"]
        process.terminate()


@pytest.fixture
def driver(host: str) -> Iterator[CloudTasksDriver]:
    driver = driver_for(host)
    client = driver._client
    for queue in ("one", "two"):
        client.purge_queue(name=f"{PARENT}/{queue}")
    yield driver
    driver.close()


def pushes(prefix: str, count: int, queue: str = "one") -> list[Push]:
    return [
        Push(queue, f"{prefix}-{number}", "http://127.0.0.1:1/v1/cloudTask/x", b"[%d]" % number, 30.0)
        for number in range(count)
    ]


def test_tasks_are_pushed_in_bulk_over_several_queues(driver: CloudTasksDriver) -> None:
    mixed = [push for pair in zip(pushes("bulk", 130), pushes("bulk", 130, "two"), strict=True) for push in pair]
    assert {result.outcome for result in driver.push_many(mixed)} == {PushOutcome.PUSHED}
    for queue in ("one", "two"):
        assert driver.missing(queue, [f"bulk-{number}" for number in range(130)]) == set()


def test_a_queue_server_that_asks_for_a_token_gets_it() -> None:
    seen: list[dict[str, str]] = []

    class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
            seen.append(dict(details.invocation_metadata))
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")

    server = grpc.server(futures.ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Calls(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    driver = driver_for(f"127.0.0.1:{port}", token="a-token-of-the-server")
    assert driver.has_queue("one")
    assert driver.push_many(pushes("with-token", 1))[0].outcome is PushOutcome.PUSHED
    assert [call["authorization"] for call in seen] == ["Bearer a-token-of-the-server"] * 2
    driver.close()
    server.stop(None).wait()


def test_a_pushed_task_carries_body_type_token_and_deadline(driver: CloudTasksDriver) -> None:
    (push,) = pushes("whole", 1)
    assert driver.push_many([push])[0].outcome is PushOutcome.PUSHED
    task = driver._client.get_task(
        request={"name": f"{PARENT}/one/tasks/whole-0", "response_view": tasks_v2.Task.View.FULL}
    )
    http = task.http_request
    assert (http.url, http.body, http.headers["Content-Type"]) == (push.url, b"[0]", "application/json")
    assert http.oidc_token.service_account_email == "tasks@p.iam.gserviceaccount.com"
    assert http.oidc_token.audience == "http://127.0.0.1:1"
    assert task.dispatch_deadline.total_seconds() == 30.0


@pytest.mark.parametrize("count", [1, 3])
def test_a_name_that_the_queue_knows_is_a_duplicate(driver: CloudTasksDriver, count: int) -> None:
    twice = pushes(f"twice-{count}", count)
    driver.push_many(twice)
    assert [result.outcome for result in driver.push_many(twice)] == [PushOutcome.DUPLICATE] * count


def test_one_refused_task_does_not_hold_up_its_company(driver: CloudTasksDriver) -> None:
    good, bad = pushes("company", 2)
    large = Push("one", "large", bad.url, b"x" * 1_100_000, 30.0)
    outcomes = [result.outcome for result in driver.push_many([good, large, bad])]
    assert outcomes == [PushOutcome.PUSHED, PushOutcome.REFUSED, PushOutcome.PUSHED]
    assert "too large" in driver.push_many([large])[0].reason


def test_a_queue_that_is_missing_may_come_back_so_its_pushes_wait(driver: CloudTasksDriver) -> None:
    assert [result.outcome for result in driver.push_many(pushes("lost", 2, "none"))] == [PushOutcome.UNAVAILABLE] * 2
    assert not driver.has_queue("none")


def test_missing_names_the_tasks_that_are_gone(driver: CloudTasksDriver) -> None:
    driver.push_many(pushes("there", 3))
    driver._client.delete_task(name=f"{PARENT}/one/tasks/there-1")
    assert driver.missing("one", ["there-0", "there-1", "there-2", "never"]) == {"there-1", "never"}
    assert driver.missing("one", ["there-1"]) == {"there-1"}
    assert driver.missing("none", ["a", "b"]) == {"a", "b"}


def test_a_queue_is_remembered_to_exist_for_a_minute(host: str) -> None:
    clock = Clock()
    driver = driver_for(host, clock)
    assert driver.has_queue("one")
    driver._client = None  # type: ignore[misc]
    assert driver.has_queue("one"), "known, without a call"
    clock.now = 61
    with pytest.raises(AttributeError):
        driver.has_queue("one")


def test_a_server_that_is_down_leaves_pushes_to_the_outbox(unused_port: int) -> None:
    driver = driver_for(f"127.0.0.1:{unused_port}", timeout=0.5)
    assert [result.outcome for result in driver.push_many(pushes("down", 2))] == [PushOutcome.UNAVAILABLE] * 2
    assert driver.has_queue("one"), "nobody knows, so the outbox waits"
    with pytest.raises(DriverError, match="could not be asked"):
        driver.missing("one", ["a"])
    with pytest.raises(DriverError, match="could not be asked"):
        driver.missing("one", ["a", "b"])
    driver.close()


def test_a_service_without_bulk_creation_gets_tasks_one_by_one() -> None:
    """The server here is a stand-in: it knows CreateTask alone, as Cloud Tasks did before BatchCreateTasks."""
    seen: list[str] = []
    request_type, task_type = tasks_v2.CreateTaskRequest.pb(), tasks_v2.Task.pb()

    def create(request: object, _context: grpc.ServicerContext) -> object:
        seen.append(request.task.name)  # type: ignore[attr-defined]
        return task_type(name=seen[-1])

    handler = grpc.unary_unary_rpc_method_handler(
        create, request_deserializer=request_type.FromString, response_serializer=task_type.SerializeToString
    )
    server = grpc.server(futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CALLS, {"CreateTask": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    driver = driver_for(f"127.0.0.1:{port}")
    outcomes = [result.outcome for _ in range(2) for result in driver.push_many(pushes("single", 3))]
    assert outcomes == [PushOutcome.PUSHED] * 6
    assert len(seen) == 6
    driver.close()
    server.stop(None).wait()
