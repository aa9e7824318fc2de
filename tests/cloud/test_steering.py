"""Queues and tasks that are steered by hand, over the server's own API and from other threads."""

import asyncio
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from headrace.cloud.control.audit import KEPT, Audit
from headrace.cloud.control.desk import Desk
from headrace.cloud.control.steering import Steering
from headrace.cloud.errors import ApiError, Code
from headrace.cloud.tasks.queue_requests import default_queue
from headrace.engine.model import HttpTarget, NewTask
from headrace.engine.store.sqlite import SqliteStore
from headrace.testing.server import QueueServer, Refused
from tests.cloud.conftest import LOCATION, WAIT, Server, Target, start_server, stop_server
from tests.cloud.inside import QUEUE, running

DECLARED = f"{LOCATION}/queues/declared"
FILE = "queue:\n- name: declared\n  rate: 7/s\n  bucket_size: 3\n"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueServer]:
    folder = tmp_path_factory.mktemp("steering")
    (folder / "queue.yaml").write_text(FILE)
    server = QueueServer(folder, ["--queues", "queue.yaml", "--project=demo", "--location=here"], root=folder)
    yield server
    server.close()


@pytest.fixture
def lab(started: QueueServer) -> QueueServer:
    started.reset()
    return started


def call(rest: str, method: str, path: str, body: Any = None, actor: str | None = None) -> Any:
    headers = {} if actor is None else {"Headrace-Actor": actor}
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(f"{rest}/headrace/v1{path}", data, headers, method=method), timeout=WAIT) as answer:
        return json.load(answer)


def put_task(lab: QueueServer, queue: str, url: str) -> str:
    name: str = lab.client().create_task(parent=queue, task={"http_request": {"url": url, "body": b"[1]"}}).name
    return name


def newest(lab: QueueServer) -> dict[str, Any]:
    entry: dict[str, Any] = lab.call("GET", "/audit?pageSize=1")["audit"][0]
    return entry


def test_a_queue_is_paused_and_resumed_in_somebodys_name(lab: QueueServer) -> None:
    paused = call(lab.rest, "POST", f"/{DECLARED}:pause", actor="Zoë")
    assert (paused["name"], paused["state"]) == (DECLARED, "PAUSED")
    resumed = call(lab.rest, "POST", f"/{DECLARED}:resume")
    assert resumed["state"] == "RUNNING"
    later, sooner = lab.call("GET", "/audit?pageSize=2")["audit"]
    assert (sooner["actor"], sooner["action"], sooner["object"]) == ("Zoë", "pause_queue", DECLARED)
    assert (later["actor"], later["action"], later["old"], later["new"]) == ("api", "resume_queue", "PAUSED", "RUNNING")


def test_a_purge_says_how_many_tasks_there_were(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("full", rate="0/s")
    for _ in range(3):
        put_task(lab, queue, target.url)
    assert lab.call("POST", f"/{queue}:purge") == {"purged": 3}
    assert lab.call("GET", f"/{queue}/tasks") == {"tasks": []}
    assert newest(lab)["old"] == 3


def test_limits_over_those_of_a_file_are_shown_beside_them_and_given_back(lab: QueueServer) -> None:
    given = {"rateLimits": {"maxDispatchesPerSecond": 0.5}, "retryConfig": {"maxAttempts": 4}}
    changed = call(lab.rest, "PATCH", f"/{DECLARED}/limits", given, actor="ops")
    assert changed["rateLimits"] == {
        "maxDispatchesPerSecond": 0.5,
        "maxBurstSize": 3,
        "maxConcurrentDispatches": 1000,
    }
    assert changed["retryConfig"]["maxAttempts"] == 4
    assert changed["declared"]["rateLimits"]["maxDispatchesPerSecond"] == 7
    assert changed["declared"]["retryConfig"]["maxAttempts"] == -1
    assert changed["setBy"] == "ops"
    back = lab.call("DELETE", f"/{DECLARED}/limits")
    assert (back["rateLimits"]["maxDispatchesPerSecond"], back["declared"], back["setBy"]) == (7, None, None)
    assert newest(lab)["action"] == "give_back_limits"


def test_a_queue_of_no_file_has_nothing_to_go_back_to(lab: QueueServer) -> None:
    queue = lab.queue("own")
    changed = lab.call("PATCH", f"/{queue}/limits", {"rateLimits": {"maxDispatchesPerSecond": 2}})
    assert (changed["rateLimits"]["maxDispatchesPerSecond"], changed["declared"], changed["setBy"]) == (2, None, None)
    with pytest.raises(Refused, match="No file declares the queue"):
        lab.call("DELETE", f"/{queue}/limits")


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"rateLimits": {"maxDispatchesPerSecond": 501}}, "between 0 and 500"),
        ({"rateLimits": {"maxDispatchesPerSecond": -1}}, "between 0 and 500"),
        ({"rateLimits": {"maxBurstSize": 1.5}}, "whole number"),
        ({"rateLimits": {"maxBurstSize": True}}, "whole number"),
        ({"rateLimits": {"maxConcurrentDispatches": 5001}}, "between 1 and 5000"),
        ({"rateLimits": []}, "JSON object"),
        ({"rateLimits": {"speed": 1}}, "Unknown field speed"),
        ({"retryConfig": {"maxAttempts": 0}}, "no limit"),
        ({"retryConfig": {"minBackoff": 10, "maxBackoff": 1}}, "less than or equal"),
        ({"retryConfig": {"maxRetryDuration": "5s"}}, "must be a number"),
        ({"limits": {}}, "Unknown field limits"),
    ],
)
def test_limits_that_no_queue_may_have_change_nothing(lab: QueueServer, given: dict[str, Any], fault: str) -> None:
    before = lab.call("GET", f"/{DECLARED}")
    with pytest.raises(Refused, match=fault):
        lab.call("PATCH", f"/{DECLARED}/limits", given)
    assert lab.call("GET", f"/{DECLARED}") == before


def test_one_task_is_shown_run_and_deleted(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("single", rate="0/s")
    run, deleted = (put_task(lab, queue, target.url) for _ in range(2))
    shown = lab.call("GET", f"/{run}")
    assert (shown["name"], shown["waitsFor"], shown["request"]["url"]) == (run, "NO_TOKEN", target.url)
    lab.call("POST", f"/{run}:run")
    target.wait_for(1)
    assert (newest(lab)["action"], newest(lab)["object"]) == ("run_task", run)
    assert lab.call("DELETE", f"/{deleted}") == {}
    lab.wait_until_idle()
    for name in (run, deleted):
        with pytest.raises(Refused, match=r"no longer exists|was not found"):
            lab.call("GET", f"/{name}")
        with pytest.raises(Refused):
            lab.call("POST", f"/{name}:run")
    assert newest(lab)["action"] == "delete_task"


def test_the_first_in_line_come_in_the_order_of_their_turn(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("line", rate="0/s")
    later = lab.client().create_task(
        parent=queue, task={"http_request": {"url": target.url}, "schedule_time": {"seconds": int(lab.now()) + 900}}
    )
    sooner = put_task(lab, queue, target.url)
    assert [each["name"] for each in lab.call("GET", f"/{queue}/tasks?inLine=true")["tasks"]] == [sooner, later.name]
    assert len(lab.call("GET", f"/{queue}/tasks?inLine=true&pageSize=1")["tasks"]) == 1
    assert [each["name"] for each in lab.call("GET", f"/{queue}/tasks")["tasks"]] == [later.name, sooner]


def test_pushes_a_minute_are_told_to_those_who_ask(lab: QueueServer, target: Target) -> None:
    queue = lab.queue("counted", retry_parameters={"task_retry_limit": 0})
    answers = iter([204, 500, 204])
    target.answer = lambda _push: next(answers)
    for _ in range(2):
        put_task(lab, queue, target.url)
    lab.drain()
    lab.advance(120)
    put_task(lab, queue, target.url)
    lab.drain()
    assert "chart" not in lab.call("GET", f"/{queue}")
    chart = lab.call("GET", f"/{queue}?chart=true")["chart"]
    assert len(chart["times"]) == 60
    done, failed = (each["values"] for each in chart["series"])
    assert (sum(done), sum(failed), done[-1]) == (2, 1, 1)
    assert all(each["chart"]["times"] == chart["times"] for each in lab.call("GET", "/queues?chart=true")["queues"])
    lab.advance(2 * 3600)
    assert sum(sum(each["values"]) for each in lab.call("GET", f"/{queue}?chart=true")["chart"]["series"]) == 0
    with pytest.raises(Refused, match="true or false"):
        lab.call("GET", f"/{queue}?chart=yes")


def test_names_for_the_audit_are_bounded(lab: QueueServer) -> None:
    with pytest.raises(HTTPError) as refused:
        call(lab.rest, "POST", f"/{DECLARED}:pause", actor="x" * 201)
    assert refused.value.code == 400
    refused.value.close()


def test_limits_survive_a_reload_of_the_files_and_a_kill_until_they_are_given_back(tmp_path: Path) -> None:
    file = tmp_path / "queue.yaml"
    file.write_text(FILE)
    options = ("--data", str(tmp_path / "data"), "--queues", str(file))
    server = start_server(*options)

    def show(server: Server) -> tuple[float, Any, Any]:
        found = call(server.rest, "GET", f"/{DECLARED}")
        declared = found["declared"] and found["declared"]["rateLimits"]["maxDispatchesPerSecond"]
        return found["rateLimits"]["maxDispatchesPerSecond"], declared, found["setBy"]

    call(server.rest, "PATCH", f"/{DECLARED}/limits", {"rateLimits": {"maxDispatchesPerSecond": 2}}, "ops")
    file.write_text(FILE.replace("7/s", "9/s"))
    waiting = threading.Event()
    assert any(show(server)[1] == 9 or waiting.wait(0.1) for _ in range(100))
    assert show(server) == (2, 9, "ops")
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(WAIT)
    assert server.process.stdout is not None
    server.process.stdout.close()

    again = start_server(*options)
    assert show(again) == (2, 9, "ops")
    with again.client() as client:
        client.update_queue(queue={"name": DECLARED, "rate_limits": {"max_dispatches_per_second": 5}})
    assert show(again) == (5, 9, "ops")
    assert call(again.rest, "GET", "/audit")["audit"][0]["action"] == "limit_queue"
    assert stop_server(again) == 0

    last = start_server(*options)
    assert show(last) == (2, 9, "ops")
    call(last.rest, "DELETE", f"/{DECLARED}/limits")
    assert show(last) == (9, None, None)
    assert stop_server(last) == 0


def test_a_queue_that_is_deleted_takes_its_limits_along(lab: QueueServer) -> None:
    lab.call("PATCH", f"/{DECLARED}/limits", {"rateLimits": {"maxDispatchesPerSecond": 2}})
    lab.client().delete_queue(name=DECLARED)
    lab.reset()
    found = lab.call("GET", f"/{DECLARED}")
    assert (found["rateLimits"]["maxDispatchesPerSecond"], found["setBy"]) == (7, None)


def test_the_audit_keeps_the_newest_entries_over_a_restart(tmp_path: Path) -> None:
    async def fill() -> None:
        async with running(tmp_path) as inside:
            audit = Audit(inside.store, inside.clock)
            await audit.load()
            await asyncio.gather(*(audit.record("ops", "pause_queue", str(number)) for number in range(KEPT + 5)))
            assert len(audit.list()) == KEPT

    async def read() -> None:
        async with running(tmp_path) as inside:
            audit = Audit(inside.store, inside.clock)
            await audit.load()
            assert [entry["object"] for entry in audit.list(2)] == [str(KEPT + 4), str(KEPT + 3)]
            assert audit.list()[-1]["object"] == "5"
            await audit.record("ops", "pause_queue", "next")
            assert audit.list(1)[0]["object"] == "next"

    asyncio.run(fill())
    asyncio.run(read())


def test_another_thread_gets_the_same_documents_and_refusals() -> None:
    async def check() -> None:
        async with running() as inside:
            await inside.engine.put_queue(default_queue(QUEUE, 60.0))
            audit = Audit(inside.store, inside.clock)
            steering = Steering(inside.engine, inside.clock, inside.api.overrides, audit, lambda _name: None)
            desk = Desk(steering, asyncio.get_running_loop())

            def work() -> None:
                assert desk.pause_queue(QUEUE, actor="me")["state"] == "PAUSED"
                assert [each["state"] for each in desk.list_queues()] == ["PAUSED"]
                assert desk.list_audit(1)[0]["actor"] == "me"
                (task,) = desk.list_tasks(QUEUE, most=10)["tasks"]
                assert task["waitsFor"] == "QUEUE_PAUSED"
                assert desk.list_line(QUEUE, most=10)["tasks"] == [task]
                desk.delete_task(QUEUE, "one", actor="me")
                with pytest.raises(ApiError) as refused:
                    desk.get_task(QUEUE, "one")
                assert refused.value.rpc_code is Code.NOT_FOUND

            target = HttpTarget("http://127.0.0.1:9/", "POST", (), b"", None)
            await inside.engine.create_tasks(QUEUE, [NewTask("one", target, None, 600.0)])
            await asyncio.to_thread(work)

    asyncio.run(check())


def test_a_loop_that_has_ended_is_unavailable() -> None:
    async def make() -> Desk:
        async with running() as inside:
            audit = Audit(SqliteStore(None), inside.clock)
            steering = Steering(inside.engine, inside.clock, inside.api.overrides, audit, lambda _name: None)
            return Desk(steering, asyncio.get_running_loop())

    desk = asyncio.run(make())
    with pytest.raises(ApiError) as refused:
        desk.list_queues()
    assert refused.value.rpc_code is Code.UNAVAILABLE
