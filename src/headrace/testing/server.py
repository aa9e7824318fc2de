"""A queue server in a process of its own, for tests."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from headrace.clock import SharedClock
from headrace.errors import HeadraceError, StartError
from headrace.testing.clients import cloud_scheduler_client, cloud_tasks_client
from headrace.testing.pushes import Body, Expected, Pushed, explain_failure, read_pushed

if TYPE_CHECKING:
    from google.cloud.scheduler_v1 import CloudSchedulerClient
    from google.cloud.tasks_v2 import CloudTasksClient

PATIENCE = 60.0
"""Real seconds that a call to the server may take before a test fails."""
_STOP = 15.0
_TAIL = 4000
# The server of a test asks for no token.
_NOT_INHERITED = frozenset(("HEADRACE_QUEUE_SERVER_TOKEN",))


class Refused(HeadraceError):
    """The queue server refused a call; the message names the call, and has what the server said."""

    code = "REFUSED"


@dataclass(frozen=True, slots=True)
class Ran:
    """What ran while time passed: pushes by whether they were answered 2xx, and requests of jobs, tries again too."""

    succeeded: int
    failed: int
    firings: int


class QueueServer:
    """A queue server that runs, with a test clock and everything in memory.

    `grpc` is host:port, `rest` a base URL, `clock` the server's time. `project` and `location` are where `queue` makes
    queues and short names of queues are looked for.
    """

    def __init__(self, folder: Path, options: Sequence[str] = (), *, root: Path | None = None) -> None:
        """Start it on free ports, with more options of `headrace emulator`; their paths are taken from `root`.

        `folder` gets its log and the file of its clock. Raises StartError with what the server said.
        """
        self._log = folder / "queue-server.log"
        clock = folder / "clock"
        command = [sys.executable, "-m", "headrace", "emulator", "--memory", "--json", "--grpc-port=0", "--rest-port=0"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*command, "--test-clock", str(clock), *options],
                env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED},
                cwd=root,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self.stop()
            raise StartError(f"The queue server did not start. It said:\n{self.said()}")
        started = json.loads(line)
        self.grpc: str = started["grpc"]
        self.rest: str = started["rest"]
        self.project: str = started["project"]
        self.location: str = started["location"]
        self.clock = SharedClock(clock)
        self._client: CloudTasksClient | None = None
        self._scheduler_client: CloudSchedulerClient | None = None

    def stop(self) -> None:
        """Stop it as a platform does."""
        self._process.terminate()
        try:
            self._process.wait(_STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def close(self) -> None:
        """Stop it, and close what is connected to it."""
        clients: list[Any] = [self._client, self._scheduler_client]
        for client in filter(None, clients):
            client.transport.close()
        self.stop()

    def said(self) -> str:
        """The end of what it printed as warnings and errors."""
        return self._log.read_bytes()[-_TAIL:].decode(errors="replace").strip()

    def client(self) -> "CloudTasksClient":
        """Google's client of Cloud Tasks; the same one each time, closed with the server."""
        if self._client is None:
            self._client = cloud_tasks_client(self.grpc)
        return self._client

    def scheduler_client(self) -> "CloudSchedulerClient":
        """Google's client of Cloud Scheduler; needs the package google-cloud-scheduler."""
        if self._scheduler_client is None:
            self._scheduler_client = cloud_scheduler_client(self.grpc)
        return self._scheduler_client

    @property
    def parent(self) -> str:
        """`projects/P/locations/L`."""
        return f"projects/{self.project}/locations/{self.location}"

    def queue(self, name: str, **limits: Any) -> str:
        """Make a queue, or give it other limits; its full name.

        `limits` are those of an entry in queue.yaml: `rate="5/s"`, `bucket_size=5`, `max_concurrent_requests=10`,
        `retry_parameters={"task_retry_limit": 3}`. Without a rate it is as fast as can be: 500/s in a bucket of 500.
        """
        __tracebackhide__ = True
        if "rate" not in limits:
            limits = {"rate": "500/s", "bucket_size": 500, **limits}
        full = self._full(name)
        self.call("PUT", f"/{full}", limits)
        return full

    def now(self) -> float:
        """The server's time, in seconds since the epoch."""
        return self.clock.now()

    def advance(self, seconds: float) -> Ran:
        """Let time pass: everything that falls due runs, in order, and what it causes."""
        __tracebackhide__ = True
        return _ran(self.call("POST", "/clock:advance", {"seconds": seconds, "timeoutSeconds": PATIENCE}))

    def drain(self, queue: str | None = None, *, within: float = 86_400.0) -> Ran:
        """Let time pass until no task is left: future ones and retries run too.

        With `queue`, until none is left there; time passes for all queues alike. Tasks of paused queues stay and do
        not count. AssertionError with the tasks that are left `within` seconds of the server's time, or for ever.
        """
        __tracebackhide__ = True
        path = ":drain" if queue is None else f"/{self._full(queue)}:drain"
        answer = self.call("POST", path, {"seconds": within, "timeoutSeconds": PATIENCE})
        if answer["left"]:
            queues = [self._full(queue)] if queue else [each["name"] for each in self.call("GET", "/queues")["queues"]]
            lines = [f"  {task['name']}: {task['why']}" for name in queues for task in self._tasks(name)[:10]]
            count = f"{answer['left']} task{'' if answer['left'] == 1 else 's'}"
            raise AssertionError(f"drain left {count}:\n" + "\n".join(lines))
        return _ran(answer)

    def wait_until_idle(self, queue: str | None = None) -> None:
        """Wait, in real time, until nothing is pushed and no due task waits for its turn."""
        __tracebackhide__ = True
        path = "" if queue is None else f"/{self._full(queue)}"
        self.call("POST", f"{path}:waitUntilIdle", {"timeoutSeconds": PATIENCE})

    def reset(self) -> None:
        """Forget all queues, tasks, names and jobs but what its files declare. Time goes on."""
        self.call("POST", ":reset", {})

    def pushed(self, queue: str) -> list[Pushed]:
        """Every task of the queue that waits, or was delivered since the reset; of deliveries the last 10,000."""
        __tracebackhide__ = True
        full = self._full(queue)
        # Deliveries after tasks: what ends in between is in both, not in neither.
        tasks = self._tasks(full)
        return read_pushed(tasks, self.call("GET", f"/{full}/deliveries")["deliveries"])

    def assert_pushed(
        self,
        queue: str,
        count: int | None = None,
        *,
        body: Body | None = None,
        headers: dict[str, str] | None = None,
        url: str | None = None,
    ) -> list[Pushed]:
        """Tasks like this are on the queue or were delivered: `count` of them, or at least one. See `Expected`."""
        __tracebackhide__ = True
        expected = Expected(body, headers, url)
        pushed = self.pushed(queue)
        fitting = [each for each in pushed if not expected.differences(each)]
        if len(fitting) != count if count is not None else not fitting:
            raise AssertionError(explain_failure(queue, count, expected, pushed))
        return fitting

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call to the server's own API, `path` below /headrace/v1. Raises Refused."""
        __tracebackhide__ = True
        data = None if body is None else json.dumps(body)
        with closing(HTTPConnection(urlsplit(self.rest).netloc, timeout=PATIENCE + 5)) as connection:
            connection.request(method, f"/headrace/v1{quote(path, safe='/:?=&')}", data)
            response = connection.getresponse()
            answer: dict[str, Any] = json.load(response)
        if response.status != 200:
            raise Refused(f"{method} /headrace/v1{path}: {answer['error']['message']}")
        return answer

    def _tasks(self, full: str) -> list[dict[str, Any]]:
        __tracebackhide__ = True
        tasks: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.call("GET", f"/{full}/tasks?pageToken={token}")
            tasks += page["tasks"]
            token = page.get("nextPageToken", "")
            if not token:
                return tasks

    def _full(self, queue: str) -> str:
        return queue if "/" in queue else f"{self.parent}/queues/{queue}"


def _ran(answer: dict[str, Any]) -> Ran:
    return Ran(answer["succeeded"], answer["failed"], answer["firings"])
