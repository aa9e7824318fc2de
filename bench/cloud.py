"""What the queue server's gRPC side costs: `python -m bench.cloud`, about half a minute.

The server runs in a process of its own with its tasks on disk, and its queue is paused, so that only creates are
counted. CPU is that of the server's process, all threads. A server that answers each call at once, on the same
library, stands beside it: what CreateTask costs more is ours.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil

from bench.http2 import GrpcLoad
from bench.rows import Row, print_rows
from headrace.cloud import messages

QUEUE = "projects/bench/locations/here/queues/work"
SERVICE = "/google.cloud.tasks.v2.CloudTasks/"
IN_FLIGHT = 64
BODY = b"x" * 1024

_EMULATOR = "from headrace.cli.emulator import command; command()"
_ECHO = """
import asyncio, json, grpc, grpc.aio, uvloop
async def answer(request, context):
    return request
async def main():
    server = grpc.aio.server()
    handlers = {"CreateTask": grpc.unary_unary_rpc_method_handler(answer)}
    name = "google.cloud.tasks.v2.CloudTasks"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"grpc": f"127.0.0.1:{port}"}), flush=True)
    await server.wait_for_termination()
uvloop.run(main())
"""


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


def rows() -> list[Row]:
    """Measure everything."""
    request = messages.CreateTaskRequest(parent=QUEUE)
    request.task.http_request.url = "http://127.0.0.1:9/work"
    request.task.http_request.body = BODY
    create = request.SerializeToString()
    batch = messages.BatchCreateTasksRequest(parent=QUEUE, requests=[request] * 100).SerializeToString()
    with _process(_ECHO) as (process, address):
        floor = _create(process, address, create, calls=10_000)
    with _queue_server() as (process, address):
        single = _create(process, address, create, calls=10_000)
        many = _create_in_batches(process, address, batch, calls=300)
        idle = _idle(process)
    note = f"1 KB tasks, durable, {IN_FLIGHT} in flight"
    return [
        Row("bare grpc.aio call, server CPU", floor.microseconds_each, "µs", note="to know"),
        Row("CreateTask, server CPU", single.microseconds_each, "µs", 250, note=note),
        Row("CreateTask, durable", single.each_second, "/s", note=note),
        Row("BatchCreateTasks, server CPU a task", many.microseconds_each, "µs", note="100 a call"),
        Row("BatchCreateTasks, durable", many.each_second, "/s", 5000, at_least=True, note="100 a call, 4 in flight"),
        Row("queue server at rest, CPU", idle * 100, "%", 0.5),
    ]


@contextmanager
def _queue_server() -> Iterator[tuple[psutil.Process, str]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "queue.yaml").write_text("queue:\n- name: work\n  rate: 500/s\n")
        places = ["--grpc-port=0", "--rest-port=0", "--json", "--project=bench", "--location=here"]
        files = [f"--data={folder / 'data'}", f"--queues={folder / 'queue.yaml'}"]
        with _process(_EMULATOR, *places, *files) as (process, address):
            with grpc.insecure_channel(address) as channel:
                pause = messages.PauseQueueRequest(name=QUEUE).SerializeToString()
                channel.unary_unary(SERVICE + "PauseQueue")(pause)
            yield process, address


@contextmanager
def _process(program: str, *options: str) -> Iterator[tuple[psutil.Process, str]]:
    """Run a program that prints its gRPC address as JSON; end it afterwards."""
    with subprocess.Popen([sys.executable, "-c", program, *options], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield psutil.Process(server.pid), json.loads(server.stdout.readline())["grpc"]
        finally:
            server.terminate()


def _measure(process: psutil.Process, tasks: int, work: Callable[[], object]) -> Measured:
    cpu, started = _cpu(process), time.perf_counter()
    work()
    return Measured(tasks, time.perf_counter() - started, _cpu(process) - cpu)


def _create(process: psutil.Process, address: str, message: bytes, calls: int) -> Measured:
    """Call CreateTask so often, after a tenth of that to warm up."""
    with closing(GrpcLoad(address, SERVICE + "CreateTask", message)) as load:
        load.run(calls // 10, IN_FLIGHT)
        return _measure(process, calls, lambda: load.run(calls, IN_FLIGHT))


def _create_in_batches(process: psutil.Process, address: str, message: bytes, calls: int) -> Measured:
    """Call BatchCreateTasks so often, from four threads."""
    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(4) as threads:
        call = channel.unary_unary(SERVICE + "BatchCreateTasks")
        return _measure(process, calls * 100, lambda: list(threads.map(call, [message] * calls)))


def _idle(process: psutil.Process, seconds: float = 5.0) -> float:
    """The share of a core that the process uses with nothing to do."""
    time.sleep(1)
    cpu = _cpu(process)
    time.sleep(seconds)
    return (_cpu(process) - cpu) / seconds


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    print_rows(rows())
