"""The queue server is killed again and again while tasks are created, pushed and deleted; nothing is lost.

A run is 10,000 tasks and 50 SIGKILLs at seeded moments, some of them while the server starts. The seed is printed;
`HEADRACE_KILL_SEED` sets it.
"""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import httptools
import pytest
from google.cloud.tasks_v2.types import (
    CreateTaskRequest,
    DeleteTaskRequest,
    HttpRequest,
    ListTasksRequest,
    ListTasksResponse,
    Task,
)

from tests.cloud.conftest import EMULATOR, LOCATION

TASKS = 10_000
KILLS = 50
WRITERS = 8
QUEUES = [f"{LOCATION}/queues/killed-{number}" for number in range(8)]
QUEUE_FILE = "queue:\n" + "".join(
    f"- name: {name.rpartition('/')[2]}\n  rate: 500/s\n  bucket_size: 500\n"
    "  retry_parameters: {min_backoff_seconds: 0.05, max_backoff_seconds: 0.05}\n"
    for name in QUEUES
)

COMPLETION_WINDOW = 0.25
"""Seconds from a handler's answer until the completion is on disk, at the longest: 5 ms in which completions wait for
company, one fsync that may be under way, their own, and the turns that a busy machine lets the server wait for."""
UNDER_WAY = 1.0
"""Seconds after the answer to a deletion in which a push that had begun before it may still arrive."""
PATIENCE = 90.0
"""Seconds that anything here may take before the test fails."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One push of one attempt. `life` counts the processes of the server; `at` is when it came and was answered."""

    at: float
    life: int
    task: str
    retries: int
    status: int


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion that was answered; `may_be_ours`: nobody knows that the task was done before."""

    at: float
    life: int
    may_be_ours: bool


class Story:
    """What callers and target saw, and which process of the server is to be called."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.life = 0
        self.accepted: set[str] = set()
        self.deletions: dict[str, Deletion] = {}
        self.arrivals: list[Arrival] = []
        self.killed_at: dict[int, float] = {}
        self._serving: list[tuple[int, grpc.Channel]] = []

    def serve(self, channel: grpc.Channel) -> None:
        """The server's present process takes calls."""
        with self.changed:
            self._serving.append((self.life, channel))
            self.changed.notify_all()

    def serving_after(self, life: int) -> tuple[int, grpc.Channel]:
        """The last process that took calls, once it is a later one than `life`."""
        self.wait_for(lambda: bool(self._serving) and self._serving[-1][0] > life)
        return self._serving[-1]

    def accept(self, task: str) -> None:
        with self.changed:
            self.accepted.add(task)
            self.changed.notify_all()

    def has_accepted(self, count: int) -> bool:
        return len(self.accepted) >= count

    def arrive(self, arrival: Arrival) -> None:
        with self.changed:
            self.arrivals.append(arrival)
            self.changed.notify_all()

    def wait_for(self, happened: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(happened, PATIENCE)

    def arrivals_by_task(self) -> dict[str, list[Arrival]]:
        grouped: dict[str, list[Arrival]] = {}
        for arrival in self.arrivals:
            grouped.setdefault(arrival.task, []).append(arrival)
        return grouped


class Handler(asyncio.Protocol):
    """The target: it notes each push and answers at once; every tenth task is refused twice."""

    def __init__(self, story: Story) -> None:
        self._story = story
        # The process at the other end, for a connection lives no longer than its process.
        self._life = story.life
        self._parser = httptools.HttpRequestParser(self)
        self._retries = 0
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name == b"X-CloudTasks-TaskRetryCount":
            self._retries = int(value)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        task = self._body.decode()
        status = 503 if task.endswith("7") and self._retries < 2 else 204
        self._story.arrive(Arrival(monotonic(), self._life, task, self._retries, status))
        self._transport.write(b"HTTP/1.1 %d Word\r\nContent-Length: 0\r\n\r\n" % status)


@contextmanager
def target(story: Story) -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(lambda: Handler(story), "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server.close()
    loop.close()


class Writer:
    """Creates tasks, half of them with names, and deletes some; a call that a kill cut off is made again."""

    def __init__(self, story: Story, url: str, seed: str, number: int) -> None:
        self._story = story
        self._url = url
        self._random = random.Random(f"{seed} {number}")
        self._number = number
        self._life = 0
        self._channel: grpc.Channel | None = None

    def write(self, count: int) -> None:
        made: list[tuple[str, str]] = []
        for number in range(count):
            made.append(self._create(number, is_named=number % 2 == 0))
            if self._random.random() < 0.15:
                self._delete(*made.pop(self._random.randrange(max(0, len(made) - 50), len(made))))

    def _create(self, number: int, *, is_named: bool) -> tuple[str, str]:
        """What the task is known by here and its full name. Without a name it differs by attempt: both may exist."""
        queue = self._random.choice(QUEUES)
        late = self._random.choice((0.0,) * 4 + (self._random.uniform(0.2, 3.0),))
        for attempt in range(KILLS + 1):
            task = f"{self._number}-{number}" if is_named else f"{self._number}-{attempt}-{number}"
            message = Task(http_request=HttpRequest(url=self._url, body=task.encode()))
            if late:
                message.schedule_time = datetime.now(UTC) + timedelta(seconds=late)
            if is_named:
                message.name = f"{queue}/tasks/{task}"
            status, answer = self._call("CreateTask", CreateTaskRequest(parent=queue, task=message))
            if status is grpc.StatusCode.UNAVAILABLE:
                continue
            if status is grpc.StatusCode.ALREADY_EXISTS and is_named and attempt:
                name = message.name
            else:
                assert status is grpc.StatusCode.OK
                name = Task.deserialize(answer).name
            self._story.accept(task)
            return task, name
        raise AssertionError("the server was never there")

    def _delete(self, task: str, name: str) -> None:
        cut_off = False
        while (status := self._call("DeleteTask", DeleteTaskRequest(name=name))[0]) is grpc.StatusCode.UNAVAILABLE:
            cut_off = True
        assert status in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND)
        may_be_ours = cut_off or status is grpc.StatusCode.OK
        self._story.deletions[task] = Deletion(monotonic(), self._life, may_be_ours)

    def _call(self, method: str, request: Any) -> tuple[grpc.StatusCode, bytes]:
        """One call; after UNAVAILABLE the next one goes to the server's next process."""
        if self._channel is None:
            self._life, self._channel = self._story.serving_after(self._life)
        call = self._channel.unary_unary(f"/google.cloud.tasks.v2.CloudTasks/{method}")
        try:
            return grpc.StatusCode.OK, call(type(request).serialize(request), timeout=20.0)
        except grpc.RpcError as error:
            status = error.code()
        if status is grpc.StatusCode.UNAVAILABLE:
            self._channel = None
        return status, b""


class Victim:
    """The queue server, process after process on one data folder."""

    def __init__(self, story: Story, folder: Path) -> None:
        (folder / "queue.yaml").write_text(QUEUE_FILE)
        self._story = story
        self._options = [f"--data={folder / 'data'}", f"--queues={folder / 'queue.yaml'}"]

    def spawn(self) -> None:
        self._story.life += 1
        command = [*EMULATOR, "--grpc-port=0", "--rest-port=0", "--json", "--project=demo", "--location=here"]
        self._process = subprocess.Popen([*command, *self._options], stdout=subprocess.PIPE, text=True)

    def serve(self) -> grpc.Channel:
        assert self._process.stdout is not None
        channel = grpc.insecure_channel(json.loads(self._process.stdout.readline())["grpc"])
        self._story.serve(channel)
        return channel

    def end(self, number: signal.Signals, *, after: float = 0.0) -> int:
        """Send it a signal after so many seconds in which it must not end by itself; gives its exit status."""
        with pytest.raises(subprocess.TimeoutExpired):
            self._process.wait(after)
        self._story.killed_at[self._story.life] = monotonic()
        self._process.send_signal(number)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(PATIENCE)

    def put_down(self) -> None:
        """Leave no process behind, whatever has happened."""
        self._process.kill()
        self._process.wait(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


def kill_again_and_again(victim: Victim, story: Story, chance: random.Random) -> None:
    """A kill comes some moments after a number of creates; one in six comes while the server starts."""
    for goal in sorted(chance.sample(range(TASKS), KILLS)):
        victim.spawn()
        if chance.random() < 1 / 6:
            moment = chance.uniform(0.0, 0.6)
        else:
            victim.serve()
            story.wait_for(partial(story.has_accepted, goal))
            moment = chance.uniform(0.0, 0.03)
        assert victim.end(signal.SIGKILL, after=moment) == -signal.SIGKILL


def wait_until_all_is_done(story: Story, channel: grpc.Channel) -> None:
    """Return when no queue has a task."""
    list_tasks = channel.unary_unary("/google.cloud.tasks.v2.CloudTasks/ListTasks")
    for queue in QUEUES:
        request = ListTasksRequest.serialize(ListTasksRequest(parent=queue, page_size=1))
        while ListTasksResponse.deserialize(list_tasks(request, timeout=20.0)).tasks:
            with story.changed:
                story.changed.wait(0.05)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def story(folder: Path) -> Story:
    """A whole run, which SIGTERM ends once nothing waits."""
    seed = os.environ.get("HEADRACE_KILL_SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"HEADRACE_KILL_SEED={seed}")
    story = Story()
    victim = Victim(story, folder)
    with target(story) as url, ThreadPoolExecutor(WRITERS) as pool:
        writers = [Writer(story, url, f"{seed}-{number}", number) for number in range(WRITERS)]
        under_way = [pool.submit(writer.write, TASKS // WRITERS) for writer in writers]
        try:
            kill_again_and_again(victim, story, random.Random(seed))
            victim.spawn()
            channel = victim.serve()
            for writing in under_way:
                writing.result(PATIENCE)
            wait_until_all_is_done(story, channel)
            assert victim.end(signal.SIGTERM) == 0
        finally:
            victim.put_down()
    return story


def test_the_run_was_what_it_says(story: Story) -> None:
    assert len(story.accepted) >= TASKS
    assert len(story.killed_at) == KILLS + 1
    assert len(story.deletions) > TASKS / 20
    assert any(arrival.status == 503 for arrival in story.arrivals)


def test_every_task_that_was_answered_arrives(story: Story) -> None:
    deleted = {task for task, deletion in story.deletions.items() if deletion.may_be_ours}
    assert story.accepted - deleted - story.arrivals_by_task().keys() == set()


def test_no_task_whose_deletion_was_answered_arrives_later(story: Story) -> None:
    arrivals = story.arrivals_by_task()
    late = []
    for task, deletion in story.deletions.items():
        after = [arrival for arrival in arrivals.get(task, ()) if arrival.at > deletion.at]
        if any(arrival.life > deletion.life or arrival.at > deletion.at + UNDER_WAY for arrival in after):
            late.append((task, deletion, after))
        assert len(after) <= 1
    assert late == []


def test_only_what_was_in_flight_or_hardly_answered_at_a_kill_arrives_twice(story: Story) -> None:
    """An attempt is one push with one count of retries; an attempt that did the task is the last."""
    doubles, wrong = [], []
    for arrivals in story.arrivals_by_task().values():
        for first, second in pairwise(sorted(arrivals, key=lambda arrival: (arrival.at, arrival.retries))):
            if second.retries == first.retries:
                doubles.append(story.killed_at[first.life] - first.at)
                if second.life == first.life or doubles[-1] > COMPLETION_WINDOW:
                    wrong.append((first, second))
            elif first.status == 204 or second.retries != first.retries + 1:
                wrong.append((first, second))
    print(f"{len(doubles)} attempts twice, answered up to {max(doubles, default=0):.3f} s before the kill")
    assert wrong == []
    assert doubles


def test_nothing_is_left_behind_and_the_counters_are_true(story: Story, folder: Path) -> None:
    assert story.accepted
    with closing(sqlite3.connect(folder / "data" / "tasks.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM task").fetchone() == (0,)
        assert database.execute("SELECT sum(pending), max(purging) FROM queue").fetchone() == (0, 0)
        (names,) = database.execute("SELECT count(*) FROM name").fetchone()
        assert database.execute("SELECT value FROM meta WHERE key = 'remembered'").fetchone() == (names,)
        assert names >= sum(task.count("-") == 1 for task in story.accepted)
