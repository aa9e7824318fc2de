"""The server's own API: the clock, waiting, reset, and what stands and waits."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from google.api_core.exceptions import NotFound
from google.cloud import scheduler_v1

from headrace.cloud.pages import write_token
from headrace.testing.server import QueueServer, Ran, Refused
from tests.cloud.conftest import EMULATOR, LOCATION, WAIT, Push, Server, Target, start_server, stop_server

JOB = {"schedule": "0 * * * *", "time_zone": "UTC"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServer]:
    folder = tmp_path_factory.mktemp("control")
    (folder / "queue.yaml").write_text("queue:\n- name: declared\n  rate: 7/s\n")
    server = QueueServer(folder, ["--queues", "queue.yaml", "--project=demo", "--location=here"], root=folder)
    yield server
    server.close()


@pytest.fixture
def lab(running: QueueServer) -> QueueServer:
    running.reset()
    return running


def create(server: QueueServer, queue: str, url: str, **fields: Any) -> str:
    request = {"url": url, **fields.pop("http_request", {})}
    name: str = server.client().create_task(parent=queue, task={"http_request": request, **fields}).name
    return name


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def in_seconds(server: QueueServer, seconds: float) -> datetime:
    return datetime.fromtimestamp(server.now(), UTC) + timedelta(seconds=seconds)


# The clock.


def test_everything_that_falls_due_runs_in_order(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("later")
    for minutes in (40, 10, 30, 70):
        create(lab, queue, f"{target.url}/{minutes}", schedule_time=in_seconds(lab, 60 * minutes))
    before = lab.now()
    assert lab.advance(3600) == Ran(succeeded=3, failed=0, firings=0)
    assert 3600 <= lab.now() - before < 3600 + WAIT
    assert [push.path for push in target.pushes] == ["/10", "/30", "/40"]


def test_what_a_push_creates_runs_in_its_turn(lab: QueueServer, target: Target) -> None:
    """Each push creates the next task, an hour later, before it is answered."""
    queue = lab.queue("chain")

    def answer(push: Push) -> int:
        number = int(push.path[1:])
        create(lab, queue, f"{target.url}/{number + 1}", schedule_time=in_seconds(lab, 3600))
        return 204

    target.answer = answer
    create(lab, queue, f"{target.url}/0")
    lab.advance(5 * 3600 + 60)
    assert [push.path for push in target.pushes] == ["/0", "/1", "/2", "/3", "/4", "/5"]


def test_retries_and_jobs_run_while_time_passes(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("retried", retry_parameters={"min_backoff_seconds": 1000, "max_backoff_seconds": 1000})
    target.answer = lambda push: 500 if push.path == "/task" else 200
    create(lab, queue, f"{target.url}/task")
    target.wait_for(1)
    lab.wait_until_idle()
    job = scheduler_v1.Job(http_target=scheduler_v1.HttpTarget(uri=f"{target.url}/job"), **JOB)
    lab.scheduler_client().create_job(parent=LOCATION, job=job)
    ran = lab.advance(24 * 3600)
    assert ran == Ran(succeeded=0, failed=86, firings=24)


def test_advancing_by_nothing_runs_what_is_due(lab: QueueServer, target: Target) -> None:
    create(lab, lab.queue("now"), target.url)
    lab.advance(0)
    assert len(target.pushes) == 1


def test_a_push_that_is_not_answered_ends_the_call_and_the_clock_stays(lab: QueueServer, target: Target) -> None:
    answered = threading.Event()

    def wait(_push: Push) -> int:
        answered.wait(WAIT)
        return 204

    target.answer = wait
    queue = lab.queue("stuck")
    create(lab, queue, target.url, schedule_time=in_seconds(lab, 60))
    before = lab.now()
    with pytest.raises(Refused, match=f"clock stands at .*Busy: {queue}"):
        lab.call("POST", "/clock:advance", {"seconds": 3600, "timeoutSeconds": 0.2})
    assert 60 <= lab.now() - before < 60 + WAIT
    answered.set()
    lab.wait_until_idle()


def test_one_call_moves_the_clock_at_a_time(lab: QueueServer, target: Target) -> None:
    refusals: list[str] = []

    def move(_push: Push) -> int:
        try:
            lab.advance(1)
        except Refused as refusal:
            refusals.append(refusal.message)
        return 204

    target.answer = move
    create(lab, lab.queue("eager"), target.url, schedule_time=in_seconds(lab, 60))
    lab.advance(120)
    (refusal,) = refusals
    assert refusal.endswith("Another call moves the clock.")


def test_the_clock_says_what_time_it_is_and_what_comes_next(lab: QueueServer, target: Target) -> None:
    assert lab.call("GET", "/clock")["nextDue"] is None
    due = in_seconds(lab, 500)
    create(lab, lab.queue("next"), target.url, schedule_time=due)
    clock = lab.call("GET", "/clock")
    assert clock["movable"] is True
    assert at(clock["nextDue"]) == due
    assert abs(at(clock["now"]).timestamp() - lab.now()) < WAIT


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        ({}, "seconds must be a number"),
        ({"seconds": -1}, "seconds must lie between 0 and"),
        ({"seconds": "60"}, "seconds must be a number"),
        ({"seconds": True}, "seconds must be a number"),
        ({"seconds": 1, "timeoutSeconds": 1e9}, "timeoutSeconds must lie between 0 and 600"),
        ({"secs": 1}, "Unknown field secs; this takes seconds, timeoutSeconds"),
        ({"seconds": 1e10}, "seconds must lie between 0 and"),
        ([], "must be a JSON object"),
    ],
)
def test_a_wrong_request_to_advance_is_refused(lab: QueueServer, body: Any, refusal: str) -> None:
    with pytest.raises(Refused, match=refusal):
        lab.call("POST", "/clock:advance", body)


def test_a_server_on_the_machines_time_says_how_to_get_a_clock_that_moves(server: Server) -> None:
    body = json.dumps({"seconds": 1}).encode()
    with pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{server.rest}/headrace/v1/clock:advance", body, method="POST"))
    error = json.load(refused.value)["error"]
    refused.value.close()
    assert error["status"] == "FAILED_PRECONDITION"
    assert "--test-clock" in error["message"]
    with urlopen(f"{server.rest}/headrace/v1/clock") as answer:
        assert json.load(answer)["movable"] is False


# Idle, and drained.


def test_a_paused_queue_and_future_tasks_are_idle(lab: QueueServer, target: Target) -> None:
    paused, later = lab.queue("resting"), lab.queue("later")
    lab.client().pause_queue(name=paused)
    create(lab, paused, target.url)
    create(lab, later, target.url, schedule_time=in_seconds(lab, 3600))
    create(lab, lab.queue("closed", rate="0/s"), target.url)
    lab.wait_until_idle()
    for queue in (paused, later):
        lab.wait_until_idle(queue)
    assert not target.pushes


def test_a_task_that_waits_for_a_token_is_waited_for(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("tokens", rate="4/s", bucket_size=1)
    create(lab, queue, target.url)
    create(lab, queue, target.url)
    with pytest.raises(Refused, match="Not idle after 0"):
        lab.call("POST", f"/{queue}:waitUntilIdle", {"timeoutSeconds": 0})
    lab.wait_until_idle(queue)
    assert len(target.pushes) == 2


def test_a_push_under_way_is_waited_for_until_its_outcome_is_kept(lab: QueueServer, target: Target) -> None:
    started, answered = threading.Event(), threading.Event()

    def answer(_push: Push) -> int:
        started.set()
        answered.wait(WAIT)
        return 204

    target.answer = answer
    busy, other = lab.queue("busy"), lab.queue("other")
    create(lab, busy, target.url)
    assert started.wait(WAIT)
    lab.wait_until_idle(other)
    with pytest.raises(Refused, match=f"{busy} \\(1 in flight\\)"):
        lab.call("POST", ":waitUntilIdle", {"timeoutSeconds": 0.05})
    answered.set()
    lab.wait_until_idle()
    assert lab.call("GET", f"/{busy}")["pending"] == 0


def test_draining_runs_future_tasks_and_retries_and_stops_when_none_is_left(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("drained")
    failures = iter([500, 503])
    target.answer = lambda _push: next(failures, 204)
    create(lab, queue, target.url, schedule_time=in_seconds(lab, 7200))
    before = lab.now()
    assert lab.drain() == Ran(succeeded=1, failed=2, firings=0)
    assert 7200 <= lab.now() - before < 7200 + WAIT


def test_draining_one_queue_leaves_later_tasks_of_others(lab: QueueServer, target: Target) -> None:
    soon, late = lab.queue("soon"), lab.queue("late")
    create(lab, soon, f"{target.url}/soon", schedule_time=in_seconds(lab, 60))
    create(lab, late, f"{target.url}/late", schedule_time=in_seconds(lab, 7200))
    lab.drain("soon")
    assert [push.path for push in target.pushes] == ["/soon"]


def test_draining_names_what_is_left_and_why(lab: QueueServer, target: Target) -> None:
    target.answer = lambda _push: 500
    name = create(lab, lab.queue("hopeless"), target.url)
    with pytest.raises(AssertionError, match=f"left 1 task:\n  {name}: retry backoff until .* after status 500"):
        lab.drain(within=3600)
    never = create(lab, lab.queue("never", rate="0/s"), target.url)
    with pytest.raises(AssertionError, match=f"{never}: no token: the rate is 0"):
        lab.drain("never")


# A new beginning.


def test_a_reset_leaves_what_the_files_declare(lab: QueueServer, target: Target) -> None:
    client, jobs = lab.client(), lab.scheduler_client()
    declared, made = f"{lab.parent}/queues/declared", lab.queue("made", rate="1/h", bucket_size=1)
    job = scheduler_v1.Job(http_target=scheduler_v1.HttpTarget(uri=target.url), **JOB)
    jobs.create_job(parent=LOCATION, job=job)
    create(lab, declared, target.url, name=f"{declared}/tasks/again")
    target.wait_for(1)
    client.update_queue(queue={"name": declared, "rate_limits": {"max_dispatches_per_second": 1}})
    client.pause_queue(name=declared)
    client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/dropped"})
    client.delete_queue(name=f"{LOCATION}/queues/dropped")

    lab.reset()
    assert [queue.name for queue in client.list_queues(parent=LOCATION)] == [declared]
    queue = client.get_queue(name=declared)
    assert (queue.state.name, queue.rate_limits.max_dispatches_per_second) == ("RUNNING", 7)
    assert not list(jobs.list_jobs(parent=LOCATION))
    assert lab.pushed("declared") == []
    with pytest.raises(NotFound):
        client.get_queue(name=made)
    create(lab, declared, target.url, name=f"{declared}/tasks/again")
    client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/dropped"})


def test_a_reset_does_not_wait_for_pushes_under_way(lab: QueueServer, target: Target) -> None:
    started, answered = threading.Event(), threading.Event()

    def answer(_push: Push) -> int:
        started.set()
        answered.wait(WAIT)
        return 500

    target.answer = answer
    queue = lab.queue("left")
    create(lab, queue, target.url)
    assert started.wait(WAIT)
    lab.reset()
    lab.queue("left")
    lab.wait_until_idle()
    assert lab.call("GET", f"/{queue}")["inFlight"] == 0
    answered.set()
    lab.advance(3600)
    assert len(target.pushes) == 1


def test_a_queue_alone_is_reset_and_keeps_its_limits(lab: QueueServer, target: Target) -> None:
    queue, other = lab.queue("one", rate="3/s"), lab.queue("other", rate="0/s")
    lab.client().pause_queue(name=queue)
    for each in (queue, other):
        create(lab, each, target.url, name=f"{each}/tasks/t")
    lab.call("POST", f"/{queue}:reset")
    found = lab.call("GET", f"/{queue}")
    assert (found["state"], found["pending"], found["rateLimits"]["maxDispatchesPerSecond"]) == ("RUNNING", 0, 3)
    assert lab.call("GET", f"/{other}")["pending"] == 1
    create(lab, queue, target.url, name=f"{queue}/tasks/t")


def test_a_queue_that_is_missing_is_not_found(lab: QueueServer) -> None:
    path = f"/{LOCATION}/queues/none"
    for method, verb in (
        ("GET", ""),
        ("GET", "/tasks"),
        ("GET", "/deliveries"),
        ("POST", ":reset"),
        ("POST", ":drain"),
    ):
        with pytest.raises(Refused, match="Queue does not exist"):
            lab.call(method, path + verb)


# What stands, and what waits.


def why(server: QueueServer, queue: str) -> list[tuple[str, str]]:
    return [(task["waitsFor"], task["why"]) for task in server.call("GET", f"/{queue}/tasks")["tasks"]]


def test_each_waiting_task_says_why_it_waits(lab: QueueServer, target: Target) -> None:
    target.answer = lambda _push: 503
    due = in_seconds(lab, 3600)
    scheduled = lab.queue("scheduled")
    create(lab, scheduled, target.url, schedule_time=due)
    ((reason, text),) = why(lab, scheduled)
    assert reason == "SCHEDULED"
    assert at(text.removeprefix("scheduled for ")) == due

    failed = lab.queue("failed", retry_parameters={"min_backoff_seconds": 60, "max_backoff_seconds": 60})
    create(lab, failed, target.url)
    target.wait_for(1)
    lab.wait_until_idle()
    ((reason, text),) = why(lab, failed)
    assert reason == "RETRY_BACKOFF"
    assert text.endswith("after status 503")

    slow = lab.queue("slow", rate="1/h", bucket_size=1, retry_parameters={"task_retry_limit": 0})
    create(lab, slow, target.url)
    create(lab, slow, target.url)
    target.wait_for(2)
    lab.advance(0)
    ((reason, text),) = why(lab, slow)
    assert reason == "NO_TOKEN"
    assert at(text.removeprefix("no token until ")) > in_seconds(lab, 3500)

    lab.client().pause_queue(name=slow)
    assert why(lab, slow) == [("QUEUE_PAUSED", "queue paused")]


def test_tasks_that_are_pushed_or_wait_for_those_say_so(lab: QueueServer, target: Target) -> None:
    started, answered = threading.Event(), threading.Event()

    def answer(_push: Push) -> int:
        started.set()
        answered.wait(WAIT)
        return 204

    target.answer = answer
    queue = lab.queue("narrow", max_concurrent_requests=1)
    create(lab, queue, target.url)
    assert started.wait(WAIT)
    create(lab, queue, target.url)
    assert [reason for reason, _ in why(lab, queue)] == ["BEING_PUSHED", "CONCURRENCY_LIMIT"]
    answered.set()
    lab.drain()


def test_tasks_behind_a_thousand_others_are_not_read_in_yet(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("long", rate="1/h", bucket_size=1)
    task = {"parent": queue, "task": {"http_request": {"url": target.url}}}
    for _ in range(10):
        lab.client().batch_create_tasks(request={"parent": queue, "requests": [task] * 100}).result()
    reasons = [reason for reason, _ in why(lab, queue)]
    assert set(reasons) == {"NO_TOKEN", "NOT_READ_YET"}
    assert (reasons[0], reasons[-1]) == ("NO_TOKEN", "NOT_READ_YET")


def test_tasks_come_in_pages(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("pages", rate="0/s")
    made = [create(lab, queue, target.url) for _ in range(5)]
    first = lab.call("GET", f"/{queue}/tasks?pageSize=3")
    rest = lab.call("GET", f"/{queue}/tasks?pageToken={first['nextPageToken']}")
    assert [task["name"] for task in first["tasks"] + rest["tasks"]] == made
    assert "nextPageToken" not in rest
    for query in ("pageSize=many", f"pageSize={'9' * 5000}", "pageToken=none"):
        with pytest.raises(Refused):
            lab.call("GET", f"/{queue}/tasks?{query}")


def test_large_bodies_end_a_page_early(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("large", rate="0/s")
    for _ in range(5):
        create(lab, queue, target.url, http_request={"body": b"x" * 1_000_000})
    page = lab.call("GET", f"/{queue}/tasks")
    assert len(page["tasks"]) == 2
    assert page["nextPageToken"]
    assert len(lab.pushed(queue)) == 5


def test_large_headers_end_a_page_early_and_a_page_may_take_many_reads(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("wide", rate="0/s")
    for _ in range(110):
        create(lab, queue, target.url)
    for _ in range(30):
        create(lab, queue, target.url, http_request={"headers": {"X-Large": "x" * 75_000}})
    page = lab.call("GET", f"/{queue}/tasks")
    assert 110 < len(page["tasks"]) < 140
    assert page["nextPageToken"]


@pytest.mark.parametrize("place", ["no number", "9" * 19, "9" * 5000, "\u0663"])
def test_a_page_token_of_no_page_is_refused(lab: QueueServer, place: str) -> None:
    queue = lab.queue("forged")
    token = write_token(place, f"waiting {queue}", lab.now())
    with pytest.raises(Refused, match="Invalid page token"):
        lab.call("GET", f"/{queue}/tasks?pageToken={token}")


def test_deliveries_say_what_was_sent_and_answered(lab: QueueServer, target: Target) -> None:
    answers = iter([404, 204])
    target.answer = lambda _push: next(answers)
    queue = lab.queue("told")
    name = create(lab, queue, f"{target.url}/x", http_request={"body": b"abc", "headers": {"X-Y": "z"}})
    create(lab, queue, target.url, schedule_time=in_seconds(lab, 9000))
    lab.advance(60)
    last, first = lab.call("GET", f"/{queue}/deliveries")["deliveries"]
    assert [(each["task"], each["number"], each["status"]) for each in (first, last)] == [
        (name, 1, 404),
        (name, 2, 204),
    ]
    assert first["request"]["url"] == f"{target.url}/x"
    assert first["request"]["headers"]["X-Y"] == "z"
    only = lab.call("GET", f"/{queue}/deliveries?task={name.rpartition('/')[2]}&pageSize=1")["deliveries"]
    assert only == [last]


def test_a_queue_shows_its_state_and_limits(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("shown", rate="2/s", bucket_size=9, max_concurrent_requests=4)
    due = in_seconds(lab, 100)
    create(lab, queue, target.url, schedule_time=due)
    found = lab.call("GET", f"/{queue}")
    assert at(found.pop("oldestDue")) == due
    assert found == {
        "name": queue,
        "state": "RUNNING",
        "rateLimits": {"maxDispatchesPerSecond": 2, "maxBurstSize": 9, "maxConcurrentDispatches": 4},
        "retryConfig": {
            "maxAttempts": -1,
            "maxRetryDuration": 0,
            "minBackoff": 0.1,
            "maxBackoff": 3600,
            "maxDoublings": 16,
        },
        "declared": None,
        "setBy": None,
        "pending": 1,
        "inFlight": 0,
        "tokens": 9,
        "idle": True,
    }
    assert queue in [each["name"] for each in lab.call("GET", "/queues")["queues"]]


def test_limits_are_judged_as_those_of_queue_yaml(lab: QueueServer) -> None:
    with pytest.raises(Refused, match="rate"):
        lab.queue("bad", rate="often")
    with pytest.raises(Refused, match="colour"):
        lab.queue("bad", colour="red")


# Options.


def test_a_task_makes_its_queue_where_that_was_asked_for(target: Target) -> None:
    server = start_server("--memory", "--auto-create-queues")
    with server.client() as client:
        queue = f"{LOCATION}/queues/new"
        client.create_task(parent=queue, task={"http_request": {"url": target.url}})
        target.wait_for(1)
        assert client.get_queue(name=queue).rate_limits.max_dispatches_per_second == 500
        client.delete_queue(name=queue)
        with pytest.raises(NotFound):
            client.create_task(parent=queue, task={"http_request": {"url": target.url}})
    assert stop_server(server) == 0


def test_the_start_prints_a_line_for_each_client() -> None:
    with subprocess.Popen(
        [*EMULATOR, "--grpc-port=0", "--rest-port=0", "--memory"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "CLOUDSDK" in line:
                break
        process.terminate()
    grpc, rest = (lines[number].split()[1] for number in (1, 2))
    for client in ("Python", "Node", "Go", "gcloud"):
        assert lines[lines.index(client) + 1]
    assert f'apiEndpoint: "127.0.0.1", port: {grpc.rpartition(":")[2]},' in "".join(lines)
    assert f'option.WithEndpoint("{grpc}")' in "".join(lines)
    assert lines[-1].endswith(f"CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDSCHEDULER={rest}/")


def test_the_files_are_loaded_again_when_they_change(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text("queue:\n- name: one\n  rate: 1/s\n- name: two\n  rate: 2/s\n")
    (tmp_path / "cron.yaml").write_text("cron:\n- url: /a\n  schedule: every day 09:00\n")
    server = QueueServer(tmp_path, ["--queues=queue.yaml", "--cron=cron.yaml", "--env=test"], root=tmp_path)

    def rates() -> dict[str, float]:
        found = server.call("GET", "/queues")["queues"]
        return {each["name"].rpartition("/")[2]: each["rateLimits"]["maxDispatchesPerSecond"] for each in found}

    def urls() -> list[str]:
        jobs = server.scheduler_client().list_jobs(parent=server.parent)
        return [job.app_engine_http_target.relative_uri for job in jobs]

    def replace(name: str, text: str) -> None:
        (tmp_path / "new").write_text(text)
        (tmp_path / "new").replace(tmp_path / name)

    assert rates() == {"one": 1, "two": 2}
    replace("queue.yaml", "queue:\n- name: one\n  rate: often\n")
    assert_soon(lambda: "queue.yaml:3:9: error: rate" in server.said())
    assert rates() == {"one": 1, "two": 2}
    replace("cron.yaml", "cron:\n- url: /b\n  schedule: every day 09:00\n")
    replace("queue.yaml", "queue:\n- name: one\n  rate: 5/s\n- name: three\n  rate: 3/s\n")
    assert_soon(lambda: rates() == {"one": 5, "two": 2, "three": 3})
    assert_soon(lambda: urls() == ["/b"])
    replace("cron.yaml", f"cron:\n- url: /{'c' * 3000}\n  schedule: every day 09:00\n")
    assert_soon(lambda: "relativeUri must be at most" in server.said())
    replace("cron.yaml", "cron:\n- url: /c\n  schedule: every day 09:00\n")
    assert_soon(lambda: urls() == ["/c"])
    replace("queue.test.yaml", "queue:\n- name: one\n  rate: 9/s\n")
    assert_soon(lambda: rates() == {"one": 9, "two": 2, "three": 3})
    server.close()


def assert_soon(holds: Callable[[], bool]) -> None:
    """`holds` within the five seconds that a change may take."""
    waiting = threading.Event()
    assert any(holds() or waiting.wait(0.1) for _ in range(50))


def test_a_server_that_is_told_to_stop_starts_no_push(target: Target) -> None:
    """The one under way is finished; the other one, which waited for it, is not begun."""
    started, answered = threading.Event(), threading.Event()

    def answer(_push: Push) -> int:
        started.set()
        answered.wait(WAIT)
        return 204

    target.answer = answer
    server = start_server("--memory")
    queue = f"{LOCATION}/queues/narrow"
    body = json.dumps({"rate": "500/s", "max_concurrent_requests": 1}).encode()
    urlopen(Request(f"{server.rest}/headrace/v1/{queue}", body, method="PUT")).close()
    with server.client() as client:
        for _ in range(2):
            client.create_task(parent=queue, task={"http_request": {"url": target.url}})
    assert started.wait(WAIT)
    # A call that waits keeps the front, which stops first, busy for a moment.
    waits = HTTPConnection(server.rest.removeprefix("http://"))
    waits.request("POST", "/headrace/v1:waitUntilIdle", "{}")
    server.process.terminate()
    assert_soon(lambda: not answers(f"{server.rest}/healthz"))
    answered.set()
    assert stop_server(server) == 0
    waits.close()
    assert len(target.pushes) == 1


def answers(url: str) -> bool:
    try:
        urlopen(url, timeout=WAIT).close()
    except OSError:
        return False
    return True
