"""What the queue server's gRPC side costs: `python -m bench.cloud`, about half a minute.

The server runs in a process of its own with its tasks on disk, and its queue is paused, so that only creates are
counted. CPU is that of the server's process, all threads. A server that answers each call at once, on the same
library, stands beside it: what CreateTask costs more is ours.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path

import grpc
import psutil

from bench.http2 import GrpcLoad
from bench.rows import Row, print_rows
from headrace.cloud.tasks import messages

LOCATION = "projects/bench/locations/here"
QUEUE = f"{LOCATION}/queues/work"
SERVICE = "/google.cloud.tasks.v2.CloudTasks/"
IN_FLIGHT = 64
BODY = b"x" * 1024
NOTE = f"1 KB tasks, durable, {IN_FLIGHT} in flight"

_EMULATOR = "from headrace.cli.emulator import command; command()"
_ECHO = """
import asyncio, json, os
os.environ["GRPC_EXPERIMENTS"] = "-event_engine_listener"  # as `headrace emulator` has it
import grpc, grpc.aio, uvloop
async def answer(request, context):
    return request
async def main():
    server = grpc.aio.server(options=[("grpc.http2.bdp_probe", 0)])
    handlers = {"CreateTask": grpc.unary_unary_rpc_method_handler(answer)}
    name = "google.cloud.tasks.v2.CloudTasks"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}", "rest": ""}), flush=True)
    await server.wait_for_termination()
uvloop.run(main())
"""


@dataclass(frozen=True, slots=True)
class Server:
    """A server in a process of its own; `grpc` is host:port, `rest` a URL."""

    process: psutil.Process
    grpc: str
    rest: str

    def cpu(self) -> float:
        """Seconds of processor time that its threads have used so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def call(self, method: str, requests: Iterable[bytes], *, at_once: int = 4) -> None:
        """Call a method of Cloud Tasks with each of these messages."""
        with grpc.insecure_channel(self.grpc) as channel, ThreadPoolExecutor(at_once) as threads:
            for _ in threads.map(channel.unary_unary(SERVICE + method), requests):
                pass

    def create(self, requests: Iterator[bytes], calls: int) -> None:
        """Call CreateTask so often with what comes next of these messages."""
        with closing(GrpcLoad(self.grpc, SERVICE + "CreateTask", requests)) as load:
            load.run(calls, IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Measured:
    """`tasks` tasks made in `seconds`, for `cpu` seconds of the server's processor time."""

    tasks: int
    seconds: float
    cpu: float

    @property
    def microseconds_each(self) -> float:
        return self.cpu / self.tasks * 1e6

    @property
    def each_second(self) -> float:
        return self.tasks / self.seconds


def measure(server: Server, tasks: int, work: Callable[[], object]) -> Measured:
    """Do the work, which makes so many tasks."""
    cpu, started = server.cpu(), time.perf_counter()
    work()
    return Measured(tasks, time.perf_counter() - started, server.cpu() - cpu)


def create_requests(
    queue: str, *, named: bool, url: str = "http://127.0.0.1:9/work", at: float | None = None
) -> Iterator[messages.CreateTaskRequest]:
    """CreateTaskRequests of 1 KB tasks, without end. Names are hashes, as the service recommends and Headrace does."""
    request = messages.CreateTaskRequest(parent=queue)
    request.task.http_request.url = url
    request.task.http_request.body = BODY
    request.task.http_request.headers["Content-Type"] = "application/octet-stream"
    if at is not None:
        request.task.schedule_time.seconds = int(at)
    if not named:
        yield from repeat(request)
    salt = time.time_ns()
    for number in count():
        request.task.name = f"{queue}/tasks/{hashlib.sha256(b'%d %d' % (salt, number)).hexdigest()[:32]}"
        yield request


def serialized(requests: Iterable[messages.CreateTaskRequest]) -> Iterator[bytes]:
    """Messages as they stand on the wire."""
    return (request.SerializeToString() for request in requests)


def in_batches(queue: str, requests: Iterator[messages.CreateTaskRequest], batches: int) -> Iterator[bytes]:
    """So many BatchCreateTasksRequests of 100 tasks each."""
    for _ in range(batches):
        batch = messages.BatchCreateTasksRequest(parent=queue)
        for _ in range(100):
            batch.requests.append(next(requests))
        yield batch.SerializeToString()


def rows() -> Iterator[Row]:
    """Measure everything."""
    with bare_server() as server:
        floor = _create(server, calls=10_000)
    with queue_server("queue:\n- name: work\n  rate: 500/s\n") as server:
        server.call("PauseQueue", [messages.PauseQueueRequest(name=QUEUE).SerializeToString()])
        single = _create(server, calls=10_000)
        batches = list(in_batches(QUEUE, create_requests(QUEUE, named=False), 300))
        many = measure(server, 30_000, lambda: server.call("BatchCreateTasks", batches))
        idle = idle_share(server, 5.0)
    yield Row("bare grpc.aio call, server CPU", floor.microseconds_each, "µs", note="to know")
    yield Row("CreateTask, server CPU", single.microseconds_each, "µs", 250, note=NOTE)
    yield Row("CreateTask, durable", single.each_second, "/s", note=NOTE)
    yield Row("BatchCreateTasks, server CPU a task", many.microseconds_each, "µs", note="100 a call")
    yield Row("BatchCreateTasks, durable", many.each_second, "/s", 5000, at_least=True, note="100 a call, 4 in flight")
    yield Row("queue server at rest, CPU", idle * 100, "%", 0.5)


@contextmanager
def bare_server() -> Iterator[Server]:
    """A server that answers CreateTask at once with what it was given."""
    with _process(_ECHO) as server:
        yield server


@contextmanager
def queue_server(queues: str, cron: str | None = None, front: str = "grpcio") -> Iterator[Server]:
    """The queue server on a disk, with the text of a queue.yaml, and of a cron.yaml; `front` speaks gRPC."""
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
        folder = Path(name)
        (folder / "queue.yaml").write_text(queues)
        options = ["--grpc-port=0", "--rest-port=0", "--json", "--project=bench", "--location=here"]
        options.append(f"--grpc-front={front}")
        options += [f"--data={folder / 'data'}", f"--queues={folder / 'queue.yaml'}"]
        if cron is not None:
            (folder / "cron.yaml").write_text(cron)
            options.append(f"--cron={folder / 'cron.yaml'}")
        with _process(_EMULATOR, *options) as server:
            yield server


@contextmanager
def _process(program: str, *options: str) -> Iterator[Server]:
    """Run a program that prints its addresses as JSON; end it afterwards."""
    with subprocess.Popen([sys.executable, "-c", program, *options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            said = json.loads(server.stdout.readline())
            yield Server(psutil.Process(server.pid), said["grpc"], said["rest"])
        finally:
            server.terminate()


def _create(server: Server, calls: int) -> Measured:
    """Call CreateTask so often, after a tenth of that to warm up."""
    requests = serialized(create_requests(QUEUE, named=False))
    server.create(requests, calls // 10)
    return measure(server, calls, lambda: server.create(requests, calls))


def idle_share(server: Server, seconds: float) -> float:
    """The share of a core that a server uses with nothing to do."""
    time.sleep(1)
    cpu = server.cpu()
    time.sleep(seconds)
    return (server.cpu() - cpu) / seconds


if __name__ == "__main__":
    print_rows(rows())
