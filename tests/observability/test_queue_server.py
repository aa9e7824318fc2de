"""Metrics of the queue server, and the Grafana board over these and the service's."""

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.cloud import tasks_v2

from headrace.clock import ManualClock
from headrace.database import Database
from headrace.observability.metrics import Metrics
from tests.cloud.conftest import LOCATION, Server, Target, serving_target, start_server, stop_server
from tests.e2e.site import wait_until
from tests.observability.conftest import samples_in

BOARD = Path(__file__).resolve().parents[2] / "deploy/grafana/headrace.json"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start_server("--data", str(tmp_path_factory.mktemp("queues")))
    yield running
    assert stop_server(running) == 0


@pytest.fixture
def target() -> Iterator[Target]:
    with serving_target() as recorder:
        yield recorder


def read(server: Server) -> str:
    with urllib.request.urlopen(f"{server.rest}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return answer.read().decode()


def test_tasks_and_answers_are_counted_by_queue(server: Server, target: Target) -> None:
    target.answer = lambda push: 500 if push.headers["x-cloudtasks-taskretrycount"] == "0" else 204
    with server.client() as client:
        retry = tasks_v2.RetryConfig(min_backoff={"nanos": 10_000_000}, max_backoff={"nanos": 10_000_000})
        queue = client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/work", "retry_config": retry})
        paused = client.create_queue(parent=LOCATION, queue={"name": f"{LOCATION}/queues/paused"})
        client.pause_queue(name=paused.name)
        for name in (queue.name, paused.name):
            client.create_task(parent=name, task={"http_request": {"url": target.url}})
    target.wait_for(2)

    labels = ("here", "demo")
    wait_until("The end of the task", lambda: samples_in(read(server))["headrace_queue_tasks", (*labels, "work")] == 0)
    seen = samples_in(read(server))

    assert seen["headrace_queue_deliveries_total", (*labels, "work", "500")] == 1
    assert seen["headrace_queue_deliveries_total", (*labels, "work", "204")] == 1
    assert seen["headrace_queue_running", (*labels, "work")] == 0
    assert seen["headrace_queue_due_lag_seconds", (*labels, "work")] == 0
    assert seen["headrace_queue_tasks", (*labels, "paused")] == 1
    assert seen["headrace_queue_due_lag_seconds", (*labels, "paused")] > 0


def test_every_metric_of_the_board_is_there(server: Server, database: Database, clock: ManualClock) -> None:
    text = Metrics({"handlers.numbers.work": "work"}).expose(database, clock).decode() + read(server)
    there = {f"{name}{end}" for name in re.findall(r"^# TYPE (\w+)", text, re.MULTILINE) for end in ("", "_bucket")}
    board = json.loads(BOARD.read_text())
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [variable["query"]["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]

    named = {name for expression in asked for name in re.findall(r"headrace_\w+", expression)}

    assert len(named) >= 5
    assert named <= there


def test_the_board_has_a_row_for_each_handler_with_its_four_panels() -> None:
    board = json.loads(BOARD.read_text())
    rows = [panel for panel in board["panels"] if panel["type"] == "row"]
    assert [row["repeat"] for row in rows if "repeat" in row] == ["handler"]
    at = board["panels"].index(next(row for row in rows if "repeat" in row))
    titles = [panel["title"] for panel in board["panels"][at + 1 : at + 5]]
    assert titles == ["Attempts a second", "Errors", "Duration", "Backlog"]
    assert all(
        "$handler" in target["expr"] for panel in board["panels"][at + 1 : at + 5] for target in panel["targets"]
    )
