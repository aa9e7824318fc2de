"""`headrace emulator` on a disk that is full, cannot be written, or has damaged its file."""

import json
import os
import resource
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import psutil
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.cloud import tasks_v2

from tests.cloud.conftest import EMULATOR, WAIT, Push, Server, Target, http_task, start_server, stop_server

QUEUE = "projects/demo/locations/here/queues/work"
QUEUE_FILE = "queue:\n- name: work\n  rate: 500/s\n  bucket_size: 100\n"
FULL_SECONDS = 2.0
"""Seconds for which the CPU time of a server on a full disk is measured."""


@dataclass(frozen=True)
class Disk:
    """A server and the disk under its data: `fill` leaves it no room, `make_room` gives it back."""

    server: Server
    fill: Callable[[], None]
    make_room: Callable[[], None]


@contextmanager
def size_limit(folder: Path) -> Iterator[Disk]:
    """The kernel refuses to let any file of the process grow (RLIMIT_FSIZE)."""
    server = start_server("--data", str(folder / "data"), "--queues", str(folder / "queue.yaml"))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)

    def limit(soft: int) -> None:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (soft, hard))

    try:
        yield Disk(server, lambda: limit(4096), lambda: limit(hard))
    finally:
        assert stop_server(server) == 0


MOUNTED = ["unshare", "--mount", "--map-root-user", "sh", "-c"]
"""A shell with mounts of its own; where the kernel lets nobody have one, the tests that need it are skipped."""


def can_mount() -> bool:
    try:
        tried = subprocess.run([*MOUNTED, "mount -t tmpfs none /mnt"], capture_output=True, timeout=WAIT)
    except FileNotFoundError:
        return False
    return tried.returncode == 0


@contextmanager
def small_file_system(folder: Path) -> Iterator[Disk]:
    """A file system of 3 MB, which a file of nothing fills."""
    data = folder / "data"
    data.mkdir()
    mount = f'mount -t tmpfs -o size=3m none {data} && exec "$@"'
    options = ["--grpc-port=0", "--rest-port=0", "--json", "--project=demo", "--location=here", f"--data={data}"]
    command = [*MOUNTED, mount, "sh", *EMULATOR, *options, f"--queues={folder / 'queue.yaml'}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ready = json.loads(process.stdout.readline())
    server = Server(process, ready["grpc"], ready["rest"])
    ballast = Path(f"/proc/{process.pid}/root{data}/ballast")

    def fill() -> None:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(b"x" * 4096)

    try:
        yield Disk(server, fill, ballast.unlink)
    finally:
        assert stop_server(server) == 0


@pytest.fixture(params=[size_limit, small_file_system])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param is small_file_system and not can_mount():
        pytest.skip("this machine lets nobody mount a file system of his own")
    (tmp_path / "queue.yaml").write_text(QUEUE_FILE)
    with request.param(tmp_path) as disk:
        yield disk


def refused_at_last(client: tasks_v2.CloudTasksClient, url: str) -> int:
    """Create tasks until one is refused; how many were accepted."""
    for accepted in range(100):
        try:
            client.create_task(parent=QUEUE, task={"http_request": {"url": url, "body": b"x" * 10_000}}, retry=None)
        except ServiceUnavailable:
            return accepted
    raise AssertionError("the disk was never full")


def test_a_full_disk_refuses_creates_forgets_nothing_and_costs_nothing(disk: Disk, target: Target) -> None:
    """Handlers answer while the disk is full: what they did is written when there is room, and not pushed again."""
    may_answer = threading.Event()

    def answer(push: Push) -> int:
        assert may_answer.wait(WAIT)
        return 204

    target.answer = answer
    process = psutil.Process(disk.server.process.pid)
    with disk.server.client() as client:
        under_way = [client.create_task(parent=QUEUE, task=http_task(target.url)).name for _ in range(20)]
        target.wait_for(20)
        disk.fill()
        accepted = refused_at_last(client, target.url)
        may_answer.set()
        before = sum(process.cpu_times()[:2])
        with pytest.raises(subprocess.TimeoutExpired):
            disk.server.process.wait(FULL_SECONDS)
        assert sum(process.cpu_times()[:2]) - before < 0.1 * FULL_SECONDS
        assert set(under_way) <= {task.name for task in client.list_tasks(parent=QUEUE)}
        with pytest.raises(ServiceUnavailable):
            client.create_task(parent=QUEUE, task=http_task(target.url), retry=None)
        assert len(target.pushes) == 20 + accepted

        disk.make_room()
        client.create_task(parent=QUEUE, task=http_task(target.url))
        target.wait_for(20 + accepted + 1)
        wait_until_empty(client)
    assert len({push.headers["x-cloudtasks-taskname"] for push in target.pushes}) == len(target.pushes)


def wait_until_empty(client: tasks_v2.CloudTasksClient) -> None:
    until = monotonic() + WAIT
    while list(client.list_tasks(parent=QUEUE)):
        assert monotonic() < until


def refusal(command: list[str]) -> str:
    """The one line that a start which must fail leaves on stderr."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=WAIT)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


@pytest.mark.skipif(not can_mount(), reason="this machine lets nobody mount a file system of his own")
def test_a_data_folder_that_can_only_be_read_stops_the_start(tmp_path: Path) -> None:
    mount = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && exec "$@"'
    ports = ["--grpc-port=0", "--rest-port=0"]
    line = refusal([*MOUNTED, mount, "sh", *EMULATOR, *ports, f"--data={tmp_path}"])
    assert str(tmp_path) in line
    assert "Read-only file system" in line


@pytest.mark.parametrize("damage", ["cut short", "overwritten"])
def test_a_damaged_file_stops_the_start_with_one_line(tmp_path: Path, damage: str) -> None:
    (tmp_path / "queue.yaml").write_text(QUEUE_FILE)
    assert stop_server(start_server(f"--data={tmp_path}", f"--queues={tmp_path / 'queue.yaml'}")) == 0
    if damage == "cut short":
        os.truncate(tmp_path / "tasks.db", 5000)
    else:
        (tmp_path / "tasks.db").write_bytes(os.urandom(50_000))
    line = refusal([*EMULATOR, "--grpc-port=0", "--rest-port=0", f"--data={tmp_path}"])
    assert f"{tmp_path / 'tasks.db'} cannot be opened" in line
    assert "Put a backup in its place" in line
