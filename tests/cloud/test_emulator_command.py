"""`headrace emulator`: how it starts, refuses to start, and stops."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from click.testing import CliRunner

from headrace.cli import main
from tests.cloud.conftest import EMULATOR, WAIT, start_server, stop_server

QUEUE_FILE = "queue:\n- name: work\n  rate: 5/s\n"
QUEUE = "projects/demo/locations/here/queues/work"


def refusal(*options: str) -> str:
    """The one line that a start which must fail leaves on stderr."""
    ended = subprocess.run(
        [*EMULATOR, "--grpc-port=0", "--rest-port=0", *options], capture_output=True, text=True, timeout=WAIT
    )
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


def test_it_says_where_it_listens(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    process = subprocess.Popen(
        [*EMULATOR, "--grpc-port=0", "--rest-port=0", "--memory", f"--ready-file={ready}"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "Headrace queue server\n"
    told = json.loads(ready.read_text())
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT) == 0
    rest = process.stdout.read()
    process.stdout.close()
    assert told["pid"] == process.pid
    assert told["issuer"] == told["rest"]
    assert f"gRPC   {told['grpc']}" in rest
    assert f"CLOUD_TASKS_EMULATOR_HOST={told['grpc']}" in rest
    assert f'grpc.insecure_channel("{told["grpc"]}")' in rest


def test_sigterm_ends_it_with_status_0() -> None:
    assert stop_server(start_server("--memory")) == 0


def test_accepted_tasks_queues_and_the_key_outlive_a_killed_server(tmp_path: Path) -> None:
    (tmp_path / "queue.yaml").write_text(QUEUE_FILE)
    data = f"--data={tmp_path / 'data'}"
    first = start_server(data, f"--queues={tmp_path / 'queue.yaml'}")
    with first.client() as client:
        client.pause_queue(name=QUEUE)
        made = client.create_task(parent=QUEUE, task={"http_request": {"url": "https://example.com"}}).name
    keys = urlopen(f"{first.rest}/oauth2/v3/certs").read()
    first.process.kill()
    first.process.wait(WAIT)
    assert first.process.stdout is not None
    first.process.stdout.close()

    # Without its file a queue is kept as it was: paused.
    second = start_server(data)
    with second.client() as client:
        assert [task.name for task in client.list_tasks(parent=QUEUE)] == [made]
        assert client.get_queue(name=QUEUE).state.name == "PAUSED"
    assert urlopen(f"{second.rest}/oauth2/v3/certs").read() == keys
    assert stop_server(second) == 0


@pytest.mark.parametrize("option", ["--grpc-port", "--rest-port"])
def test_a_taken_port_is_named(option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal("--memory", f"{option}={port}")
    assert f"127.0.0.1:{port}" in line
    assert f"choose another {option}" in line


def test_a_held_data_folder_is_named(tmp_path: Path) -> None:
    holder = start_server(f"--data={tmp_path}")
    line = refusal(f"--data={tmp_path}")
    assert stop_server(holder) == 0
    assert str(tmp_path) in line
    assert str(holder.process.pid) in line


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    line = refusal(f"--data={tmp_path / 'file' / 'data'}")
    assert str(tmp_path / "file") in line


def test_a_wrong_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "queue.yaml"
    path.write_text("queue:\n- name: work\n  rate: often\n- name: more\n  rate: 5/s\n  colour: red\n")
    line = refusal("--memory", f"--queues={path}")
    assert f"{path}:3:" in line
    assert "1 more: see headrace queues check" in line


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "cron.yaml") in refusal("--memory", f"--cron={tmp_path / 'cron.yaml'}")


def test_it_listens_off_loopback_with_a_token_alone() -> None:
    assert "Set HEADRACE_QUEUE_SERVER_TOKEN" in refusal("--memory", "--host=0.0.0.0")


def test_a_ready_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing" / "ready.json"
    assert f"{missing} cannot be written" in refusal("--memory", f"--ready-file={missing}")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--service-url", "127.0.0.1:8080"),
        ("--service-url", "ftp://app"),
        ("--issuer", "tokens.example.com"),
        ("--pubsub-endpoint", "http://"),
        ("--app-engine-url", "worker=127.0.0.1:8081"),
        ("--project", "a/b"),
        ("--location", ""),
    ],
)
def test_a_value_that_can_never_work_is_refused_at_once(option: str, value: str) -> None:
    ended = CliRunner().invoke(main, ["emulator", "--memory", "--grpc-port=0", "--rest-port=0", option, value])
    assert ended.exit_code == 2
    assert option in ended.output


def test_the_lines_that_connect_can_be_used_when_it_listens_everywhere() -> None:
    environment = {**os.environ, "HEADRACE_QUEUE_SERVER_TOKEN": "0123456789abcdef"}
    process = subprocess.Popen(
        [*EMULATOR, "--grpc-port=0", "--rest-port=0", "--memory", "--host=0.0.0.0"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout is not None
    heading = [process.stdout.readline() for _line in range(8)]
    process.send_signal(signal.SIGINT)
    assert process.wait(WAIT) == 0
    said = "".join(heading) + process.stdout.read()
    process.stdout.close()
    assert "give --issuer" in said
    assert "authorization: Bearer $HEADRACE_QUEUE_SERVER_TOKEN" in said
    assert "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE=" in said
    connections = said.partition("export CLOUD_TASKS_EMULATOR_HOST=")[2]
    assert connections.startswith("127.0.0.1:")
    assert "0.0.0.0:" not in connections.replace("127.0.0.1:", "")


def test_data_and_memory_exclude_each_other(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["emulator", "--memory", "--data", str(tmp_path)])
    assert ended.exit_code == 2
    assert "exclude each other" in ended.output


def test_a_push_under_way_is_finished_before_the_exit(tmp_path: Path) -> None:
    """The target answers only after the server was told to stop; the task must be gone at the next start."""
    (tmp_path / "queue.yaml").write_text(QUEUE_FILE)
    data = f"--data={tmp_path / 'data'}"
    running = start_server(data, f"--queues={tmp_path / 'queue.yaml'}")
    with socket.create_server(("127.0.0.1", 0)) as target, running.client() as client:
        target.settimeout(WAIT)
        url = f"http://127.0.0.1:{target.getsockname()[1]}/"
        client.create_task(parent=QUEUE, task={"http_request": {"url": url}})
        connection, _ = target.accept()
        with connection:
            assert connection.recv(65536).startswith(b"POST / ")
            os.kill(running.process.pid, signal.SIGTERM)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            assert running.process.wait(WAIT) == 0
    assert running.process.stdout is not None
    running.process.stdout.close()
    again = start_server(data)
    with again.client() as client:
        assert not list(client.list_tasks(parent=QUEUE))
    assert stop_server(again) == 0


def test_a_store_that_fails_for_good_ends_the_server_with_status_1() -> None:
    # As when the store's thread has died.
    program = """
from headrace.cli.emulator import command
from headrace.engine.store.sqlite import SqliteStore
async def ended(store): ...
SqliteStore.ended = ended
command()
"""
    options = ("--memory", "--grpc-port=0", "--rest-port=0")
    ended = subprocess.run([sys.executable, "-c", program, *options], capture_output=True, text=True, timeout=WAIT)
    assert ended.returncode == 1
    assert "The store has failed." in ended.stderr
