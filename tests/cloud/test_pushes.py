"""What a target sees of the tasks that were created through the API."""

import json
import threading
from pathlib import Path
from time import time

import pytest
from google.api_core.exceptions import NotFound
from google.cloud.tasks_v2 import CloudTasksClient, Queue
from google.protobuf import duration_pb2, timestamp_pb2

from tests.cloud.conftest import LOCATION, Push, Target, http_task

RECORDED = json.loads((Path(__file__).parent.parent / "vectors/cloudtasks_dispatch.json").read_text())


def _headers(push: Push) -> dict[str, str]:
    """The headers of a push in the words of the recording."""
    words = {
        "retry": "retrycount",
        "exec": "executioncount",
        "prev": "previousresponse",
        "reason": "retryreason",
    }
    found = {word: push.headers.get(f"x-cloudtasks-task{name}") for word, name in words.items()}
    return {word: value for word, value in found.items() if value is not None}


def test_the_first_push_has_the_recorded_headers(client: CloudTasksClient, queue: str, target: Target) -> None:
    request = {
        "url": f"{target.url}/work?x=1",
        "headers": {"X-Mine": "kept", "User-Agent": "replaced", "X-CloudTasks-QueueName": "forged"},
        "body": b"[1, 2]",
    }
    task = client.create_task(parent=queue, task={"name": f"{queue}/tasks/first", "http_request": request})
    (push,) = target.wait_for(1)
    assert (push.method, push.path, push.body) == ("POST", "/work?x=1", b"[1, 2]")
    eta = push.headers["x-cloudtasks-tasketa"]
    due = task.schedule_time.timestamp_pb()
    assert eta == f"{due.seconds}.{due.nanos // 1000:06}"
    values = {"{queue}": queue.rpartition("/")[2], "{task}": "first", "{eta}": eta}
    for name, value in RECORDED["first_attempt_http"].items():
        assert push.headers[name.lower()] == values.get(value, value)
    assert push.headers["x-mine"] == "kept"
    assert "content-type" not in push.headers
    assert _headers(push) == {"retry": "0", "exec": "0"}


def test_the_sequence_of_pushes_has_the_recorded_headers(client: CloudTasksClient, target: Target) -> None:
    rows = RECORDED["http_sequence"]
    statuses = [status for _number, status, _seen in rows]
    target.answer = lambda push: statuses[int(push.headers["x-cloudtasks-taskretrycount"])]
    client.create_task(parent=f"{LOCATION}/queues/quick-retries", task=http_task(target.url))
    pushes = target.wait_for(len(rows))
    expected = [{word: str(value) for word, value in seen.items()} for _number, _status, seen in rows]
    assert [_headers(push) for push in pushes] == expected


def test_a_failed_push_shows_on_the_task(client: CloudTasksClient, queue: str, target: Target) -> None:
    """After the first failure the task waits for its backoff, and its last attempt says why."""
    target.answer = lambda push: 418
    client.pause_queue(name=queue)
    task = client.create_task(parent=queue, task=http_task(target.url))
    client.run_task(name=task.name)
    target.wait_for(1)
    shown = _when(client, task.name, lambda shown: shown.response_count == 1)
    assert shown.dispatch_count == 1
    assert shown.last_attempt.response_status.code == 2
    assert shown.last_attempt.response_status.message == "UNKNOWN(2): HTTP status code 418"
    assert shown.first_attempt.dispatch_time == shown.last_attempt.dispatch_time
    assert not shown.first_attempt.response_time
    assert shown.schedule_time > task.schedule_time


def test_a_push_without_an_answer_shows_deadline_exceeded(client: CloudTasksClient, queue: str) -> None:
    client.pause_queue(name=queue)
    task = client.create_task(parent=queue, task=http_task("http://127.0.0.1:1/"))
    client.run_task(name=task.name)
    shown = _when(client, task.name, lambda shown: shown.last_attempt.response_time is not None)
    assert (shown.dispatch_count, shown.response_count) == (1, 0)
    assert shown.last_attempt.response_status.code == 4
    assert shown.last_attempt.response_status.message.startswith("DEADLINE_EXCEEDED(4): 127.0.0.1:1")


def _when(client, name, holds):  # type: ignore[no-untyped-def]
    """The task once `holds` is true of it. Its state is written just after the target has answered."""
    end = time() + 15
    while time() < end:
        shown = client.get_task(name=name)
        if holds(shown):
            return shown
    raise AssertionError(shown)


def test_a_queue_of_one_a_second_starts_with_its_burst(client: CloudTasksClient, target: Target) -> None:
    queue = f"{LOCATION}/queues/one-a-second"
    requests = [{"task": http_task(target.url)} for _ in range(7)]
    client.batch_create_tasks(request={"parent": queue, "requests": requests})
    at = [push.at for push in target.wait_for(7)]
    assert at[4] - at[0] < 0.5
    assert at[5] - at[0] == pytest.approx(1, abs=0.15)
    assert at[6] - at[0] == pytest.approx(2, abs=0.15)


def test_a_queue_of_two_at_once_never_has_three_under_way(client: CloudTasksClient, target: Target) -> None:
    lock = threading.Lock()
    gate = threading.Event()
    under_way, most = 0, 0

    def answer(push: Push) -> int:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        gate.wait(0.05)
        with lock:
            under_way -= 1
        return 204

    target.answer = answer
    queue = f"{LOCATION}/queues/two-at-once"
    requests = [{"task": http_task(target.url)} for _ in range(10)]
    client.batch_create_tasks(request={"parent": queue, "requests": requests})
    target.wait_for(10)
    assert most == 2


def test_a_task_is_tried_as_often_as_its_queue_allows(client: CloudTasksClient, queue: str, target: Target) -> None:
    """Two retries after the first push; a later task shows that no fourth push of the first one came."""
    target.answer = lambda push: 500
    limited = f"{LOCATION}/queues/three-attempts"
    task = client.create_task(parent=limited, task=http_task(f"{target.url}/failing"))
    target.wait_for(3)
    _until_gone(client, task.name)
    client.create_task(parent=queue, task=http_task(f"{target.url}/later"))
    assert [push.path for push in target.wait_for(4)] == ["/failing"] * 3 + ["/later"]


def test_a_queue_with_both_limits_stops_when_both_are_reached(client: CloudTasksClient, target: Target) -> None:
    """One retry and one second: the retries go on past the first until the second is over."""
    target.answer = lambda push: 500
    task = client.create_task(parent=f"{LOCATION}/queues/both-limits", task=http_task(target.url))
    _until_gone(client, task.name)
    at = [push.at for push in target.pushes]
    assert len(at) > 5
    assert 0.9 < at[-1] - at[0] < 1.5


def _until_gone(client: CloudTasksClient, name: str) -> None:
    end = time() + 15
    queue = name.partition("/tasks/")[0]
    while any(task.name == name for task in client.list_tasks(parent=queue)):
        assert time() < end


def test_a_paused_queue_takes_tasks_and_pushes_them_when_resumed(
    client: CloudTasksClient, queue: str, target: Target
) -> None:
    assert client.pause_queue(name=queue).state == Queue.State.PAUSED
    for number in range(3):
        client.create_task(parent=queue, task=http_task(f"{target.url}/{number}"))
    assert client.get_queue(name=queue).state == Queue.State.PAUSED
    assert len(list(client.list_tasks(parent=queue))) == 3
    assert not target.pushes
    assert client.resume_queue(name=queue).state == Queue.State.RUNNING
    assert sorted(push.path for push in target.wait_for(3)) == ["/0", "/1", "/2"]


def test_run_pushes_a_task_of_a_paused_queue_before_its_time(
    client: CloudTasksClient, paused_queue: str, target: Target
) -> None:
    later = timestamp_pb2.Timestamp(seconds=int(time()) + 3600)
    task = client.create_task(parent=paused_queue, task=http_task(target.url, schedule_time=later))
    shown = client.run_task(name=task.name)
    assert shown.dispatch_count == 1
    target.wait_for(1)
    _until_gone(client, task.name)
    assert len(target.pushes) == 1


def test_run_pushes_a_task_that_is_being_pushed_already(client: CloudTasksClient, queue: str, target: Target) -> None:
    second = threading.Event()

    def answer(push: Push) -> int:
        if push.headers["x-cloudtasks-taskretrycount"] == "0":
            second.wait(15)
            return 500
        return 204

    target.answer = answer
    task = client.create_task(parent=queue, task=http_task(target.url))
    target.wait_for(1)
    assert client.run_task(name=task.name).dispatch_count == 2
    target.wait_for(2)
    _until_gone(client, task.name)
    second.set()
    with pytest.raises(NotFound, match="Requested entity was not found"):
        client.run_task(name=task.name)


def test_a_tasks_own_retry_limits_stand_in_for_its_queues(client: CloudTasksClient, queue: str, target: Target) -> None:
    target.answer = lambda push: 500
    backoff = duration_pb2.Duration(nanos=20_000_000)
    limits = {"max_attempts": 2, "min_backoff": backoff, "max_backoff": backoff}
    task = client.create_task(parent=queue, task=http_task(target.url, retry_config=limits))
    _until_gone(client, task.name)
    assert len(target.pushes) == 2


def test_a_scheduled_task_is_pushed_at_its_time(client: CloudTasksClient, queue: str, target: Target) -> None:
    due = time() + 0.4
    at = timestamp_pb2.Timestamp()
    at.FromMicroseconds(int(due * 1e6))
    client.create_task(parent=queue, task=http_task(target.url, schedule_time=at))
    target.wait_for(1)
    assert due <= time() < due + 0.3
