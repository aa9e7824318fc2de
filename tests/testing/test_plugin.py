"""The pytest plugin as an application has it: pytest in a process of its own, with nothing of this repository."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.errors import StartError
from headrace.testing import cloud_tasks_client


def run_pytest(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder, with the plugin loaded by its name: once, whether or not it is installed."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "headrace.testing.plugin", "-q", "-W", "error", *options],
        cwd=folder,
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


APPLICATION = '''
"""An application that takes tasks: a handler that notes what it is sent."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@pytest.fixture
def application():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            seen.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses.pop(0) if statuses else 200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    seen, statuses = [], []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    server.url, server.seen, server.statuses = f"http://127.0.0.1:{server.server_port}", seen, statuses
    yield server
    server.shutdown()
    thread.join()
    server.server_close()
'''

TESTS = """
import datetime
import json
import os

import pytest
from headrace.testing import cloud_scheduler_client, cloud_tasks_client


def push(queue_server, queue, url, body, **fields):
    request = {"url": url, "body": json.dumps(body).encode(), "headers": {"X-Kind": "test"}}
    return queue_server.client().create_task(parent=queue, task={"http_request": request, **fields})


def test_a_task_is_delivered(queue_server, drain, assert_pushed, application):
    queue = queue_server.queue("mail", rate="1/s", bucket_size=1)
    for user in range(3):
        push(queue_server, queue, application.url + "/send", {"user": user})
    drain()
    assert sorted(json.loads(body)["user"] for _, body in application.seen) == [0, 1, 2]
    assert_pushed("mail", 3)
    assert_pushed("mail", 1, body={"user": 2}, headers={"x-kind": "test"}, url="/send")


def test_each_test_starts_afresh_and_time_can_pass(queue_server, advance, assert_pushed, application):
    queue = queue_server.queue("mail", retry_parameters={"min_backoff_seconds": 60, "max_backoff_seconds": 60})
    assert queue_server.pushed(queue) == []
    application.statuses += [500, 503]
    push(queue_server, queue, application.url, {})
    queue_server.wait_until_idle("mail")
    assert len(application.seen) == 1
    ran = advance(3600)
    assert (ran.succeeded, ran.failed) == (1, 1)
    (pushed,) = assert_pushed("mail", 1)
    assert pushed.statuses == (500, 503, 200)
    assert pushed.waits is None


def test_a_future_task_counts_as_pushed_before_it_is_delivered(queue_server, assert_pushed, application):
    queue = queue_server.queue("later")
    when = datetime.datetime.fromtimestamp(queue_server.now() + 600, datetime.UTC)
    push(queue_server, queue, application.url, [1], schedule_time=when)
    (pushed,) = assert_pushed("later", body=[1])
    assert pushed.waits.startswith("scheduled for")
    assert pushed.json() == [1]
    assert not application.seen


def test_the_variable_names_the_server(queue_server):
    queue = queue_server.queue("named")
    assert os.environ["CLOUD_TASKS_EMULATOR_HOST"] == queue_server.grpc
    with cloud_tasks_client() as tasks, cloud_scheduler_client() as jobs:
        assert tasks.get_queue(name=queue).name == queue
        assert list(jobs.list_jobs(parent=queue_server.parent)) == []
    assert queue_server.scheduler_client() is queue_server.scheduler_client()


def test_queues_of_the_file_are_there(queue_server):
    names = [queue.name for queue in queue_server.client().list_queues(parent=queue_server.parent)]
    assert names == ["projects/shop/locations/europe/queues/orders"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(APPLICATION)
    (tmp_path / "queue.yaml").write_text("queue:\n- name: orders\n  rate: 5/s\n")
    options = "--queues queue.yaml --project shop --location europe"
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nheadrace_emulator = {options}\n")
    return tmp_path


def test_an_application_is_tested_with_its_fixtures(folder: Path) -> None:
    (folder / "test_application.py").write_text(TESTS)
    ended = run_pytest(folder)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "5 passed" in ended.stdout


FAILING = """
import json


def push(queue_server, queue, user):
    request = {"url": "http://127.0.0.1:9/send", "body": json.dumps({"user": user}).encode()}
    queue_server.client().create_task(parent=queue, task={"http_request": request})


def test_pushed(queue_server, assert_pushed):
    queue = queue_server.queue("mail", rate="0/s")
    push(queue_server, queue, 1)
    push(queue_server, queue, 2)
    assert_pushed("mail", 2, body={"user": 1}, url="/send")


def test_drained(queue_server, drain):
    push(queue_server, queue_server.queue("mail", rate="0/s"), 1)
    drain("mail")


def test_misspelt(assert_pushed):
    assert_pushed("mial")
"""


def test_a_failure_says_what_is_there(folder: Path) -> None:
    (folder / "test_application.py").write_text(FAILING)
    ended = run_pytest(folder, "--tb=short")
    assert ended.returncode == 1
    assert "expected 2 tasks on mail with url /send, body {'user': 1}, found 1 of 2" in ended.stdout
    assert (
        'fits: POST http://127.0.0.1:9/send {"user": 1}  (not delivered yet; no token: the rate is 0)' in ended.stdout
    )
    assert 'differs: body is {"user": 2}' in ended.stdout
    assert "drain left 1 task" in ended.stdout
    assert "queues/mial/tasks?pageToken=: Queue does not exist." in ended.stdout


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nheadrace_emulator = --queues missing.yaml\n")
    (tmp_path / "test_application.py").write_text("def test_it(queue_server): pass\n")
    ended = run_pytest(tmp_path)
    assert ended.returncode == 1
    assert "The queue server did not start" in ended.stdout
    assert "missing.yaml" in ended.stdout


def test_a_run_that_uses_no_fixture_imports_nothing_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_application.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    loaded = set(sys.modules)\n"
        "    assert 'headrace.testing.plugin' in loaded\n"
        "    assert not loaded & {'grpc', 'google', 'headrace.cloud', 'headrace.testing.server', 'http.client'}\n"
    )
    ended = run_pytest(tmp_path)
    assert ended.returncode == 0, ended.stdout


def test_without_the_variable_no_client_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CLOUD_TASKS_EMULATOR_HOST", raising=False)
    with pytest.raises(StartError, match="CLOUD_TASKS_EMULATOR_HOST is not set"):
        cloud_tasks_client()
